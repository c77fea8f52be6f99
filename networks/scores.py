"""Equation (2) and what belongs to it: anomaly scores of pixels and slices.

A(x) = |x - g(mu(x))|  *  |d KL(x) / d x|                                                                   (2)
-ELBO(x) = KL(x) + rec(x, g(mu(x)))
"""

from typing import NamedTuple

import torch

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


def check_score_options(polarity: str, smoothing: float) -> None:
    """Raise ValueError for an unknown polarity, or a negative weight of the smoothing."""
    if polarity not in POLARITIES:
        raise ValueError(f"unknown polarity {polarity!r}; known are {', '.join(POLARITIES)}")
    if smoothing < 0:
        raise ValueError(f"smoothing is {smoothing}, but must be 0 or more")


def polarised(residual: torch.Tensor, polarity: str) -> torch.Tensor:
    """Return of residuals x - g what is too "bright" (x > g), too "dark" (x < g), or "both": 0 or more."""
    if polarity == "both":
        return residual.abs()
    return residual.clamp(min=0) if polarity == "bright" else (-residual).clamp(min=0)


def score_slices(
    network: CEVAE, x: torch.Tensor, reconstruction: str = "l2", polarity: str = "both", smoothing: float = 0.0
) -> Scores:
    """Return the scores of slices (B, C, N, N): one pass through encoder and decoder, one back through the encoder.

    The KL of a slice depends on that slice only, so the gradient of the sum over the batch is that of each slice.
    `rec` and `kl` are means over channels, `combined` their product. `recommended` is the signed residual x - g of each
    channel after a total variation filter of weight `smoothing` (pixels), and of that what has the given polarity,
    averaged over channels: where a fold lies a little beside its reconstruction, bright and dark cancel; where a lesion
    is, they do not, and its edge stays.
    """
    check_score_options(polarity, smoothing)
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
        recommended = polarised(total_variation_filter(x - g, smoothing), polarity).mean(1, keepdim=True)
        slice_rec = reconstruction_error(x, g, reconstruction)
        return Scores(rec * kl, rec, kl, recommended, g, slice_kl.detach(), slice_rec)
