"""The gallery: the best, the median and the worst case of an evaluation, each by its slice with the largest lesion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

from pipeline.cohorts import Entry
from pipeline.nifti import SIDES, upright
from pipeline.scans import Case, read_label
from pipeline.scoring import Predictor
from transforms import SLICE_AXES


@dataclass(frozen=True)
class GalleryRow:
    """A case of the gallery; all pictures are upright slices (rows, columns).

    Attributes:
        title: which case it is, and how well it is found.
        pictures: `input`, `reconstruction` and `annotation`.
        scores: the map of each score.
        sides: letters of the left and the right edge.
        aspect: height of a pixel over its width.
    """

    title: str
    pictures: dict[str, np.ndarray]
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
        """Return the lowest and the highest value of a score in all rows."""
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
    chosen = {"best": -1, "median": len(ranked) // 2, "worst": 0} if len(ranked) else {}
    rows = []
    for title, position in chosen.items():
        case = ranked.iloc[position]
        heading = f"{title}: {case['case']} (AP {case['recommended_ap']:.2f})"
        rows.append(_row(heading, entries[int(case["number"])], predictor))
    return Gallery(tuple(rows), threshold)


def _row(title: str, entry: Entry, predictor: Predictor) -> GalleryRow:
    item = predictor.read(Case("", entry))
    scores, label, affine = predictor(item).scores, read_label(entry).voxels, item["scan"].affine.numpy()
    index = int(np.moveaxis(label, scores.scan_axis, 0).sum((1, 2)).argmax())
    lowest = scores.reconstruction[scores.mask].min()
    pictures = {
        "input": item["scan"][0].numpy(),
        "reconstruction": np.where(scores.mask, scores.reconstruction, lowest),
        "annotation": label,
    }
    spacing = voxel_sizes(affine)[np.argsort(io_orientation(affine)[:, 0])]
    columns, rows = (axis for axis in range(3) if axis != SLICE_AXES[scores.slice_axis])

    def cut(volume: np.ndarray) -> np.ndarray:
        return upright(volume, affine, scores.scan_axis, index)

    return GalleryRow(
        title,
        {name: cut(volume) for name, volume in pictures.items()},
        {name: cut(volume) for name, volume in scores.maps.items()},
        SIDES[scores.slice_axis],
        float(spacing[rows] / spacing[columns]),
    )
