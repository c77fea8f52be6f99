"""Masks and labels as people's tools write them, made zeros and ones in one place."""

from dataclasses import dataclass

import numpy as np

ROUNDING = 0.002
"""Largest distance from a whole number that is taken for rounding: 0.999 and 1.0000458 are 1."""

STEPS = 1000
"""Steps between the smallest and the largest value, in which the commonest value is looked for."""


@dataclass(frozen=True)
class Binary:
    """A mask or a label as zeros and ones.

    Attributes:
        mask: boolean, of the values' shape.
        cut: the value from which on a voxel is inside, None if the values were whole numbers.
        between: share of the voxels above the background that have a value between background and largest value.
        voxels_before: number of voxels above 0.
    """

    mask: np.ndarray
    cut: float | None
    between: float
    voxels_before: int

    def warning(self, voxel_ml: float) -> str | None:
        """Return what was done with values that are not whole numbers, as the end of a sentence; else None.

        Args:
            voxel_ml: volume of a voxel, ml.
        """
        if self.cut is None or (self.between == 0 and self.voxels_before == self.mask.sum()):
            return None
        before, after = self.voxels_before * voxel_ml, int(self.mask.sum()) * voxel_ml
        return (
            f"has values that are not 0 and 1 ({self.between:.0%} of its voxels lie in between); it was cut at half of "
            f"its largest value ({self.cut:.3g}): {before:.4g} ml are above 0, and {after:.4g} ml are used"
        )


def as_binary(values: np.ndarray) -> Binary:
    """Return the values of a mask or a label as zeros and ones.

    Whole numbers, up to rounding, are inside if they are above the background: 0, or the commonest value if there is no
    0 (masks of 1 and 2, or of -1 and 1). Other values (resampled, or a probability) are cut at half of the largest one.

    Raises:
        ValueError: if a value is not finite.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        return Binary(values, None, 0.0, int(values.sum()))
    if not np.isfinite(values).all():
        number = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(f"{number} of its values are not finite (NaN or infinity); make it again, with 0 and 1 alone")
    rounded = np.rint(values)
    if np.abs(values - rounded).max(initial=0) <= ROUNDING:
        background = 0.0 if (rounded == 0).any() or len(np.unique(rounded)) == 1 else _commonest(rounded)
        mask = rounded > background
        return Binary(mask, None, 0.0, int(mask.sum()))
    background, largest = _commonest(values), float(values.max())
    cut = background + (largest - background) / 2 if largest > background else background
    tolerance = (largest - background) / STEPS
    above = values > background + tolerance
    between = above & (values < largest - tolerance)
    share = float(between.sum() / max(above.sum(), 1))
    return Binary(values >= cut, cut, share, int(np.count_nonzero(values > 0)))


def _commonest(values: np.ndarray) -> float:
    """Return the commonest value, or the smallest one if the commonest is the largest: a mask may fill its file."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low
    steps = np.rint((values - low) * (STEPS / (high - low))).astype(np.int64).ravel()
    commonest = int(np.bincount(steps).argmax())
    return low if commonest == STEPS else float(np.median(values.ravel()[steps == commonest]))
