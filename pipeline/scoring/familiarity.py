"""Familiarity: does a scan resemble healthy scans in its size, spacing, intensities and reconstruction error?

Each fact has a limit: the prediction interval for one more scan of the same kind,

    mean +- t(1 - alpha / 2, n - 1) * sd * sqrt(1 + 1 / n)

so few healthy scans give wide limits. The check finds a wrong sequence, a skull that was not removed, or another part
of the body. It does not find lesions: the maps do that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from monai.data.utils import affine_to_spacing
from nibabel.orientations import io_orientation
from scipy import ndimage
from scipy.stats import t

from pipeline.cohorts import Item
from pipeline.scans import edge_contrast
from pipeline.scoring.scan_scores import ScanScores
from transforms import SLICE_AXES, volume_to_slices

QUANTILES = np.linspace(0.02, 0.98, 25)
"""Quantiles at which intensities are compared."""

ALPHA = 0.001
"""Share of familiar scans beyond a limit, if the facts are normally distributed."""

SMALLEST_DISTANCE = 0.08
"""Smallest distance between intensities that can warn, even in a tight cohort, standard deviations."""

FEWEST_SCANS = 3
"""Smallest number of healthy scans that give limits."""

LIMITS = {
    "length_mm": ("length of the brain mask from front to back {} mm", 0, 0.2),
    "width_mm": ("width of the brain mask {} mm", 0, 0.2),
    "height_mm": ("height of the brain mask {} mm", 0, 0.2),
    "slice_spacing_mm": ("distance between slices {} mm", 2, 0.4),
    "edge_contrast": ("brightness across the edge of the brain mask {} standard deviations", 2, 0.2),
    "residual": ("typical reconstruction error {} standard deviations", 2, 0.2),
}
"""Words for each fact beyond its limits, its decimals, and the smallest margin of the limits as a share of the mean."""

ONE_SIDED = ("residual", "slice_spacing_mm")
"""Facts of which small values are no reason to warn: a small error, and slices that lie closer to each other."""


@dataclass(frozen=True)
class Facts:
    """The properties of a scan that are compared with healthy scans.

    Attributes:
        width_mm, length_mm, height_mm: sides of the brain mask's bounding box.
        slice_spacing_mm: distance from slice to slice.
        edge_contrast: how much brighter the scan is inside its mask's edge than outside, standard deviations.
        residual: median of `rec` in the brain, which a lesion hardly moves, standard deviations.
        intensities: the quantiles of each channel inside the brain.
    """

    width_mm: float
    length_mm: float
    height_mm: float
    slice_spacing_mm: float
    edge_contrast: float
    residual: float
    intensities: list[list[float]]


def facts_of(item: Item, scores: ScanScores, settings: Mapping[str, Any]) -> Facts:
    """Return the facts of a preprocessed and scored scan."""
    affine = item["scan"].affine.numpy()
    ras = io_orientation(affine)[:, 0].astype(int)
    spacing = affine_to_spacing(affine)
    sides = {}
    for axis, side in enumerate(ndimage.find_objects(scores.mask.view(np.uint8))[0]):
        sides[ras[axis]] = float((side.stop - side.start) * spacing[axis])
    axis = settings["slice_axis"]
    images, masks = (volume_to_slices(item[key].as_tensor(), axis) for key in ("image", "mask"))
    share = masks.mean((1, 2, 3))
    # The slices that training would have selected; if the scan has none of them, its slice with the most brain.
    enough = min(settings["minimum_brain_share"], float(share.max()))
    inside = masks[share >= enough][:, 0] > 0.5
    channels = images[share >= enough].movedim(1, 0)
    return Facts(
        width_mm=sides[0],
        length_mm=sides[1],
        height_mm=sides[2],
        slice_spacing_mm=float(spacing[list(ras).index(SLICE_AXES[axis])]),
        edge_contrast=edge_contrast(item["scan"][0].numpy(), scores.mask, affine),
        residual=float(np.median(scores.maps["rec"][scores.mask])),
        intensities=[np.quantile(channel[inside].numpy(), QUANTILES).tolist() for channel in channels],
    )


@dataclass(frozen=True)
class Familiarity:
    """The limits that healthy scans set for the facts of another scan.

    Attributes:
        scans: number of healthy scans; nothing is checked with fewer than three.
        limits: the lowest and highest expected value of each fact.
        intensities: the mean quantiles of each channel.
        distance: the largest expected distance of a scan's quantiles from these, standard deviations.
    """

    scans: int = 0
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    intensities: list[list[float]] = field(default_factory=list)
    distance: float = float("inf")

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> "Familiarity":
        """Return the limits from the facts of healthy scans."""
        if len(facts) < FEWEST_SCANS:
            return cls(len(facts))
        limits = {}
        for name, (_, _, floor) in LIMITS.items():
            values = np.asarray([getattr(fact, name) for fact in facts])
            margin = _margin(values, floor * float(values.mean()))
            limits[name] = (float(values.mean()) - margin, float(values.mean()) + margin)
        quantiles = np.asarray([fact.intensities for fact in facts])
        total = quantiles.sum(0)
        # Each scan is compared with the mean of the others, like a new scan.
        distances = np.asarray([_distance(q, (total - q) / (len(facts) - 1)) for q in quantiles])
        distance = float(distances.mean()) + _margin(distances, SMALLEST_DISTANCE)
        return cls(len(facts), limits, (total / len(facts)).tolist(), distance)

    def warnings_of(self, facts: Facts) -> list[str]:
        """Return one warning that names all differences from the healthy scans, or none."""
        if self.scans < FEWEST_SCANS:
            return []
        differences = []
        for name, (words, decimals, _) in LIMITS.items():
            if name not in self.limits:  # a former version made the calibration
                continue
            low, high = self.limits[name]
            low = -np.inf if name in ONE_SIDED else low
            value = getattr(facts, name)
            if not low <= value <= high:
                two_sided = bool(np.isfinite(low))
                limits = [low, high] if two_sided else [high]
                shown, *bounds = _with_same_decimals(decimals, value, *limits)
                differences.append(f"{words.format(shown)} (limit{'s' * two_sided} {' to '.join(bounds)})")
        distance = _distance(np.asarray(facts.intensities), np.asarray(self.intensities))
        if distance > self.distance:
            shown, limit = _with_same_decimals(2, distance, self.distance)
            differences.append(f"grey-level distribution (distance {shown}, limit {limit})")
        if not differences:
            return []
        return [
            f"this scan differs from the {self.scans} healthy reference scans: {'; '.join(differences)}. Check the "
            "sequence, orientation and brain mask; otherwise the maps may be meaningless"
        ]


def _with_same_decimals(decimals: int, value: float, *limits: float) -> list[str]:
    """Return a value and its limits as text with equal decimals, enough of them that the value never equals a limit."""
    shown, *bounds = (f"{number:.{decimals}f}" for number in (value, *limits))
    return _with_same_decimals(decimals + 1, value, *limits) if shown in bounds and decimals < 9 else [shown, *bounds]


def _margin(values: np.ndarray, smallest: float) -> float:
    """Return half the width of the prediction interval for one more value, and at least `smallest`."""
    number = len(values)
    return max(float(t.ppf(1 - ALPHA / 2, number - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / number)), smallest)


def _distance(quantiles: np.ndarray, mean: np.ndarray) -> float:
    """Return the mean distance between quantiles (C, Q): the Wasserstein distance of the two distributions."""
    return float(np.abs(quantiles - mean).mean())
