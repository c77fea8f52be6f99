"""Baselines without a model: what any score must beat to be of use."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from monai.data import MetaTensor
from scipy import ndimage

from networks import recommend
from pipeline.cohorts import Entry, Item
from pipeline.errors import reason_of
from pipeline.model import Model
from pipeline.scoring import axis_of_scan
from transforms import slices_to_volume, volume_to_slices

logger = logging.getLogger(__name__)

MEDIAN = 5
"""Side of the median filter, voxels in the plane."""

SOFTENING = 0.3
"""Added to the voxelwise standard deviation, so that places of nearly equal training scans do not explode."""

BASELINES = ("intensity", "intensity_median", "intensity_same_path", "voxelwise_z", "voxelwise_z_median")


class Baselines:
    """Scores of a scan by its intensity, and by its distance from the training scans at the same voxel.

    `intensity_same_path` is `recommended` of a model that reconstructs nothing, g = 0: the normalised slices on the
    network's grid with the same polarity, smoothing and symmetry. A model's lead over this baseline is what learning
    adds; this baseline's lead over the others is what resampling, smoothing and symmetry add.

    Args:
        training: entries of the training scans, for the voxelwise z; all must lie on one grid.
        model: whose preprocessing and score settings are taken. Its network is not.
    """

    def __init__(self, training: Sequence[Entry], model: Model) -> None:
        self.model = model
        self.slice_axis: str = model.settings["slice_axis"]
        self.sign = -1.0 if model.settings["polarity"] == "dark" else 1.0
        self.reason: str | None = None if training else "the datalist has no training scans"
        self.affine = np.zeros((4, 4))
        number = 0
        for entry in training:
            try:
                item = model.preprocessing(replace(entry, label=None).item())
            except Exception as error:  # whatever is wrong with one scan, the others serve
                logger.warning("left out of the voxelwise z: %s: %s", entry.images[0], reason_of(error))
                continue
            z, affine = z_scores(item), item["scan"].affine.numpy()
            if number == 0:
                self.affine, self.sum, self.squares = affine, np.zeros_like(z), np.zeros_like(z)
            if z.shape != self.sum.shape or not np.allclose(affine, self.affine, atol=1e-3):
                self.reason = "the training scans lie on different grids"
                return
            number += 1
            self.sum += z
            self.squares += z**2
        if number == 0:
            self.reason = self.reason or "no training scan can be read"
        else:
            self.mean = self.sum / number
            self.sd = np.sqrt(np.maximum(self.squares / number - self.mean**2, 0))

    def __call__(self, item: Item) -> dict[str, np.ndarray]:
        """Return the baselines' maps (X, Y, Z) of a preprocessed scan, without voxelwise z where its grid differs."""
        z = z_scores(item)
        maps = {"intensity": self.sign * z}
        same_path = self._same_path(item)
        if self.reason is None:
            if z.shape == self.mean.shape and np.allclose(item["scan"].affine.numpy(), self.affine, atol=1e-3):
                maps["voxelwise_z"] = self.sign * (z - self.mean) / (self.sd + SOFTENING)
            else:
                self.reason = "the test scans lie on another grid than the training scans"
        inside = item["scan_mask"][0].numpy() > 0
        size = self._window(item)
        smoothed = {f"{name}_median": ndimage.median_filter(volume, size) for name, volume in maps.items()}
        maps = {**maps, **smoothed, "intensity_same_path": same_path}
        return {name: np.where(inside, volume, 0).astype(np.float32) for name, volume in maps.items()}

    def _same_path(self, item: Item) -> np.ndarray:
        """Return `recommended` (X, Y, Z) of a reconstruction that is 0 everywhere."""
        model, image = self.model, item["image"]
        x, brain = (volume_to_slices(volume.as_tensor(), self.slice_axis) for volume in (image, item["mask"]))
        recommended = recommend(x, x, brain, model.score_options())
        volume = slices_to_volume(recommended, self.slice_axis)
        on_grid = model.preprocessing.inverse({"image": MetaTensor(volume).copy_meta_from(image)})
        restored: np.ndarray = on_grid["image"][0].numpy()
        return restored

    def _window(self, item: Item) -> list[int]:
        """Return the median filter's window (X, Y, Z): one voxel along the scan's own slice axis."""
        axis = axis_of_scan(item, self.slice_axis)
        return [1 if i == axis else MEDIAN for i in range(3)]


def z_scores(item: Item) -> np.ndarray:
    """Return the z-scores (X, Y, Z) of channel 0 inside the brain on the scan's own grid, 0 outside."""
    image, inside = item["scan"][0].numpy(), item["scan_mask"][0].numpy() > 0
    values = image[inside]
    return np.where(inside, (image - values.mean()) / max(float(values.std()), 1e-12), 0)
