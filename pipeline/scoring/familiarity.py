"""Is a scan like those that the model knows? Its size, spacing, intensities and scores beside those of healthy scans.

Each fact has a limit: the prediction interval for one more scan of the same kind,

    mean +- t(1 - alpha / 2, n - 1) * sd * sqrt(1 + 1 / n)

so that few healthy scans give wide limits. It finds a wrong sequence, a skull that should not be there, another part
of the body. It does not find a lesion: see the maps for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from monai.data.utils import affine_to_spacing
from nibabel.orientations import io_orientation
from scipy.stats import t

from pipeline.cohorts import Item
from pipeline.scoring.scan_scores import ScanScores
from transforms import SLICE_AXES, volume_to_slices

QUANTILES = np.linspace(0.02, 0.98, 25)
"""Quantiles at which intensities are compared."""

ALPHA = 0.001
"""Share of familiar scans beyond a limit, were the facts normally distributed."""

SMALLEST_DISTANCE = 0.08
"""Smaller distances between two scans' intensities never warn, however tight the cohort, standard deviations."""

FEWEST_SCANS = 3
"""Scans from which limits can be drawn."""

LIMITED = {
    "length_mm": ("its brain mask is {value:.0f} mm long from front to back", 0.2),
    "width_mm": ("its brain mask is {value:.0f} mm wide", 0.2),
    "height_mm": ("its brain mask is {value:.0f} mm high", 0.2),
    "slice_spacing_mm": ("its slices are {value:.2f} mm apart", 0.4),
    # The median, which a lesion hardly moves.
    "residual": ("the model reconstructs it with a typical error of {value:.2f} standard deviations", 0.2),
}
"""What is said of each fact beyond its limits, and the smallest distance of these from the mean, as a share of it."""


@dataclass(frozen=True)
class Facts:
    """What a scan is like.

    Attributes:
        width_mm, length_mm, height_mm: sides of the brain mask's bounding box.
        slice_spacing_mm: from slice to slice.
        residual: median of `rec` in the brain, standard deviations.
        intensities: the quantiles of each channel inside the brain.
    """

    width_mm: float
    length_mm: float
    height_mm: float
    slice_spacing_mm: float
    residual: float
    intensities: list[list[float]]


def facts_of(item: Item, scores: ScanScores, settings: Mapping[str, Any]) -> Facts:
    """Return the facts of a preprocessed and scored scan."""
    affine = item["scan"].affine.numpy()
    ras = io_orientation(affine)[:, 0].astype(int)
    spacing = affine_to_spacing(affine)
    sides = {}
    for axis, places in enumerate(np.nonzero(scores.mask)):
        sides[ras[axis]] = float((np.ptp(places) + 1) * spacing[axis])
    axis = settings["slice_axis"]
    images, masks = (volume_to_slices(item[key].as_tensor(), axis) for key in ("image", "mask"))
    share = masks.mean((1, 2, 3))
    # The slices that the model would have learned from; where the scan has none of these, its fullest.
    enough = min(settings["minimum_brain_share"], float(share.max()))
    inside = masks[share >= enough][:, 0] > 0.5
    channels = images[share >= enough].movedim(1, 0)
    return Facts(
        width_mm=sides[0],
        length_mm=sides[1],
        height_mm=sides[2],
        slice_spacing_mm=float(spacing[list(ras).index(SLICE_AXES[axis])]),
        residual=float(np.median(scores.maps["rec"][scores.mask])),
        intensities=[np.quantile(channel[inside].numpy(), QUANTILES).tolist() for channel in channels],
    )


@dataclass(frozen=True)
class Familiarity:
    """What healthy scans are like, for a check of the next one.

    Attributes:
        scans: number of healthy scans; with fewer than three nothing is checked.
        limits: for each fact the lowest and highest value expected.
        intensities: the mean quantiles of each channel.
        distance: largest distance of a scan's quantiles from these that is expected, in standard deviations.
    """

    scans: int = 0
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    intensities: list[list[float]] = field(default_factory=list)
    distance: float = float("inf")

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> "Familiarity":
        """Return what scans with these facts are like."""
        if len(facts) < FEWEST_SCANS:
            return cls(len(facts))
        limits = {}
        for name, (_, floor) in LIMITED.items():
            values = np.asarray([getattr(fact, name) for fact in facts])
            margin = _margin(values, floor * float(values.mean()))
            limits[name] = (float(values.mean()) - margin, float(values.mean()) + margin)
        quantiles = np.asarray([fact.intensities for fact in facts])
        total = quantiles.sum(0)
        # Each scan against the mean of the others, as a new scan is.
        distances = np.asarray([_distance(q, (total - q) / (len(facts) - 1)) for q in quantiles])
        distance = float(distances.mean()) + _margin(distances, SMALLEST_DISTANCE)
        return cls(len(facts), limits, (total / len(facts)).tolist(), distance)

    def warnings_of(self, facts: Facts) -> list[str]:
        """Return one warning that names all that is unlike the healthy scans, or none."""
        if self.scans < FEWEST_SCANS:
            return []
        unlike = []
        for name, (words, _) in LIMITED.items():
            low, high = self.limits[name]
            low = -np.inf if name == "residual" else low  # better than healthy scans is no reason to warn
            value = getattr(facts, name)
            if not low <= value <= high:
                bounds = f"at most {high:.3g}" if low < 0 else f"{low:.3g} to {high:.3g}"
                unlike.append(f"{words.format(value=value)} ({bounds} expected)")
        distance = _distance(np.asarray(facts.intensities), np.asarray(self.intensities))
        if distance > self.distance:
            bounds = f"{distance:.2f} away, at most {self.distance:.2f} expected"
            unlike.append(f"its intensities are distributed otherwise ({bounds})")
        if not unlike:
            return []
        return [
            f"unlike the {self.scans} healthy scans that the model was compared with: {'; '.join(unlike)}. Check the "
            "sequence, the orientation and whether the skull was stripped as theirs; else its maps may mean nothing"
        ]


def _margin(values: np.ndarray, smallest: float) -> float:
    """Return half the width of the prediction interval for one more value, at least `smallest`."""
    number = len(values)
    return max(float(t.ppf(1 - ALPHA / 2, number - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / number)), smallest)


def _distance(quantiles: np.ndarray, mean: np.ndarray) -> float:
    """Return the mean distance between quantiles (C, Q): the Wasserstein distance of the two distributions."""
    return float(np.abs(quantiles - mean).mean())
