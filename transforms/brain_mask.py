"""The brain mask of a scan: the given one, else one that is found in the image."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from scipy import ndimage
from skimage.filters import threshold_otsu

from transforms.background import border_of, fill_planes, find_background, is_bright_at_border
from transforms.binary import as_binary

BACKGROUND_WARNING = (
    "its background was not recognised: the border of the volume has no constant value, and no brain mask was given, "
    "so the brightest region is taken as brain; set the background to 0, or give a brain mask (--mask, or `mask` in a "
    "datalist)"
)
LONG_WARNING = (
    "no brain mask was given, and its voxels beyond the background are {length:.0f} mm long, longer than a brain "
    "({limit:.0f} mm): the scan probably has its skull, with the air set to one value, or several values in its "
    "background; give a brain mask (--mask, or `mask` in a datalist)"
)
HEAD_WARNING = (
    "the scan has its skull and no brain mask was given: the whole head is taken as brain, so skull, eyes and scalp "
    "are scored as well; give a brain mask, for example of HD-BET (--mask, or `mask` in a datalist)"
)

BORDER_SHARE = 0.9
"""Share of the volume's border from which on a mask covers air: a brain that the scan cuts off touches less of it."""

GIVEN, STRIPPED, HEAD = "given", "stripped", "head"
"""Origins of a mask: it was given, it is the foreground of a scan without skull, or it is the whole head."""


@dataclass(frozen=True)
class FoundMask:
    """The mask that was found in a scan.

    Attributes:
        mask: the mask (X, Y, Z), boolean.
        origin: STRIPPED or HEAD.
        warning: what a reader of the maps should know of it, None if there is nothing.
    """

    mask: np.ndarray
    origin: str
    warning: str | None


class BrainMask(Transform):
    """Find the brain of a scan: all beside its background if the skull is stripped, else the head, with a warning.

    A head is larger than a brain, and has bone, air and noise between its bright tissue. In a head 26 to 37 % of the
    non-zero voxels are dark (32 T1 scans); in a stripped brain usually below 18 % (763 of 767 FLAIR slices; at most
    28 %, with large ventricles). So a scan counts as a head if it is much darker than a brain, or somewhat darker and
    larger.

    Args:
        dark: grey level below which a voxel is dark, as a share of the 95th percentile of the non-zero voxels.
        brain_dark_share: largest share of dark voxels in a stripped scan that is larger than a brain.
        head_dark_share: largest share of dark voxels in a stripped scan of a brain's size.
        brain_length: longest side of a brain, mm.
    """

    def __init__(
        self,
        dark: float = 0.1,
        brain_dark_share: float = 0.12,
        head_dark_share: float = 0.3,
        brain_length: float = 200.0,
    ) -> None:
        self.dark = dark
        self.brain_dark_share = brain_dark_share
        self.head_dark_share = head_dark_share
        self.brain_length = brain_length

    def is_stripped(self, image: np.ndarray, spacing: np.ndarray) -> bool:
        """Return whether an image (X, Y, Z) of a spacing in mm is a brain without its skull, beside its background."""
        background = find_background(image)
        return background is not None and self._is_brain(
            image - background.value, background.foreground(image), spacing
        )

    def _is_brain(self, image: np.ndarray, inside: np.ndarray, spacing: np.ndarray) -> bool:
        """Return whether the voxels inside are a brain, given the image less its background."""
        values = image[inside]
        if values.size in (0, image.size):  # no background at all
            return False
        # Grey levels on both sides of the background: the scan was normalised after its skull was removed.
        if np.mean(values < 0) > 0.01:
            return True
        dark_share = np.mean(values < self.dark * np.percentile(values, 95))
        is_long = _length(inside, spacing) > self.brain_length
        return bool(dark_share <= (self.brain_dark_share if is_long else self.head_dark_share))

    def find(self, image: torch.Tensor) -> FoundMask:
        """Return the mask of a scan (C, X, Y, Z), and where it comes from.

        Raises:
            ValueError: if all voxels of the scan are equal, or if some are not finite.
        """
        channels = checked_voxels(image)
        spacing = np.asarray(affine_to_spacing(image.affine) if isinstance(image, MetaTensor) else np.ones(3))
        first, *others = channels
        background = find_background(first)
        if background is not None:
            inside = background.foreground(first)
            if self._is_brain(first - background.value, inside, spacing):
                for channel in others:
                    its = find_background(channel)
                    inside = inside | (its.foreground(channel) if its is not None else False)
                length = _length(inside, spacing)
                if length > self.brain_length:
                    return FoundMask(inside, HEAD, LONG_WARNING.format(length=length, limit=self.brain_length))
                return FoundMask(inside, STRIPPED, None)
        region = _head(first)
        # Noise over the whole volume hides the background of a stripped brain, which has no dark bone around it.
        is_brain = _length(region, spacing) <= self.brain_length and self._is_brain(
            first - first.min(), region, spacing
        )
        unknown = background is None and (is_brain or is_bright_at_border(first))
        warning = BACKGROUND_WARNING if unknown else HEAD_WARNING
        return FoundMask(region, STRIPPED if unknown and is_brain else HEAD, warning)

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, str | None]:
        """Return the mask (1, X, Y, Z) of a scan (C, X, Y, Z) as float32 zeros and ones, and a warning or None.

        Raises:
            ValueError: if all voxels of the scan are equal, or if some are not finite.
        """
        found = self.find(image)
        return _as_mask(found.mask, image), found.warning


