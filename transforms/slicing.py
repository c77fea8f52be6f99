"""Volumes (C, X, Y, Z) in RAS orientation as stacks of slices (S, C, H, W), and which slices a model may learn from."""

from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

SLICE_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis of a RAS volume along which each kind of slice is counted."""


def volume_to_slices(volume: torch.Tensor, slice_axis: str) -> torch.Tensor:
    """Return the slices (S, C, H, W) of a RAS volume (C, X, Y, Z)."""
    return volume.movedim(1 + SLICE_AXES[slice_axis], 0)


def slices_to_volume(slices: torch.Tensor, slice_axis: str) -> torch.Tensor:
    """Return the RAS volume (C, X, Y, Z) of slices (S, C, H, W): the inverse of `volume_to_slices`."""
    return slices.movedim(0, 1 + SLICE_AXES[slice_axis])


class SelectHealthySlices(Transform):
    """Cut a volume into slices and keep those with enough brain and no annotation.

    Args:
        slice_axis: "axial", "coronal" or "sagittal".
        minimum_brain_share: smallest share of a slice's field of view that is brain, 0 to 1.
    """

    def __init__(self, slice_axis: str = "axial", minimum_brain_share: float = 0.05) -> None:
        self.slice_axis = slice_axis
        self.minimum_brain_share = minimum_brain_share

    def select(self, mask: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Return which slices (S,) are kept, from a brain mask and a lesion label (1, X, Y, Z)."""
        keep = volume_to_slices(mask, self.slice_axis).mean((1, 2, 3)) >= self.minimum_brain_share
        if label is not None:
            # The label was resampled with the image, so a pixel above 0 contains a part of an annotated voxel.
            keep &= ~(volume_to_slices(label, self.slice_axis) > 0).any(3).any(2).any(1)
        return keep

    def __call__(self, volume: torch.Tensor, mask: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Return the kept slices (S, C, H, W) of a volume (C, X, Y, Z)."""
        return volume_to_slices(volume, self.slice_axis)[self.select(mask, label)]


class SelectHealthySlicesd(MapTransform):
    """Dictionary version of `SelectHealthySlices`: `keys` become (S, C, H, W); the label is used, then dropped."""

    def __init__(
        self,
        keys: KeysCollection = ("image", "mask"),
        mask_key: str = "mask",
        label_key: str = "label",
        slice_axis: str = "axial",
        minimum_brain_share: float = 0.05,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.label_key = label_key
        self.selector = SelectHealthySlices(slice_axis, minimum_brain_share)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        mask, label = d[self.mask_key], d.pop(self.label_key, None)
        for key in self.key_iterator(d):
            d[key] = self.selector(d[key], mask, label)
        return d
