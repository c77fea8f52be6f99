"""Baselines without a model: what any score must beat to be of use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.cohort import Entry
from pipeline.scoring import axis_of_scan

MEDIAN = 5
"""Side of the median filter, voxels in the plane."""

SOFTENING = 0.3
"""Added to the voxelwise standard deviation, so that places of nearly equal training scans do not explode."""

BASELINES = ("intensity", "intensity_median", "voxelwise_z", "voxelwise_z_median")


class Baselines:
    """Scores of a scan by its intensity, and by its distance from the training scans at the same voxel.

    Args:
        training: entries of the training scans, for the voxelwise z; all must lie on one grid.
        preprocessing: the model's, of which the scan and its mask on their own grid are taken.
        slice_axis: axis of the slices that the median filter stays in.
        sign: 1 where lesions are bright, -1 where they are dark.
    """

    def __init__(self, training: Sequence[Entry], preprocessing: Any, slice_axis: str, sign: float = 1.0) -> None:
        self.slice_axis = slice_axis
        self.sign = sign
        self.reason: str | None = None if training else "the datalist has no training scans"
        self.affine = np.zeros((4, 4))
        number = 0
        for entry in training:
            item = preprocessing({key: entry[key] for key in ("image", "mask") if key in entry})
            z, affine = z_scores(item), item["scan"].affine.numpy()
            if number == 0:
                self.affine, self.sum, self.squares = affine, np.zeros_like(z), np.zeros_like(z)
            if z.shape != self.sum.shape or not np.allclose(affine, self.affine, atol=1e-3):
                self.reason = "the training scans lie on different grids"
                return
            number += 1
            self.sum += z
            self.squares += z**2
        if number:
            self.mean = self.sum / number
            self.sd = np.sqrt(np.maximum(self.squares / number - self.mean**2, 0))

    def __call__(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the baselines' maps (X, Y, Z) of a preprocessed scan, without voxelwise z where its grid differs."""
        z = z_scores(item)
        maps = {"intensity": self.sign * z}
        if self.reason is None:
            if z.shape == self.mean.shape and np.allclose(item["scan"].affine.numpy(), self.affine, atol=1e-3):
                maps["voxelwise_z"] = self.sign * (z - self.mean) / (self.sd + SOFTENING)
            else:
                self.reason = "the test scans lie on another grid than the training scans"
        inside = item["scan_mask"][0].numpy() > 0
        size = self._window(item)
        smoothed = {f"{name}_median": ndimage.median_filter(volume, size) for name, volume in maps.items()}
        return {name: np.where(inside, volume, 0).astype(np.float32) for name, volume in {**maps, **smoothed}.items()}

    def _window(self, item: dict[str, Any]) -> list[int]:
        """Return the median filter's window (X, Y, Z): one voxel along the scan's own slice axis."""
        axis = axis_of_scan(item["scan"].affine.numpy(), self.slice_axis)
        return [1 if i == axis else MEDIAN for i in range(3)]


def z_scores(item: dict[str, Any]) -> np.ndarray:
    """Return the z-scores (X, Y, Z) of channel 0 inside the brain on the scan's own grid, 0 outside."""
    image, inside = item["scan"][0].numpy(), item["scan_mask"][0].numpy() > 0
    values = image[inside]
    return np.where(inside, (image - values.mean()) / max(float(values.std()), 1e-12), 0)
