"""Intensity normalisation inside the brain mask."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from scipy.stats import norm


class NormalizeInMask(Transform):
    """Bring each channel to mean 0 and standard deviation 1 inside the mask, and the background to one value.

    With `method="zscore"`, y = (x - mean) / sd. With `method="percentiles"` the line goes through two percentiles: it
    maps them to the same percentiles of a standard normal distribution. So neither a lesion nor a vessel moves the
    scale, and both methods agree on normally distributed values.

    Args:
        method: "zscore" or "percentiles".
        percentiles: the lower and upper percentile, 0 to 100.
        background: value of the voxels outside the mask.

    Raises:
        ValueError: if the method is unknown.
    """

    def __init__(
        self, method: str = "zscore", percentiles: tuple[float, float] = (5.0, 95.0), background: float = 0.0
    ) -> None:
        if method not in ("zscore", "percentiles"):
            raise ValueError(f"unknown normalisation {method!r}; known are 'zscore' and 'percentiles'")
        self.method = method
        self.percentiles = percentiles
        self.background = background

    def centre_and_scale(self, values: np.ndarray) -> tuple[float, float]:
        """Return centre and scale of the values (n,) inside the mask."""
        if self.method == "zscore":
            return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        low, high = np.percentile(values.astype(np.float64), self.percentiles)
        z_low, z_high = norm.ppf(np.asarray(self.percentiles) / 100)
        scale = (high - low) / (z_high - z_low)
        return float(low - scale * z_low), float(scale)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the normalised image (C, X, Y, Z) as float32, given a mask (1, X, Y, Z).

        Raises:
            ValueError: if a channel has only one grey level inside the mask.
        """
        inside = mask[0] > 0
        image = image.to(torch.float32)
        normalised = torch.full_like(image, self.background)
        for channel, values in enumerate(image[:, inside]):
            centre, scale = self.centre_and_scale(np.asarray(values))
            if not scale > 1e-6 * abs(centre):
                raise ValueError(
                    "only one grey level inside the brain mask: this file is probably a mask, or the mask belongs to "
                    "another scan; give the scan itself, and the mask that was made from it"
                )
            # In float64: the difference of two huge values may be infinite in float32.
            normalised[channel, inside] = ((values.to(torch.float64) - centre) / scale).to(torch.float32)
        return normalised


class NormalizeInMaskd(MapTransform):
    """Dictionary version of `NormalizeInMask`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        method: str = "zscore",
        percentiles: tuple[float, float] = (5.0, 95.0),
        background: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.normalize = NormalizeInMask(method, percentiles, background)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.normalize(d[key], d[self.mask_key])
        return d
