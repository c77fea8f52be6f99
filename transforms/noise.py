"""Context-encoding noise: it hides a part of the healthy slice, which the network must fill in from its context."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from torch.nn import functional as F


def as_batch(image: torch.Tensor) -> torch.Tensor:
    """Return (C, H, W) as a batch of one, and a batch (B, C, H, W) as it is.

    Raises:
        ValueError: if the image has another number of dimensions.
    """
    if image.ndim not in (3, 4):
        raise ValueError(f"expected an image (C, H, W) or a batch (B, C, H, W), got shape {tuple(image.shape)}")
    return image if image.ndim == 4 else image[None]


class RandSquareNoise(Randomizable, Transform):
    """Cover each slice with square masks of one grey level each (Zimmerer et al. 2019, section 2).

    Every sample of a batch gets its own squares. Every square is visible: it lies wholly inside the slice, and smaller
    squares lie on larger ones.

    Args:
        number: smallest and largest number of squares on a slice.
        size: smallest and largest side, as a share of the slice's side.
        fill: lowest and highest grey level of a square, in units of the normalised image.
    """

    def __init__(
        self,
        number: tuple[int, int] = (1, 3),
        size: tuple[float, float] = (0.1, 0.4),
        fill: tuple[float, float] = (-2.0, 2.0),
    ) -> None:
        self.number = number
        self.size = size
        self.fill = fill

    def randomize(self, data: torch.Tensor) -> None:
        """Draw number, place, side and grey level of the squares of a batch (B, C, H, W)."""
        batch, channels, height, width = data.shape
        squares = (batch, self.number[1])
        self.shown = np.arange(self.number[1]) < self.R.randint(self.number[0], self.number[1] + 1, size=(batch, 1))
        side = np.maximum(1, np.rint(self.R.uniform(*self.size, size=squares) * min(height, width)))
        # The largest is drawn first, so that no square hides a smaller one.
        self.side = -np.sort(-side * self.shown, axis=1).astype(int)
        self.top = np.floor(self.R.uniform(size=squares) * (height - self.side + 1)).astype(int)
        self.left = np.floor(self.R.uniform(size=squares) * (width - self.side + 1)).astype(int)
        self.grey = self.R.uniform(*self.fill, size=(*squares, channels)).astype(np.float32)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor | None = None, randomize: bool = True) -> torch.Tensor:
        """Return the noisy image or batch, of the same shape; the mask is not used: squares cover the whole slice."""
        x = as_batch(image)
        if randomize:
            self.randomize(x)

        def on_device(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(x.device, non_blocking=True)

        rows = torch.arange(x.shape[2], device=x.device)[None, :, None]
        columns = torch.arange(x.shape[3], device=x.device)[None, None, :]
        shown, side, top, left = (on_device(v)[:, :, None, None] for v in (self.shown, self.side, self.top, self.left))
        grey = on_device(self.grey).to(x.dtype)
        for k in range(self.number[1]):
            covered = (rows >= top[:, k]) & (rows < top[:, k] + side[:, k])
            covered = covered & (columns >= left[:, k]) & (columns < left[:, k] + side[:, k]) & shown[:, k]
            x = torch.where(covered[:, None], grey[:, k, :, None, None], x)
        return x.reshape(image.shape)


class RandCoarseNoise(Randomizable, Transform):
    """Add smooth noise inside the brain: Gaussian noise of a low resolution, enlarged to the slice.

    x~ = x + strength * enlarge(n),  n ~ N(0, 1) on a grid of `resolution` x `resolution`, strength uniform per sample
    (after Kascenas, Pugeault, O'Neil, MIDL 2022).

    Args:
        resolution: side of the grid that the noise is drawn on, pixels.
        strength: lowest and highest standard deviation at the grid's points, in units of the normalised image.
    """

    def __init__(self, resolution: int = 16, strength: tuple[float, float] = (1.0, 3.0)) -> None:
        self.resolution = resolution
        self.strength = strength

    def randomize(self, data: torch.Tensor) -> None:
        """Draw the low-resolution noise and its strength for a batch (B, C, H, W)."""
        batch, channels = data.shape[:2]
        strength = self.R.uniform(*self.strength, size=(batch, 1, 1, 1))
        noise = self.R.standard_normal((batch, channels, self.resolution, self.resolution))
        self.noise = torch.from_numpy((strength * noise).astype(np.float32))

    def __call__(self, image: torch.Tensor, mask: torch.Tensor | None = None, randomize: bool = True) -> torch.Tensor:
        """Return the image or batch with noise, inside the mask (1, H, W) or (B, 1, H, W) if there is one."""
        x = as_batch(image)
        if randomize:
            self.randomize(x)
        noise = self.noise.to(x.device, x.dtype, non_blocking=True)
        noise = F.interpolate(noise, size=x.shape[2:], mode="bilinear", align_corners=False)
        if mask is not None:
            noise = noise * (as_batch(mask) > 0.5)
        return (x + noise).reshape(image.shape)


class Noise(Protocol):
    """What makes x~ of x, (C, H, W) or (B, C, H, W), inside the mask if there is one."""

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Any:
        """Seed the random choices."""

    def randomize(self, data: torch.Tensor) -> None:
        """Draw the random choices of a batch."""

    def __call__(self, image: torch.Tensor, mask: torch.Tensor | None = None, randomize: bool = True) -> torch.Tensor:
        """Return the noisy image or batch, of the same shape."""


class RandNoised(Randomizable, MapTransform):
    """The base of the dictionary versions: one noise transform for all keys, inside the mask if there is one."""

    noise: Noise

    def __init__(self, keys: KeysCollection, mask_key: str, allow_missing_keys: bool) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> "RandNoised":
        """Seed the random choices of the next call."""
        super().set_random_state(seed, state)
        self.noise.set_random_state(seed, state)
        return self

    def randomize(self, data: Any) -> None:
        """Draw the random choices of one call."""
        self.noise.randomize(data)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.noise(d[key], d.get(self.mask_key))
        return d


class RandSquareNoised(RandNoised):
    """Dictionary version of `RandSquareNoise`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        number: tuple[int, int] = (1, 3),
        size: tuple[float, float] = (0.1, 0.4),
        fill: tuple[float, float] = (-2.0, 2.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, mask_key, allow_missing_keys)
        self.noise = RandSquareNoise(number, size, fill)


class RandCoarseNoised(RandNoised):
    """Dictionary version of `RandCoarseNoise`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        resolution: int = 16,
        strength: tuple[float, float] = (1.0, 3.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, mask_key, allow_missing_keys)
        self.noise = RandCoarseNoise(resolution, strength)
