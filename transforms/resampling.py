"""One interpolation between a scan's slices and the network's: in the plane only, antialiased, and invertible."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from transforms.slicing import SLICE_AXES


def resampling_matrix(source_size: int, target_size: int, scale: float, offset: float) -> torch.Tensor:
    """Return the matrix (target_size, source_size) that interpolates a signal at positions offset + scale * i.

    The kernel is a triangle, one sample wide (linear interpolation) when enlarging and `scale` samples wide when
    shrinking, so that it averages all samples that a target pixel covers. The signal is zero beyond its ends.
    """
    positions = offset + scale * torch.arange(target_size, dtype=torch.float64)[:, None]
    width = max(1.0, scale)

    def triangle(distance: torch.Tensor) -> torch.Tensor:
        return (1 - distance.abs() / width).clamp(min=0)

    reach = math.ceil(width) + 1
    total = triangle(torch.arange(-reach, reach + 1) - (positions - positions.floor())).sum(1, keepdim=True)
    return triangle(torch.arange(source_size) - positions) / total


class ResampleInPlane(InvertibleTransform):
    """Resample a RAS volume to `size` x `size` pixels that cover `field_of_view` mm around a centre in the plane.

    Slices stay where they are along the slice axis. A millimetre is the same in every scan: nothing is stretched. The
    affine is updated, also that of an oblique scan, and `inverse` brings maps back to the volume's own grid.

    Args:
        size: pixels of a side, N.
        field_of_view: length of a side, mm.
        slice_axis: "axial", "coronal" or "sagittal".

    Raises:
        ValueError: if the slice axis is unknown.
    """

    def __init__(self, size: int, field_of_view: float, slice_axis: str = "axial") -> None:
        if slice_axis not in SLICE_AXES:
            raise ValueError(f"unknown slice axis {slice_axis!r}; known are {', '.join(SLICE_AXES)}")
        self.size = size
        self.field_of_view = field_of_view
        self.slice_axis = slice_axis

    @property
    def plane_axes(self) -> list[int]:
        """The two axes of a volume (X, Y, Z) that lie in a slice."""
        return [axis for axis in range(3) if axis != SLICE_AXES[self.slice_axis]]

    def __call__(self, volume: MetaTensor, centre: tuple[float, float, float], background: float = 0.0) -> MetaTensor:
        """Return a volume (C, X, Y, Z) on the network's grid, for example (C, N, N, Z) when axial.

        Args:
            volume: RAS volume with its affine.
            centre: centre of the field of view in voxels; the slice axis' entry has no effect.
            background: the value beyond the volume's ends.
        """
        spacing = affine_to_spacing(volume.affine, dtype=np.float64)
        target_affine = np.eye(4)
        data = volume.as_tensor().to(torch.float32) - background
        for axis in self.plane_axes:
            scale = self.field_of_view / self.size / float(spacing[axis])
            offset = centre[axis] - scale * (self.size - 1) / 2
            data = _along(axis, resampling_matrix(volume.shape[1 + axis], self.size, scale, offset), data)
            target_affine[axis, axis], target_affine[axis, 3] = scale, offset
        resampled = MetaTensor(data + background).copy_meta_from(volume)
        resampled = self.push_transform(
            resampled,
            affine=torch.from_numpy(target_affine),
            orig_size=volume.shape[1:],
            extra_info={"voxel_affine": target_affine.tolist()},
        )
        return resampled

    def inverse(self, volume: MetaTensor) -> MetaTensor:
        """Return maps (C, X, Y, Z) on the grid of the volume before `__call__`, zero outside the field of view."""
        info = self.pop_transform(volume)
        target_affine = np.asarray(info[TraceKeys.EXTRA_INFO]["voxel_affine"])
        original_size = [int(n) for n in info[TraceKeys.ORIG_SIZE]]
        data = volume.as_tensor().to(torch.float32)
        for axis in self.plane_axes:
            scale, offset = target_affine[axis, axis], target_affine[axis, 3]
            data = _along(axis, resampling_matrix(self.size, original_size[axis], 1 / scale, -offset / scale), data)
        restored = MetaTensor(data).copy_meta_from(volume)
        restored.affine = volume.affine @ torch.from_numpy(np.linalg.inv(target_affine)).to(volume.affine)
        return restored


def _along(axis: int, matrix: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """Apply a matrix (target, source) along one axis of a volume (C, X, Y, Z); the memory order stays the same."""
    matrix = matrix.to(data)
    if axis == 2:
        return data @ matrix.T
    folded = data.flatten(2 + axis)  # the axes after this one are carried along
    return (matrix @ folded).reshape(*data.shape[: 1 + axis], len(matrix), *data.shape[2 + axis :])


def mask_centre(mask: torch.Tensor) -> tuple[float, float, float]:
    """Return the centre of the bounding box of a mask (1, X, Y, Z), in voxels."""
    inside = torch.as_tensor(mask)[0] > 0
    plane = inside.any(0)
    x, y, z = (torch.nonzero(line) for line in (inside.flatten(1).any(1), plane.any(1), plane.any(0)))
    return float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2, float(z.min() + z.max()) / 2


class ResampleInPlaned(MapTransform, InvertibleTransform):
    """Dictionary version of `ResampleInPlane`, around the centre of the 3D mask's bounding box.

    The share of the brain that lies outside the field of view is kept in `meta["outside_field_of_view"]`.

    Args:
        background: the value beyond the ends of `keys[0]`, the image; it is 0 for the other keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        field_of_view: float,
        slice_axis: str = "axial",
        mask_key: str = "mask",
        background: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.background = background
        self.resample = ResampleInPlane(size, field_of_view, slice_axis)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        mask = d[self.mask_key]
        centre = mask_centre(mask)
        share_outside = self._share_outside(mask, centre)
        for key in self.key_iterator(d):
            d[key] = self.resample(d[key], centre, self.background if key == self.first_key(d) else 0.0)
            d[key].meta["outside_field_of_view"] = share_outside
        return d

    def _share_outside(self, mask: MetaTensor, centre: tuple[float, float, float]) -> float:
        spacing = affine_to_spacing(mask.affine, dtype=np.float64)
        inside = mask.as_tensor()[0] > 0
        within = inside
        for axis in self.resample.plane_axes:
            distance = (torch.arange(inside.shape[axis]) - centre[axis]).abs() * float(spacing[axis])
            places = torch.nonzero(distance <= self.resample.field_of_view / 2)
            within = within.narrow(axis, int(places.min()), len(places))
        return 1 - int(within.count_nonzero()) / int(inside.count_nonzero())

    def inverse(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Undo the transform on the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.resample.inverse(d[key])
        return d
