"""The brain mask of a scan: as given, else found in the image."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from scipy import ndimage
from skimage.filters import threshold_otsu

HEAD_WARNING = (
    "the scan has its skull and no brain mask was given: the whole head is taken as brain, and skull, eyes and scalp "
    "will be scored as well; give a brain mask (for example of HD-BET) with --mask"
)


class BrainMask(Transform):
    """Find the brain of a scan: its non-zero voxels where the skull is stripped, else the head, with a warning.

    A stripped scan is told by its grey levels. Between the bright tissue of a head lie bone, air and noise, so that a
    quarter or more of the non-zero voxels is dark; in a stripped brain hardly any is (measured: 0.26 to 0.37 against
    0.003 to 0.13).

    Args:
        dark: grey level below which a voxel is dark, as a share of the 95th percentile of the non-zero voxels.
        largest_dark_share: largest share of dark voxels among the non-zero ones of a stripped scan.
    """

    def __init__(self, dark: float = 0.1, largest_dark_share: float = 0.2) -> None:
        self.dark = dark
        self.largest_dark_share = largest_dark_share

    def is_stripped(self, image: np.ndarray) -> bool:
        """Return whether the non-zero voxels of an image (X, Y, Z) are a brain without its skull."""
        values = image[image != 0]
        if values.size == image.size:  # no background at all
            return False
        return bool(np.mean(values < self.dark * np.percentile(values, 95)) <= self.largest_dark_share)

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, str | None]:
        """Return the mask (1, X, Y, Z) of a scan (C, X, Y, Z) as float32 zeros and ones, and a warning or None.

        Raises:
            ValueError: where the scan holds nothing (all voxels equal) or values that are not finite.
        """
        channels = checked_voxels(image)
        if self.is_stripped(channels[0]):
            return _as_mask((channels != 0).any(0), image), None
        return _as_mask(_head(channels[0]), image), HEAD_WARNING


def checked_voxels(image: torch.Tensor) -> np.ndarray:
    """Return the voxels of a scan (C, X, Y, Z).

    Raises:
        ValueError: where they are not all finite, or all equal.
    """
    voxels = np.asarray(image)
    if not np.isfinite(voxels).all():
        number = int(np.count_nonzero(~np.isfinite(voxels)))
        raise ValueError(f"{number} voxels are not finite (NaN or infinity); write them as 0 first")
    if (voxels == voxels.flat[0]).all():
        raise ValueError(f"all voxels have the same value ({voxels.flat[0]:g}): the scan is empty")
    return voxels


def _head(image: np.ndarray) -> np.ndarray:
    """Return the largest connected bright region of an image (X, Y, Z), closed and filled."""
    smoothed = ndimage.uniform_filter(image.astype(np.float32), size=3)
    # Half of Otsu's threshold: the whole of it parts bright tissue from dark, not the head from the air.
    bright = smoothed > 0.5 * threshold_otsu(smoothed)
    labels, _ = ndimage.label(bright)
    head = labels == np.argmax(np.bincount(labels.ravel(), weights=bright.ravel()))
    return ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(head, 3), iterations=3))[3:-3, 3:-3, 3:-3]


def _as_mask(mask: np.ndarray, image: torch.Tensor) -> torch.Tensor:
    """Return a boolean array (X, Y, Z) as a mask (1, X, Y, Z) on the image's grid."""
    tensor = torch.from_numpy(mask[None].astype(np.float32))
    return tensor if not isinstance(image, MetaTensor) else MetaTensor(tensor).copy_meta_from(image)


class BrainMaskd(MapTransform):
    """Dictionary version of `BrainMask`: adds `mask_key` where it is missing, else makes it zeros and ones.

    A warning is kept in the image's `meta["mask_warning"]`, and given through `warnings` too.

    Raises:
        ValueError: where a given mask is empty or on another grid than the image.
    """

    def __init__(
        self, keys: KeysCollection = "image", mask_key: str = "mask", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.brain_mask = BrainMask()

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            if self.mask_key in d:
                checked_voxels(image)
                d[self.mask_key] = self._checked(d[self.mask_key], image)
                continue
            d[self.mask_key], warning = self.brain_mask(image)
            if warning is not None:
                image.meta["mask_warning"] = warning
                warnings.warn(warning, stacklevel=2)
        return d

    def _checked(self, mask: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        if mask.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"the mask's shape {tuple(mask.shape[1:])} is not the scan's {tuple(image.shape[1:])}; "
                "give a mask that was made from this scan"
            )
        if isinstance(mask, MetaTensor) and isinstance(image, MetaTensor):
            distance = float((mask.affine - image.affine).abs().max())
            if distance > 0.01 * float(image.pixdim.max()):
                raise ValueError("the mask lies on another grid (affine) than the scan; give one made from this scan")
        mask = (mask[:1] > 0).to(torch.float32)
        if not mask.any():
            raise ValueError("the mask is empty")
        return mask
