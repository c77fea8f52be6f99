"""CE noise that looks like disease: how much of the brain it covers, its grey level, its edge, its texture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from transforms import RandLesionNoise


def disc(number: int, radius: float, side: int = 64) -> torch.Tensor:
    axis = torch.arange(side) - (side - 1) / 2
    return (torch.hypot(axis[:, None], axis) < radius).float().expand(number, 1, -1, -1)


@given(share=st.floats(0.02, 0.5), radius=st.floats(12, 30), seed=st.integers(0, 100))
def test_the_regions_cover_the_wanted_share_of_the_brain(share: float, radius: float, seed: int) -> None:
    brain = disc(8, radius)
    noise = RandLesionNoise((share, share), fill=(5, 5), opacity=(1, 1), texture=0, softness=1e-4)
    noisy = noise.set_random_state(seed)(torch.zeros(8, 1, 64, 64), brain)
    covered = (noisy > 2.5).sum((1, 2, 3)) / brain.sum((1, 2, 3))
    torch.testing.assert_close(covered, torch.full((8,), share), rtol=0, atol=1.5 / float(brain[0].sum()))


def test_outside_the_brain_nothing_is_changed_and_an_empty_mask_changes_nothing() -> None:
    x, brain = torch.randn(6, 2, 64, 64, generator=torch.Generator().manual_seed(0)), disc(6, 20)
    noisy = RandLesionNoise().set_random_state(0)(x, brain)
    outside = (brain == 0).expand_as(x)
    assert torch.equal(noisy[outside], x[outside])
    assert not torch.equal(noisy, x)
    assert torch.equal(RandLesionNoise().set_random_state(0)(x, torch.zeros_like(brain)), x)


@pytest.mark.parametrize("opacity", [0.25, 1.0])
def test_the_middle_of_a_region_has_the_grey_level_as_far_as_it_is_opaque(opacity: float) -> None:
    x = torch.full((4, 1, 64, 64), 2.0)
    noise = RandLesionNoise((0.2, 0.2), (4, 4), (-1, -1), (opacity, opacity), texture=0, softness=1e-4)
    noisy = noise.set_random_state(0)(x)
    torch.testing.assert_close(noisy.amin((1, 2, 3)), torch.full((4,), 2 - 3 * opacity), rtol=1e-3, atol=1e-3)


def test_a_soft_edge_lies_between_the_grey_levels() -> None:
    x = torch.zeros(4, 1, 64, 64)
    hard, soft = (
        RandLesionNoise((0.2, 0.2), (4, 4), (1, 1), (1, 1), 0, softness).set_random_state(0)(x)
        for softness in (1e-4, 0.2)
    )
    assert ((hard > 0.05) & (hard < 0.95)).float().mean() < 0.005
    assert ((soft > 0.05) & (soft < 0.95)).float().mean() > 0.1


def test_coarse_grids_give_few_large_regions_and_fine_grids_many_small_ones() -> None:
    def regions(resolution: int) -> float:
        noise = RandLesionNoise((0.15, 0.15), (resolution, resolution), (5, 5), (1, 1), 0, 1e-4)
        noisy = noise.set_random_state(0)(torch.zeros(16, 1, 64, 64))
        return float(np.mean([ndimage.label(slice_[0].numpy() > 2.5)[1] for slice_ in noisy]))

    assert 1 <= regions(4) < 4
    assert regions(16) > 2 * regions(4)


def test_texture_comes_from_another_slice_of_the_batch() -> None:
    x = torch.arange(5.0)[:, None, None, None] * torch.ones(5, 1, 32, 32)
    noise = RandLesionNoise((0.3, 0.3), (4, 4), (9, 9), (1, 1), texture=1.0, softness=1e-4).set_random_state(0)
    noisy = noise(x)
    for i, slice_ in enumerate(noisy):
        filled = slice_[(slice_ - i).abs() > 0.99]
        assert len(filled) > 0.2 * slice_.numel()
        assert round(float(filled.median()), 3) in set(range(5)) - {i}  # a few pixels lie on the edge


def test_a_slice_alone_gets_a_grey_level_instead_of_texture() -> None:
    x = torch.zeros(1, 1, 32, 32)
    assert RandLesionNoise(texture=1.0, fill=(2, 3)).set_random_state(0)(x).max() > 0.1
