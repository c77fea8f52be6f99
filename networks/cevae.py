"""The network of the ceVAE: encoder f, decoder g."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class CEVAE(nn.Module):
    """Convolutional variational autoencoder for slices (Zimmerer et al. 2019).

    Encoder and decoder are five (transposed) convolutions of kernel 4 and stride 2, with LeakyReLU after each but the
    last. Four have padding 1 and halve (double) the side; the innermost has no padding. A slice of 64 x 64 has a latent
    of 1 x 1, a slice of 192 x 192 a latent map of 5 x 5.

    Args:
        size: side of a slice in pixels, N: a multiple of 16, 64 or more.
        in_channels: image channels, C.
        features: feature maps of the four outer convolutions.
        latent_channels: latent channels, L.

    Raises:
        ValueError: if the architecture does not support the size, or if `features` are not four numbers.
    """

    def __init__(
        self,
        size: int = 64,
        in_channels: int = 1,
        features: Sequence[int] = (16, 32, 64, 256),
        latent_channels: int = 256,
    ) -> None:
        super().__init__()
        if size < 64 or size % 16:
            raise ValueError(f"size is {size}, but must be a multiple of 16 and at least 64")
        if len(features) != 4:
            raise ValueError(f"features must be four numbers of feature maps, got {list(features)}")
        self.size = size
        self.in_channels = in_channels
        self.latent_channels = latent_channels
        widths = [in_channels, *features]

        encoder: list[nn.Module] = []
        for fewer, more in pairwise(widths):
            encoder += [nn.Conv2d(fewer, more, 4, stride=2, padding=1), nn.LeakyReLU()]
        encoder += [nn.Conv2d(widths[-1], 2 * latent_channels, 4, stride=2)]
        self.encoder = nn.Sequential(*encoder)

        # The innermost convolution drops the last row if its input's side is odd: output_padding restores it.
        odd = (size // 16) % 2
        decoder: list[nn.Module] = [
            nn.ConvTranspose2d(latent_channels, widths[-1], 4, stride=2, output_padding=odd),
            nn.LeakyReLU(),
        ]
        for more, fewer in pairwise(reversed(widths)):
            decoder += [nn.ConvTranspose2d(more, fewer, 4, stride=2, padding=1), nn.LeakyReLU()]
        self.decoder = nn.Sequential(*decoder[:-1])

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return f(x): mu and logvar, each (B, L, h, w), of slices (B, C, N, N)."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return g(z): slices (B, C, N, N) of codes (B, L, h, w)."""
        return self.decoder(z)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction g(mu(x)) of slices (B, C, N, N): nothing is sampled."""
        mu, _ = self.encode(x)
        return self.decode(mu)
