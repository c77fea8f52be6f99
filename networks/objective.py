"""Equation (1): the objective of the ceVAE.

L = (1 - lambda) * [ beta KL(f(x)) + rec(x, g(z)) ]  +  lambda * rec(x, g(mu(x~)))   z ~ N(mu(x), sigma(x)^2)    (1)

beta = 1 is (1) as printed. The paper states neither the unit nor the reduction of rec, so its beta is not known.
"""

from typing import NamedTuple

import torch
from torch import nn

from networks.cevae import CEVAE

RECONSTRUCTIONS = ("l1", "l2")
PRECISIONS = ("float32", "bfloat16")


class Terms(NamedTuple):
    """The terms of equation (1) for each slice of a batch, (B,), in nats; 0 for a branch of weight 0.

    `kl` has no weight. `loss` is the weighted sum.
    """

    loss: torch.Tensor
    kl: torch.Tensor
    rec_vae: torch.Tensor
    rec_ce: torch.Tensor


def kl_divergence(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mu, sigma^2) || N(0, 1)) of each slice, (B,), summed over the latent (B, L, h, w), in nats.

    KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2)  (Kingma and Welling 2014, appendix B).
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def reconstruction_error(x: torch.Tensor, reconstruction: torch.Tensor, kind: str = "l2") -> torch.Tensor:
    """Return rec(x, g) of each slice, (B,), summed over channels and pixels, in nats, without its constant.

    It is the negative log-likelihood of x: "l2" is that of a Gaussian of sigma 1, 1/2 sum (x - g)^2;
    "l1" that of a Laplace distribution of scale 1, sum |x - g|.

    Raises:
        ValueError: if `kind` is unknown.
    """
    if kind not in RECONSTRUCTIONS:
        raise ValueError(f"unknown reconstruction {kind!r}; known are {', '.join(RECONSTRUCTIONS)}")
    difference = (x - reconstruction).flatten(1)
    return 0.5 * difference.square().sum(1) if kind == "l2" else difference.abs().sum(1)


class CEVAEObjective(nn.Module):
    """The network with its objective: one forward returns all terms of the loss.

    Both branches go through encoder and decoder in one pass. The CE branch takes the mean as its code and the clean
    slice as its target. With lambda = 0 this is the VAE, with lambda = 1 the context encoder; a branch of weight 0 is
    not computed.

    Args:
        network: the ceVAE.
        ce_weight: lambda, the weight of the CE branch, 0 to 1.
        reconstruction: "l2" or "l1".
        precision: "float32", or "bfloat16" for the network alone; the loss is always computed in float32.
        kl_weight: beta, the weight of the KL, 0 or more.

    Raises:
        ValueError: if a weight is outside its range, or if the reconstruction or precision is unknown.
    """

    def __init__(
        self,
        network: CEVAE,
        ce_weight: float = 0.5,
        reconstruction: str = "l2",
        precision: str = "float32",
        kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= ce_weight <= 1:
            raise ValueError(f"lambda is {ce_weight}, but must lie between 0 (VAE) and 1 (context encoder)")
        if kl_weight < 0:
            raise ValueError(f"kl_weight is {kl_weight}, but must be 0 or more")
        if reconstruction not in RECONSTRUCTIONS:
            raise ValueError(f"unknown reconstruction {reconstruction!r}; known are {', '.join(RECONSTRUCTIONS)}")
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # faster
        self.ce_weight = ce_weight
        self.kl_weight = kl_weight
        self.reconstruction = reconstruction
        self.precision = precision

    def _mixed(self, x: torch.Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def forward(self, x: torch.Tensor, x_noisy: torch.Tensor) -> Terms:
        """Return the terms of equation (1) for slices x (B, C, N, N) and the same slices with CE noise, x~."""
        vae, ce = self.ce_weight < 1, self.ce_weight > 0
        with self._mixed(x):
            mu, logvar = self.network.encode(torch.cat([x] * vae + [x_noisy] * ce))
        mu, logvar = mu.to(x.dtype), logvar.to(x.dtype)
        codes = []
        if vae:
            mu_x, logvar_x = mu[: len(x)], logvar[: len(x)]
            codes += [mu_x + torch.randn_like(mu_x) * torch.exp(0.5 * logvar_x)]  # z ~ N(mu(x), sigma(x)^2)
        if ce:
            codes += [mu[-len(x) :]]  # mu(x~)
        with self._mixed(x):
            reconstruction = self.network.decode(torch.cat(codes))
        reconstruction = reconstruction.to(x.dtype)

        kl = rec_vae = rec_ce = x.new_zeros(len(x))
        if vae:
            kl = kl_divergence(mu_x, logvar_x)
            rec_vae = reconstruction_error(x, reconstruction[: len(x)], self.reconstruction)
        if ce:
            rec_ce = reconstruction_error(x, reconstruction[-len(x) :], self.reconstruction)
        loss = (1 - self.ce_weight) * (self.kl_weight * kl + rec_vae) + self.ce_weight * rec_ce
        return Terms(loss, kl, rec_vae, rec_ce)
