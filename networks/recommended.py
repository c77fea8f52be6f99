"""`recommended`: what stands out in the residuals of a volume."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from networks.total_variation import total_variation_filter

POLARITIES = ("bright", "dark", "both")

LARGEST_COUPLING = 3.0
"""Limit of `slice_coupling`: slices that hardly differ would take the filter too many steps."""


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
        reconstruction_share: share of the reconstruction that is subtracted, 0 to 1: g reproduces part of a lesion, and
            subtracting all of g would remove that part.
        between_slices: whether the filter smooths from slice to slice too.

    Raises:
        ValueError: for an unknown polarity, a negative smoothing, or a share outside 0 to 1.
    """

    reconstruction: str = "l2"
    polarity: str = "both"
    smoothing: float = 0.0
    symmetry: float = 0.0
    symmetry_other_sign: bool = True
    reconstruction_share: float = 1.0
    between_slices: bool = False

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


def slice_coupling(x: torch.Tensor, brain: torch.Tensor) -> float:
    """Return how much closer to each other neighbouring slices are than neighbouring pixels, 0 for a single slice.

    It is the mean difference of neighbouring pixels over that of neighbouring slices, inside the brain: about pixel
    size over slice distance, measured in the anatomy itself. A header that states a wrong distance does no harm.

    Args:
        x: neighbouring slices (S, C, H, W).
        brain: their brain masks (S, 1, H, W), 0 to 1.
    """
    if len(x) < 2:
        return 0.0
    inside = (brain > 0.5).to(x)

    def difference(axis: int) -> torch.Tensor:
        both = inside.narrow(axis, 0, x.shape[axis] - 1) * inside.narrow(axis, 1, x.shape[axis] - 1)
        return (torch.diff(x, dim=axis).abs() * both).sum() / both.sum().clamp(min=1)

    in_plane, between = (difference(-2) + difference(-1)) / 2, difference(0)
    return float((in_plane / between.clamp(min=1e-12)).clamp(max=LARGEST_COUPLING))


def recommend(residual: torch.Tensor, x: torch.Tensor, brain: torch.Tensor, options: ScoreOptions) -> torch.Tensor:
    """Return `recommended` (S, 1, H, W) of the neighbouring slices of a volume; it is 0 in slices without brain.

    1. The residuals less `symmetry` times their symmetric part: healthy surprises are mostly symmetric.
    2. A total variation filter of weight `smoothing`: where a fold lies a little beside its reconstruction,
       bright and dark cancel; where a lesion is, they do not, and its edge stays.
    3. What has the given polarity, averaged over channels.

    Args:
        residual: signed residuals (S, C, H, W).
        x: the slices themselves (S, C, H, W).
        brain: their brain masks (S, 1, H, W), 0 to 1.
        options: polarity, smoothing and symmetry.
    """
    recommended = residual.new_zeros(len(residual), 1, *residual.shape[2:])
    with_brain = torch.nonzero(brain.flatten(1).amax(1) > 0)[:, 0]
    if len(with_brain) == 0:
        return recommended
    volume = slice(int(with_brain[0]), int(with_brain[-1]) + 1)
    residual = residual[volume]
    if options.symmetry > 0:
        width = 2 * round(2 * options.smoothing) + 1  # about as far as the filter itself reaches
        residual = residual - options.symmetry * symmetric_part(residual, width, options.symmetry_other_sign)
    coupling = slice_coupling(x[volume], brain[volume]) if options.between_slices else 0.0
    smooth = total_variation_filter(residual, options.smoothing, coupling)
    recommended[volume] = polarised(smooth, options.polarity).mean(1, keepdim=True)
    return recommended
