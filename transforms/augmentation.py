"""Augmentation of healthy slices, a whole batch at a time on its own device."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from torch.nn import functional as F

from transforms.noise import as_batch


class RandSliceAffine(Randomizable, Transform):
    """Mirror, rotate, scale and shift each slice of a batch by parameters of its own, in one interpolation.

    Args:
        mirror: probability of mirroring along H, which is left-right in axial and coronal slices.
        rotation: largest rotation to either side, degrees.
        scale: largest relative change of size, 0.1 is 0.9 to 1.1.
        shift: largest shift to either side along H and W, as a share of the slice's side.
    """

    def __init__(self, mirror: float = 0.5, rotation: float = 10.0, scale: float = 0.1, shift: float = 0.03) -> None:
        self.mirror = mirror
        self.rotation = rotation
        self.scale = scale
        self.shift = shift

    def randomize(self, data: torch.Tensor) -> None:
        """Draw the matrices (B, 2, 3) for a batch (B, C, H, W), in the convention of `torch.affine_grid`.

        The sampling grid is computed here too: it takes most of the time, and is the same for all keys.
        """
        batch = data.shape[0]
        mirror = np.where(self.R.uniform(size=batch) < self.mirror, -1.0, 1.0)
        angle = self.R.uniform(-1, 1, size=batch) * math.radians(self.rotation)
        zoom = 1 / (1 + self.R.uniform(-1, 1, size=batch) * self.scale)
        shift = 2 * self.R.uniform(-1, 1, size=(batch, 2)) * self.shift
        # affine_grid works in (x, y) = (W, H): mirroring along H is the sign of the second input row.
        cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
        rows = [[cosine, -sine, shift[:, 0]], [mirror * sine, mirror * cosine, shift[:, 1]]]
        self.matrix = torch.from_numpy(np.stack([np.stack(row, -1) for row in rows], 1).astype(np.float32))
        matrix = self.matrix.to(data.device, data.dtype, non_blocking=True)
        self.grid = F.affine_grid(matrix, list(data.shape), align_corners=False)

    def __call__(self, image: torch.Tensor, background: float = 0.0, randomize: bool = True) -> torch.Tensor:
        """Return the transformed image (C, H, W) or batch (B, C, H, W); `background` fills in beyond its edge."""
        x = as_batch(image)
        if randomize:
            self.randomize(x)
        moved = F.grid_sample(
            x - background, self.grid.to(x), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return (moved + background).reshape(image.shape)


class RandSliceAffined(Randomizable, MapTransform):
    """Dictionary version of `RandSliceAffine`: all keys move alike; `background` is that of the first key."""

    def __init__(
        self,
        keys: KeysCollection = ("image", "mask"),
        mirror: float = 0.5,
        rotation: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.03,
        background: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.background = background
        self.affine = RandSliceAffine(mirror, rotation, scale, shift)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandSliceAffined":
        """Seed the random choices of the next call."""
        super().set_random_state(seed, state)
        self.affine.set_random_state(seed, state)
        return self

    def randomize(self, data: Any) -> None:
        """Draw the random choices of one call."""
        self.affine.randomize(data)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        first = self.first_key(d)
        self.randomize(as_batch(d[first]))
        for key in self.key_iterator(d):
            d[key] = self.affine(d[key], self.background if key == first else 0.0, randomize=False)
        return d


class RandIntensity(Randomizable, Transform):
    """Scale and shift the grey levels of each channel of each slice: y = x * (1 + a) + b, inside the mask if given.

    Args:
        scale: largest relative change of contrast, |a|.
        shift: largest change of brightness, |b|, in units of the normalised image.
    """

    def __init__(self, scale: float = 0.1, shift: float = 0.1) -> None:
        self.scale = scale
        self.shift = shift

    def randomize(self, data: torch.Tensor) -> None:
        """Draw a and b for each channel of a batch (B, C, H, W)."""
        a, b = self.R.uniform(-1, 1, size=(2, *data.shape[:2], 1, 1)).astype(np.float32)
        self.factor = torch.from_numpy(1 + a * np.float32(self.scale))
        self.offset = torch.from_numpy(b * np.float32(self.shift))

    def __call__(self, image: torch.Tensor, mask: torch.Tensor | None = None, randomize: bool = True) -> torch.Tensor:
        """Return the image (C, H, W) or batch (B, C, H, W) with other grey levels, unchanged outside the mask."""
        x = as_batch(image)
        if randomize:
            self.randomize(x)
        factor, offset = (v.to(x.device, x.dtype, non_blocking=True) for v in (self.factor, self.offset))
        change = x * (factor - 1) + offset
        if mask is not None:
            change = change * as_batch(mask)
        return (x + change).reshape(image.shape)


class RandIntensityd(Randomizable, MapTransform):
    """Dictionary version of `RandIntensity`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        scale: float = 0.1,
        shift: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.intensity = RandIntensity(scale, shift)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> "RandIntensityd":
        """Seed the random choices of the next call."""
        super().set_random_state(seed, state)
        self.intensity.set_random_state(seed, state)
        return self

    def randomize(self, data: Any) -> None:
        """Draw the random choices of one call."""
        self.intensity.randomize(data)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.intensity(d[key], d.get(self.mask_key))
        return d
