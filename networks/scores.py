"""Equation (2) and what belongs to it: anomaly scores of pixels and slices.

A(x) = |x - g(mu(x))|  *  |d KL(x) / d x|                                                                   (2)
-ELBO(x) = KL(x) + rec(x, g(mu(x)))
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from networks.cevae import CEVAE
from networks.objective import kl_divergence, reconstruction_error

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


def check_score_options(polarity: str, median: int) -> None:
    """Raise ValueError for an unknown polarity, or a median filter whose side is no odd number of pixels."""
    if polarity not in POLARITIES:
        raise ValueError(f"unknown polarity {polarity!r}; known are {', '.join(POLARITIES)}")
    if median < 1 or median % 2 == 0:
        raise ValueError(f"median is {median}, but must be an odd number of pixels")


def median_filter(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Return maps (B, C, H, W), each pixel the median of `size` x `size` around it, zero beyond the edge."""
    if size == 1:
        return maps
    batch, channels, height, width = maps.shape
    windows = F.unfold(maps.flatten(0, 1)[:, None], size, padding=size // 2)
    return windows.median(dim=1).values.reshape(batch, channels, height, width)


def polarised_residual(x: torch.Tensor, reconstruction: torch.Tensor, polarity: str) -> torch.Tensor:
    """Return the residual (B, C, H, W), 0 or more, of what is too "bright" (x > g), too "dark" (x < g), or "both"."""
    residual = x - reconstruction
    if polarity == "both":
        return residual.abs()
    return residual.clamp(min=0) if polarity == "bright" else (-residual).clamp(min=0)


def score_slices(
    network: CEVAE, x: torch.Tensor, reconstruction: str = "l2", polarity: str = "both", median: int = 3
) -> Scores:
    """Return the scores of slices (B, C, N, N): one pass through encoder and decoder, one back through the encoder.

    The KL of a slice depends on that slice only, so the gradient of the sum over the batch is that of each slice.
    `rec` and `kl` are means over channels, `combined` is their product; `recommended` is the residual of the given
    polarity, averaged over channels, after a median filter of `median` x `median` pixels.
    """
    check_score_options(polarity, median)
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
        recommended = median_filter(polarised_residual(x, g, polarity).mean(1, keepdim=True), median)
        slice_rec = reconstruction_error(x, g, reconstruction)
        return Scores(rec * kl, rec, kl, recommended, g, slice_kl.detach(), slice_rec)
