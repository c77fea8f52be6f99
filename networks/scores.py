"""Equation (2) and what belongs to it: anomaly scores of pixels and slices.

A(x) = |x - g(mu(x))|  *  |d KL(x) / d x|                                                                   (2)
-ELBO(x) = KL(x) + rec(x, g(mu(x)))
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

from networks.cevae import CEVAE
from networks.objective import kl_divergence, reconstruction_error
from networks.total_variation import total_variation_filter

POLARITIES = ("bright", "dark", "both")


class Scores(NamedTuple):
    """Scores of slices: maps (B, 1, N, N) on the network's grid, reconstruction (B, C, N, N), values (B,) in nats."""

    combined: torch.Tensor
    rec: torch.Tensor
    kl: torch.Tensor
    recommended: torch.Tensor
    reconstruction: torch.Tensor
    slice_kl: torch.Tensor
    slice_rec: torch.Tensor


@dataclass(frozen=True)
class ScoreOptions:
    """How slices are scored.

    Attributes:
        reconstruction: "l2" or "l1", as in the objective: the error of `slice_rec`.
        polarity: "bright", "dark" or "both": which residuals count in `recommended`.
        smoothing: weight of the total variation filter, pixels.
        symmetry: share of the residuals' symmetric part that is left out, 0 to 1.
        symmetry_other_sign: whether a larger residual of the other sign on the other side counts as symmetric too, so
            that a lesion has no ghost on the other side.
        reconstruction_share: share of the reconstruction that is subtracted, 0 to 1.

    Raises:
        ValueError: for an unknown polarity, a negative smoothing, or a share outside 0 to 1.
    """

    reconstruction: str = "l2"
    polarity: str = "both"
    smoothing: float = 0.0
    symmetry: float = 0.0
    symmetry_other_sign: bool = True
    reconstruction_share: float = 1.0

    def __post_init__(self) -> None:
        if self.polarity not in POLARITIES:
            raise ValueError(f"unknown polarity {self.polarity!r}; known are {', '.join(POLARITIES)}")
        if self.smoothing < 0:
            raise ValueError(f"smoothing is {self.smoothing}, but must be 0 or more")
        if not 0 <= self.symmetry <= 1:
            raise ValueError(f"symmetry is {self.symmetry}, but must lie between 0 and 1")
        if not 0 <= self.reconstruction_share <= 1:
            raise ValueError(f"reconstruction_share is {self.reconstruction_share}, but must lie between 0 and 1")


def polarised(residual: torch.Tensor, polarity: str) -> torch.Tensor:
    """Return of residuals x - g what is too "bright" (x > g), too "dark" (x < g), or "both": 0 or more."""
    if polarity == "both":
        return residual.abs()
    return residual.clamp(min=0) if polarity == "bright" else (-residual).clamp(min=0)


def symmetric_part(residual: torch.Tensor, width: int, other_sign: bool = True) -> torch.Tensor:
    """Return what residuals (B, C, H, W) have in common with their mirror image along H, left and right.

    Means over squares of odd `width` (pixels) are compared, as no brain is its own mirror image to the pixel. If m is
    the mean here and o the mean on the other side, the symmetric part is

        sign(m) min(|m|, |o|)          if both have the same sign,
        sign(m) min(|m|, |o| - |m|)    if the signs differ and |o| > |m|, with `other_sign`,
        0                              else: what lies on one side only has no share.

    The second case is the mirror image of a lesion: the lesion takes away what m would have had in common with the
    other side, so that m would stand out as a ghost. In the middle, where the two squares overlap, the symmetric part
    is weighted by the share of them that does not: a lesion across the midline is not its own other side.
    """
    mean = F.avg_pool2d(residual, width, stride=1, padding=width // 2)
    other = mean.flip(-2)
    common = torch.minimum(mean, other).clamp(min=0) + torch.maximum(mean, other).clamp(max=0)
    if other_sign:
        excess = (other.abs() - mean.abs()).clamp(min=0)
        common = torch.where(mean * other < 0, mean.sign() * torch.minimum(mean.abs(), excess), common)
    height = residual.shape[-2]
    apart = (2 * torch.arange(height, device=residual.device) - (height - 1)).abs()  # pixels between the two squares
    return common * (apart / width).clamp(max=1)[:, None]


def recommend(residual: torch.Tensor, options: ScoreOptions) -> torch.Tensor:
    """Return `recommended` (B, 1, H, W) of signed residuals (B, C, H, W).

    1. Less `symmetry` times their symmetric part: healthy surprises are mostly symmetric.
    2. A total variation filter of weight `smoothing`: where a fold lies a little beside its reconstruction,
       bright and dark cancel; where a lesion is, they do not, and its edge stays.
    3. What has the given polarity, averaged over channels.
    """
    if options.symmetry > 0:
        width = 2 * round(2 * options.smoothing) + 1  # about as far as the filter itself reaches
        residual = residual - options.symmetry * symmetric_part(residual, width, options.symmetry_other_sign)
    return polarised(total_variation_filter(residual, options.smoothing), options.polarity).mean(1, keepdim=True)


def score_slices(network: CEVAE, x: torch.Tensor, options: ScoreOptions) -> Scores:
    """Return the scores of slices (B, C, N, N): one pass through encoder and decoder, one back through the encoder.

    The KL of a slice depends on that slice only, so the gradient of the sum over the batch is that of each slice.
    `rec` and `kl` are means over channels, `combined` their product. `recommended` is `recommend` of x - k g, k the
    `reconstruction_share`: g reproduces part of a lesion, and subtracting all of g would remove that part.
    """
    with torch.enable_grad():  # evaluators run under no_grad
        x = x.detach().requires_grad_()
        mu, logvar = network.encode(x)
        slice_kl = kl_divergence(mu, logvar)
        (gradient,) = torch.autograd.grad(slice_kl.sum(), x)
    with torch.no_grad():
        x = x.detach()
        g = network.decode(mu.detach())
        rec = (x - g).abs().mean(1, keepdim=True)
        kl = gradient.abs().mean(1, keepdim=True)
        recommended = recommend(x - options.reconstruction_share * g, options)
        slice_rec = reconstruction_error(x, g, options.reconstruction)
        return Scores(rec * kl, rec, kl, recommended, g, slice_kl.detach(), slice_rec)
