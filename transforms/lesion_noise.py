"""Context-encoding noise that looks like disease: regions with the outline of a lesion."""

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Randomizable, Transform
from torch.nn import functional as F

from transforms.noise import RandNoised, as_batch


class RandLesionNoise(Randomizable, Transform):
    """Paint regions with the outline of a lesion into each slice: smooth, irregular, with soft edges.

    x~ = x + a m (c - x),   m = sigmoid((n - t) / softness),  n ~ N(0, 1) on a coarse grid, enlarged

    The threshold t leaves the wanted share of the brain, so there is one large region or several small ones. The grey
    level c is one value, or the slice of another scan in the batch: its texture in the wrong place.

    Args:
        share: smallest and largest share of the brain that is covered.
        resolution: smallest and largest side of the grid that n is drawn on, pixels: coarse ones give large regions.
        fill: lowest and highest grey level c, in units of the normalised image.
        opacity: smallest and largest a.
        texture: probability that c is another slice of the batch.
        softness: width of the edge, in deviations of n at the grid's points.
    """

    def __init__(
        self,
        share: tuple[float, float] = (0.01, 0.2),
        resolution: tuple[int, int] = (4, 12),
        fill: tuple[float, float] = (-3.0, 3.0),
        opacity: tuple[float, float] = (0.3, 1.0),
        texture: float = 0.3,
        softness: float = 0.1,
    ) -> None:
        self.share = share
        self.resolution = resolution
        self.fill = fill
        self.opacity = opacity
        self.texture = texture
        self.softness = softness

    def randomize(self, data: torch.Tensor) -> None:
        """Draw outlines, grey levels and opacities for a batch (B, C, H, W)."""
        batch, channels = data.shape[:2]

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            return torch.from_numpy(self.R.uniform(low, high, size=(batch, *shape)).astype(np.float32))

        side = int(self.R.randint(self.resolution[0], self.resolution[1] + 1))
        self.field = torch.from_numpy(self.R.standard_normal((batch, 1, side, side)).astype(np.float32))
        self.covered = uniform(*self.share)
        self.grey = uniform(*self.fill, channels, 1, 1)
        self.alpha = uniform(*self.opacity, 1, 1, 1)
        self.from_other = (uniform(0, 1, 1, 1, 1) < self.texture) & (batch > 1)
        self.other = int(self.R.randint(1, max(batch, 2)))

    def __call__(self, image: torch.Tensor, mask: torch.Tensor | None = None, randomize: bool = True) -> torch.Tensor:
        """Return the image or batch with regions, inside the mask (1, H, W) or (B, 1, H, W) if there is one."""
        x = as_batch(image)
        if randomize:
            self.randomize(x)
        drawn = (self.field, self.covered, self.grey, self.alpha, self.from_other)
        field, covered, grey, alpha, from_other = (values.to(x.device, non_blocking=True) for values in drawn)
        field = F.interpolate(field.to(x.dtype), size=x.shape[2:], mode="bicubic", align_corners=False)
        inside = torch.ones_like(field) if mask is None else (as_batch(mask) > 0.5).to(x.dtype)
        # The threshold above which the wanted share of the brain lies.
        within = torch.where(inside > 0, field, -torch.inf).flatten(1).sort(1, descending=True).values
        last = (covered * inside.flatten(1).sum(1)).long().clamp(max=within.shape[1] - 1)
        threshold = within.gather(1, last[:, None])[..., None, None].nan_to_num(neginf=0.0)
        region = torch.sigmoid((field - threshold) / self.softness) * inside
        colour = torch.where(from_other, x.roll(self.other, 0), grey.to(x.dtype))
        return (x + alpha.to(x.dtype) * region * (colour - x)).reshape(image.shape)


class RandLesionNoised(RandNoised):
    """Dictionary version of `RandLesionNoise`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        share: tuple[float, float] = (0.01, 0.2),
        resolution: tuple[int, int] = (4, 12),
        fill: tuple[float, float] = (-3.0, 3.0),
        opacity: tuple[float, float] = (0.3, 1.0),
        texture: float = 0.3,
        softness: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, mask_key, allow_missing_keys)
        self.noise = RandLesionNoise(share, resolution, fill, opacity, texture, softness)
