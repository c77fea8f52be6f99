"""Smoothing that keeps edges: total variation (Rudin, Osher, Fatemi, Physica D 1992)."""

import math
from functools import reduce

import torch

ITERATIONS = 50
"""Iterations per pixel of `weight`: wider smoothing needs more. On residuals the energy is within 3 % of the least."""


def total_variation_filter(maps: torch.Tensor, weight: float, coupling: float = 0.0) -> torch.Tensor:
    """Return the minimiser u of maps f (S, C, H, W), for each channel of neighbouring slices:

        1/2 |u - f|^2  +  weight * TV(u),     TV(u) = sum over pixels of |(d_row u, d_column u, coupling * d_slice u)|

    With a coupling of 0 each slice is smoothed by itself. A disc of radius r pixels keeps its edge and loses
    2 weight / r of its height: small and faint spots go, large or bright ones stay. A coupling of 1 is the total
    variation of a volume with cubic voxels; there a ball loses 3 weight / r.

    Fast gradient projection (Beck and Teboulle, IEEE Trans. Image Process. 2009) solves the dual problem for all maps
    at once on their own device. scikit-image's `denoise_tv_chambolle` tends to the same u, one map at a time and seven
    times as slowly, and knows no coupling.
    """
    if weight == 0:
        return maps
    maps = maps.contiguous()  # strided views of a volume take four times as long
    scales = (1.0, 1.0, coupling) if coupling > 0 and len(maps) > 1 else (1.0, 1.0)
    norm = 4 * sum(scale**2 for scale in scales)  # of the gradient operator, squared: the step is its inverse
    field = maps.new_zeros(len(scales), *maps.shape)  # the dual: |field| <= weight, 0 along the last of each axis
    last, t = field.clone(), 1.0
    for _ in range(math.ceil(ITERATIONS * weight * math.sqrt(norm / 8))):
        u = _primal(maps, field, scales)
        for along, axis, scale in zip(field, AXES, scales, strict=False):
            along.narrow(axis, 0, u.shape[axis] - 1).add_(torch.diff(u, dim=axis), alpha=scale / norm)
        field /= (reduce(torch.hypot, field) / weight).clamp_(min=1)
        t, last_t = (1 + math.sqrt(1 + 4 * t**2)) / 2, t
        field, last = last.lerp_(field, 1 + (last_t - 1) / t), field
    return _primal(maps, last, scales)


AXES = (-2, -1, 0)
"""Rows, columns and slices of maps (S, C, H, W)."""


def _primal(maps: torch.Tensor, field: torch.Tensor, scales: tuple[float, ...]) -> torch.Tensor:
    """Return u = f + div(field), with backward differences: the adjoint of the gradient's forward differences."""
    u = maps.clone()
    for along, axis, scale in zip(field, AXES, scales, strict=False):
        u.add_(along, alpha=scale)
        inner = u.shape[axis] - 1
        u.narrow(axis, 1, inner).sub_(along.narrow(axis, 0, inner), alpha=scale)
    return u