def _length(inside: np.ndarray, spacing: np.ndarray) -> float:
    """Return the longest side of a mask's bounding box, mm."""
    places = ndimage.find_objects(inside.astype(np.uint8))[0]
    return max((place.stop - place.start) * float(side) for place, side in zip(places, spacing, strict=True))


def checked_voxels(image: torch.Tensor) -> np.ndarray:
    """Return the voxels of a scan (C, X, Y, Z).

    Raises:
        ValueError: if some voxels are not finite, or if all are equal.
    """
    voxels = np.asarray(image)
    if not np.isfinite(voxels).all():
        number = int(np.count_nonzero(~np.isfinite(voxels)))
        raise ValueError(
            f"{number} {'voxel is' if number == 1 else 'voxels are'} not finite (NaN, infinity, or beyond 3e38); write "
            "them as 0 first (for example with fslmaths -nan)"
        )
    for channel in voxels:
        if (channel == channel.flat[0]).all():
            raise ValueError(
                f"all voxels have the same value ({channel.flat[0]:g}): the scan is empty; export or convert it again"
            )
    return voxels


def _head(image: np.ndarray) -> np.ndarray:
    """Return the largest connected bright region of an image (X, Y, Z), closed and filled."""
    # Otsu's threshold takes squares, and those of huge values are infinite. Scaling by a power of two rounds nothing.
    scaled = np.ldexp(image.astype(np.float32), -int(np.frexp(np.abs(image).max())[1]))
    smoothed = ndimage.uniform_filter(scaled, size=3)
    # Otsu's threshold separates bright tissue from dark tissue; half of it separates the head from the air.
    bright = smoothed > 0.5 * threshold_otsu(smoothed)
    # Holes are filled before the largest region is chosen: dark bone may separate the brain from the scalp around it.
    labels, _ = ndimage.label(fill_planes(bright))
    head = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return fill_planes(ndimage.binary_closing(np.pad(head, 3), iterations=3)[3:-3, 3:-3, 3:-3])


def _as_mask(mask: np.ndarray, image: torch.Tensor) -> torch.Tensor:
    """Return a boolean array (X, Y, Z) as a mask (1, X, Y, Z) on the image's grid."""
    tensor = torch.from_numpy(mask[None].astype(np.float32))
    return tensor if not isinstance(image, MetaTensor) else MetaTensor(tensor).copy_meta_from(image)


class BrainMaskd(MapTransform):
    """Dictionary version of `BrainMask`: adds `mask_key` if it is missing; makes it, and a label, zeros and ones.

    The image keeps warnings in `meta["mask_warning"]`; they are not issued, because the brain of a head may be found
    afterwards. Its origin (GIVEN, STRIPPED or HEAD) is in `meta["mask_origin"]`.

    Raises:
        ValueError: if a given mask is empty, has values that are not finite, or lies on another grid than the image.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        allow_missing_keys: bool = False,
        label_key: str = "label",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.label_key = label_key
        self.brain_mask = BrainMask()

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            image, origin = d[key], GIVEN
            if self.mask_key in d:
                checked_voxels(image)
                d[self.mask_key], text = self._checked(d[self.mask_key], image)
            else:
                found = self.brain_mask.find(image)
                d[self.mask_key], origin, text = _as_mask(found.mask, image), found.origin, found.warning
            image.meta["mask_origin"] = origin
            texts = [text]
            if self.label_key in d:
                d[self.label_key], text = _binary(_named("label", d[self.label_key]), d[self.label_key])
                texts.append(text)
            warning = "; ".join(text for text in texts if text is not None)
            if warning:
                image.meta["mask_warning"] = warning
        return d

    def _checked(self, mask: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, str | None]:
        if mask.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"the mask's shape {tuple(mask.shape[1:])} is not the scan's {tuple(image.shape[1:])}; "
                "give a mask that was made from this scan"
            )
        if isinstance(mask, MetaTensor) and isinstance(image, MetaTensor):
            distance = float((mask.affine - image.affine).abs().max())
            if distance > 0.01 * float(image.pixdim.max()):
                raise ValueError(
                    "the mask lies on another grid (affine) than the scan; give a mask that was made from this scan"
                )
        name = _named("brain mask", mask)
        mask, warning = _binary(name, mask[:1])
        if not mask.any():
            raise ValueError(f"{name} is empty; make it again from this scan")
        if border_of(np.asarray(mask[0])).mean() >= BORDER_SHARE:
            warning = f"{name} covers the border of the volume, which is no brain: it covers the whole file, or is "
            warning += "inverted; make it again from this scan"
        return mask, warning


def _named(role: str, values: torch.Tensor) -> str:
    """Return a mask or a label for messages: its role, and its file if it has one."""
    file = values.meta.get("filename_or_obj") if isinstance(values, MetaTensor) else None
    return f"its {role}{f' {Path(str(file)).name}' if file else ''}"


def _binary(name: str, values: torch.Tensor) -> tuple[torch.Tensor, str | None]:
    """Return a mask or a label (1, X, Y, Z) as float32 zeros and ones, and a warning or None."""
    try:
        binary = as_binary(np.asarray(values))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None  # the reason of a failed scan is its first cause
    tensor = torch.from_numpy(binary.mask.astype(np.float32))
    spacing = affine_to_spacing(values.affine) if isinstance(values, MetaTensor) else np.ones(3)
    text = binary.warning(float(np.prod(np.asarray(spacing))) / 1000)
    mask = tensor if not isinstance(values, MetaTensor) else MetaTensor(tensor).copy_meta_from(values)
    return mask, None if text is None else f"{name} {text}"
