"""The total variation filter against closed forms, its own energy, and scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle

from networks.total_variation import total_variation_filter


def energy(u: np.ndarray, f: np.ndarray, weight: float) -> float:
    down, right = np.diff(u, axis=0, append=u[-1:]), np.diff(u, axis=1, append=u[:, -1:])
    return float(0.5 * ((u - f) ** 2).sum() + weight * np.hypot(down, right).sum())


@pytest.mark.parametrize("weight", [4 / 3, 4.0])
def test_a_step_keeps_its_place_and_loses_the_weight_over_the_width_on_either_side(weight: float) -> None:
    maps = torch.zeros(1, 1, 10, 18)
    maps[..., 8:] = 2.0
    expected = torch.full_like(maps, weight / 8)
    expected[..., 8:] = 2.0 - weight / 10
    torch.testing.assert_close(total_variation_filter(maps, weight), expected, rtol=0, atol=0.02)
    turned = total_variation_filter(maps.mT, weight).mT
    torch.testing.assert_close(turned, expected, rtol=0, atol=0.02)


def test_a_disc_loses_twice_the_weight_over_its_radius() -> None:
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    distance = torch.hypot(rows - 47.5, columns - 47.5)
    smooth = total_variation_filter((distance < 16).float()[None, None], 2.0)[0, 0]
    assert smooth[distance < 12].mean().item() == pytest.approx(1 - 2 * 2.0 / 16, abs=0.02)
    small = total_variation_filter((distance < 3).float()[None, None], 2.0)[0, 0]
    assert small.max() < 0.05  # 2 * 2 / 3 is more than its height


def test_a_ball_in_cubic_voxels_loses_three_times_the_weight_over_its_radius() -> None:
    axis = torch.arange(48.0) - 23.5
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    smooth = total_variation_filter((distance < 14).float()[:, None], 2.0, coupling=1.0)[:, 0]
    assert smooth[distance < 10].mean().item() == pytest.approx(1 - 3 * 2.0 / 14, abs=0.03)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_energy_of_a_volume_is_that_of_scikit_image_after_many_iterations(weight: float) -> None:
    maps = torch.randn(9, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    f = maps[:, 0].double().numpy()

    def energy_of_volume(u: np.ndarray) -> float:
        steps = [np.diff(u, axis=axis, append=np.take(u, [-1], axis)) for axis in range(3)]
        return float(0.5 * ((u - f) ** 2).sum() + weight * np.sqrt(np.square(steps).sum(0)).sum())

    best = energy_of_volume(denoise_tv_chambolle(f, weight, eps=0, max_num_iter=4000))
    found = energy_of_volume(total_variation_filter(maps, weight, coupling=1.0)[:, 0].double().numpy())
    assert best * (1 - 1e-3) < found < best * 1.02


def test_rows_columns_and_slices_are_smoothed_alike_if_the_coupling_is_one() -> None:
    maps = torch.randn(10, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    smooth = total_variation_filter(maps, 1.0, coupling=1.0)
    turned = total_variation_filter(maps.transpose(0, 3).contiguous(), 1.0, coupling=1.0).transpose(0, 3)
    assert energy_gap(smooth, turned) < 0.02


def energy_gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("weight", [0.5, 4 / 3, 4.0])
def test_the_energy_is_that_of_scikit_image_after_many_iterations(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.nn.functional.interpolate(torch.randn(1, 1, 8, 8, generator=generator), 40, mode="bicubic")
    maps = maps + 0.3 * torch.randn(1, 1, 40, 40, generator=generator)
    f = maps[0, 0].double().numpy()
    best = energy(denoise_tv_chambolle(f, weight, eps=0, max_num_iter=4000), f, weight)
    found = energy(total_variation_filter(maps, weight)[0, 0].double().numpy(), f, weight)
    assert best * (1 - 1e-3) < found < best * 1.02


@given(seed=st.integers(0, 1000), weight=st.floats(0.1, 3), offset=st.floats(-5, 5))
def test_the_mean_stays_and_an_offset_passes_through(seed: int, weight: float, offset: float) -> None:
    maps = torch.randn(2, 2, 9, 11, generator=torch.Generator().manual_seed(seed))
    smooth = total_variation_filter(maps, weight)
    torch.testing.assert_close(smooth.mean((2, 3)), maps.mean((2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(total_variation_filter(maps + offset, weight), smooth + offset, rtol=0, atol=1e-3)
    assert (smooth.amax((2, 3)) <= maps.amax((2, 3)) + 1e-5).all()


def test_each_map_is_smoothed_by_itself() -> None:
    maps = torch.randn(3, 2, 16, 16)
    together = total_variation_filter(maps, 1.0)
    for b in range(3):
        for c in range(2):
            alone = total_variation_filter(maps[b : b + 1, c : c + 1], 1.0)
            torch.testing.assert_close(together[b, c], alone[0, 0], rtol=0, atol=1e-6)


def test_no_weight_changes_nothing() -> None:
    maps = torch.randn(1, 1, 5, 5)
    assert torch.equal(total_variation_filter(maps, 0), maps)
