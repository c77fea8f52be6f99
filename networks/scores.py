"""Equation (2) and what belongs to it: anomaly scores of pixels and slices.

A(x) = |x - g(mu(x))|  *  |d KL(x) / d x|                                                                   (2)
-ELBO(x) = KL(x) + rec(x, g(mu(x)))
"""

from typing import NamedTuple

import torch

from networks.cevae import CEVAE
from networks.objective import kl_divergence, reconstruction_error
from networks.recommended import ScoreOptions


class Scores(NamedTuple):
    """Scores of slices: maps (B, 1, N, N) on the network's grid, values (B,) in nats.

    `reconstruction` is g, and `residual` is x - k g, k the `reconstruction_share`, each (B, C, N, N): `recommend` makes
    `recommended` of the residuals of a whole volume.
    """

    combined: torch.Tensor
    rec: torch.Tensor
    kl: torch.Tensor
    residual: torch.Tensor
    reconstruction: torch.Tensor
    slice_kl: torch.Tensor
    slice_rec: torch.Tensor


def score_slices(network: CEVAE, x: torch.Tensor, options: ScoreOptions) -> Scores:
    """Return the scores of slices (B, C, N, N): one pass through encoder and decoder, one back through the encoder.

    The KL of a slice depends on that slice only, so the gradient of the sum over the batch is that of each slice.
    `rec` and `kl` are means over channels, `combined` their product.
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
        residual = x - options.reconstruction_share * g
        slice_rec = reconstruction_error(x, g, options.reconstruction)
        return Scores(rec * kl, rec, kl, residual, g, slice_kl.detach(), slice_rec)
