"""The gallery: the worst, the median and the best case of an evaluation, each by its slice with the largest lesion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

from pipeline.cohorts import Entry
from pipeline.nifti import SIDES, upright
from pipeline.prediction import SHOWN, grey_window
from pipeline.scans import Case, read_label
from pipeline.scoring import Prediction, Predictor
from transforms import SLICE_AXES


@dataclass(frozen=True)
class GalleryRow:
    """A case of the gallery; all pictures are upright slices (rows, columns).

    Attributes:
        role: "worst", "median" or "best".
        case: its name.
        ap: its average precision.
        place: which slice it is, in words.
        scan, reconstruction: grey levels from 0 to 1.
        brain, label, marked: boolean.
        scores: the map of each score, and `surprise` if the model is calibrated.
        sides: letters of the left and the right edge.
        aspect: height of a pixel over its width.
    """

    role: str
    case: str
    ap: float
    place: str
    scan: np.ndarray
    reconstruction: np.ndarray
    brain: np.ndarray
    label: np.ndarray
    marked: np.ndarray
    scores: dict[str, np.ndarray]
    sides: tuple[str, str]
    aspect: float


@dataclass(frozen=True)
class Gallery:
    """Some cases to look at.

    Attributes:
        rows: a row for each case; none if no case has a lesion.
        threshold: score of `recommended` from which on a voxel is marked.
    """

    rows: tuple[GalleryRow, ...]
    threshold: float

    def range_of(self, score: str) -> tuple[float, float]:
        """Return the values of a score at the two ends of its scale, which is one for all rows."""
        if score == "surprise":
            return SHOWN
        maps = [row.scores[score] for row in self.rows]
        return min(float(values.min()) for values in maps), max(float(values.max()) for values in maps)


def make_gallery(entries: Sequence[Entry], table: pd.DataFrame, predictor: Predictor, threshold: float) -> Gallery:
    """Return the gallery of an evaluation.

    Args:
        entries: the scans.
        table: the metrics of the cases, with the number of each one's entry.
        predictor: the model.
        threshold: see `Gallery`.
    """
    known = table.dropna(subset="recommended_ap") if "recommended_ap" in table else table[:0]
    ranked = known.sort_values("recommended_ap") if len(known) else known
    rows = []
    for position, role in roles_of(len(ranked)).items():
        case = ranked.iloc[position]
        item = predictor.read(Case("", entry := entries[int(case["number"])]))
        prediction, label = predictor(item), read_label(entry).voxels
        rows.append(row_of(prediction, label, threshold, role, str(case["case"]), float(case["recommended_ap"])))
    return Gallery(tuple(rows), threshold)


def roles_of(cases: int) -> dict[int, str]:
    """Return the roles of cases by their places in the order from the worst to the best; none has two."""
    if cases < 3:
        return dict(enumerate(("worst", "best")[:cases])) if cases == 2 else dict.fromkeys(range(cases), "only case")
    return {0: "worst", cases // 2: "median", cases - 1: "best"}


def row_of(prediction: Prediction, label: np.ndarray, threshold: float, role: str, case: str, ap: float) -> GalleryRow:
    """Return the pictures of a case at the slice with the largest lesion.

    Args:
        prediction: the prediction of the scan.
        label: its annotated lesions, boolean (X, Y, Z).
        threshold: see `Gallery`.
        role, case, ap: see `GalleryRow`.
    """
    scores, findings, affine = prediction.scores, prediction.findings, prediction.source.affine
    index = int(np.moveaxis(label, scores.scan_axis, 0).sum((1, 2)).argmax())
    scan = np.nan_to_num(np.asarray(prediction.source.dataobj, np.float32).reshape(label.shape))
    marked = scores.mask & (scores.maps["recommended"] >= threshold) if findings is None else findings.anomalies > 0
    spacing = voxel_sizes(affine)[np.argsort(io_orientation(affine)[:, 0])]
    columns, rows = (axis for axis in range(3) if axis != SLICE_AXES[scores.slice_axis])
    positions = scores.slices.set_index("index")["position_mm"]

    def cut(volume: np.ndarray) -> np.ndarray:
        return upright(volume, affine, scores.scan_axis, index)

    return GalleryRow(
        role,
        case,
        ap,
        place=f"slice {index}" + (f", {positions[index]:+.0f} mm" if index in positions else ""),
        scan=cut(_grey(scan, scores.mask)),
        reconstruction=np.where(cut(scores.mask), cut(_grey(scores.reconstruction, scores.mask)), 0),
        brain=cut(scores.mask),
        label=cut(label),
        marked=cut(marked),
        scores={
            **{name: cut(volume) for name, volume in scores.maps.items()},
            **({} if findings is None else {"surprise": cut(findings.surprise)}),
        },
        sides=SIDES[scores.slice_axis],
        aspect=float(spacing[rows] / spacing[columns]),
    )


def _grey(volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Return the grey levels of a volume (X, Y, Z), 0 to 1: the brain's values are seen, fat and metal are white."""
    low, high = grey_window(volume[brain])
    return np.clip((volume - low) / max(high - low, 1e-6), 0, 1)
