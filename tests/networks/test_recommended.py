"""`recommended` by hand: polarity, the symmetric part, and smoothing within and between slices."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from networks import ScoreOptions, recommend
from networks.recommended import LARGEST_COUPLING, polarised, slice_coupling, symmetric_part
from networks.total_variation import total_variation_filter


def of_options(residual: torch.Tensor, options: ScoreOptions) -> torch.Tensor:
    """Return `recommended` of residuals in slices that are brain everywhere."""
    return recommend(residual, residual, torch.ones_like(residual[:, :1]), options)


def recommended(residual: torch.Tensor, polarity: str, smoothing: float, symmetry: float) -> torch.Tensor:
    return of_options(residual, ScoreOptions(polarity=polarity, smoothing=smoothing, symmetry=symmetry))


def test_smoothing_cancels_a_shifted_edge_and_keeps_a_lesion() -> None:
    maps = torch.zeros(1, 1, 40, 40)
    maps[0, 0, :, 9], maps[0, 0, :, 10] = 5, -5  # a fold that lies a pixel beside its reconstruction
    maps[0, 0, 17:24, 27:34] = 5
    smooth = polarised(total_variation_filter(maps, 2.0), "bright")[0, 0]
    assert smooth[20, :20].max() == pytest.approx(1, abs=0.05)  # 5, less 2 for each side
    assert smooth[20, 30] > 3


def test_polarity_by_hand() -> None:
    residual = torch.tensor([2.0, -3.0, 0.0])
    assert polarised(residual, "bright").tolist() == [2, 0, 0]
    assert polarised(residual, "dark").tolist() == [0, 3, 0]
    assert polarised(residual, "both").tolist() == [2, 3, 0]
    with pytest.raises(ValueError, match="0 or more"):
        ScoreOptions(smoothing=-1)
    with pytest.raises(ValueError, match="bright, dark, both"):
        ScoreOptions(polarity="light", smoothing=3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ScoreOptions(smoothing=3, symmetry=1.5)
    with pytest.raises(ValueError, match="reconstruction_share"):
        ScoreOptions(smoothing=3, symmetry=1, reconstruction_share=-0.5)


def test_the_symmetric_part_by_hand() -> None:
    left_to_right = torch.tensor([3.0, -2.0, 1.0, 5.0, 4.0, -7.0, 2.0]).reshape(1, 1, 7, 1)
    expected = torch.tensor([2.0, -2.0, 1.0, 0.0, 1.0, -2.0, 2.0]).reshape(1, 1, 7, 1)
    assert torch.equal(symmetric_part(left_to_right, 1), expected)


def test_where_the_squares_overlap_the_symmetric_part_is_weighted_by_what_does_not() -> None:
    common = symmetric_part(torch.ones(1, 1, 32, 32), 7)[0, 0, :, 16]
    expected = torch.cat([torch.tensor([1, 3, 5]) / 7, torch.ones(10)])  # 1, 3, 5, 7, ... pixels apart
    torch.testing.assert_close(common[16:29], expected)
    torch.testing.assert_close(common[:16].flip(0), common[16:])


def test_a_lesion_across_the_midline_stays() -> None:
    residual = torch.zeros(1, 1, 64, 64)
    residual[:, :, 28:36, 30:38] = 2
    without, found = (recommended(residual, "bright", 1.0, symmetry).amax() for symmetry in (0.0, 0.7))
    assert found > 0.5 * without  # a lesion on both sides, the midline spared, keeps 0.3


def test_the_symmetric_part_of_opposite_signs_is_nothing() -> None:
    odd = torch.linspace(-3, 3, 8).reshape(1, 1, 8, 1).expand(1, 1, 8, 8)
    assert not symmetric_part(odd, 1).any()


def test_the_symmetric_part_of_a_larger_residual_of_the_other_sign_by_hand() -> None:
    residual = torch.tensor([1.0, -1.0, 2.0, 0.5, 0.0, -2.5, 1.2, -3.0]).reshape(1, 1, 8, 1)
    # Mirrored:             [-3.0, 1.2, -2.5, 0.0, 0.5, 2.0, -1.0, 1.0]
    expected = torch.tensor([1.0, -0.2, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]).reshape(1, 1, 8, 1)
    torch.testing.assert_close(symmetric_part(residual, 1), expected)
    assert not symmetric_part(residual, 1, other_sign=False).any()


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("lesion", [3.0, -3.0])
@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_a_lesion_does_not_make_its_mirror_image_a_finding(polarity: str, lesion: float, side: int) -> None:
    random = torch.Generator().manual_seed(0)
    half = torch.nn.functional.avg_pool2d(torch.randn(40, 1, 32, 64, generator=random), 5, 1, 2)
    healthy = torch.cat([half, half.flip(-2)], dim=-2)  # surprises that are alike on both sides
    planted = healthy.clone()
    planted[:, :, 8:20, 24:40] += lesion
    healthy, planted = (maps.flip(-2) if side else maps for maps in (healthy, planted))
    mirror = (slice(None), slice(None), slice(8, 20) if side else slice(44, 56), slice(24, 40))
    before, after = (recommended(maps, polarity, 1.0, 0.7) for maps in (healthy, planted))
    threshold = before.flatten().quantile(0.99)
    marked_before, marked_after = (int((maps[mirror] >= threshold).sum()) for maps in (before, after))
    assert marked_after <= marked_before + 0.001 * after[mirror].numel()


@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_what_lies_on_one_side_only_is_neither_weakened_nor_copied_to_the_other(polarity: str) -> None:
    residual = torch.zeros(2, 1, 64, 64)
    residual[0, :, 10:22, 30:42], residual[1, :, 10:22, 30:42] = 3, -3
    without = recommended(residual, polarity, 1.0, 0.0)
    assert torch.equal(recommended(residual, polarity, 1.0, 1.0), without)
    assert without[:, :, :32].max() > 2
    assert without[:, :, 32:].max() < 0.05  # a total variation filter keeps the mean, and so lifts the rest a little


@pytest.mark.parametrize("symmetry", [0.0, 0.3, 1.0])
def test_what_is_the_same_on_both_sides_loses_the_share_of_symmetry(symmetry: float) -> None:
    residual = torch.zeros(1, 1, 64, 64)
    residual[:, :, 8:24, 20:40] = residual[:, :, 40:56, 20:40] = 2
    found = recommended(residual, "bright", 0.0, symmetry)
    torch.testing.assert_close(found, (1 - symmetry) * residual)
    wide = recommended(residual, "bright", 1.0, symmetry) / recommended(residual, "bright", 1.0, 0.0).max()
    assert wide[0, 0, 16, 30] == pytest.approx(1 - symmetry, abs=0.1)


@pytest.mark.parametrize("width", [1, 7])
def test_the_symmetric_part_of_equal_signs_is_its_own_mirror_image(width: int) -> None:
    common = symmetric_part(torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0)), width, False)
    torch.testing.assert_close(common.flip(-2), common)


@pytest.mark.parametrize("weight", [0.0, 1.5])
@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_recommended_is_the_smoothed_residual_of_the_polarity_averaged_over_channels(
    polarity: str, weight: float
) -> None:
    residual = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = total_variation_filter(residual, weight)
    expected = {"bright": smooth.clamp(min=0), "dark": (-smooth).clamp(min=0), "both": smooth.abs()}[polarity]
    found = of_options(residual, ScoreOptions(polarity=polarity, smoothing=weight))
    torch.testing.assert_close(found, expected.mean(1, keepdim=True))


@given(distance=st.floats(0.5, 8), scale=st.floats(0.1, 10))
def test_the_coupling_is_the_pixel_size_over_the_slice_distance(distance: float, scale: float) -> None:
    ramp = torch.arange(16.0)
    x = scale * (ramp[:, None] + ramp + distance * torch.arange(9.0)[:, None, None])[:, None]  # the same in every mm
    found = slice_coupling(x, torch.ones_like(x))
    assert found == pytest.approx(1 / distance, rel=1e-3)


def test_what_lies_outside_the_brain_has_no_part_in_the_coupling() -> None:
    x = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    brain = torch.zeros_like(x)
    brain[:, :, 8:24, 8:24] = 1
    louder = torch.where(brain > 0, x, 100 * x)
    assert slice_coupling(x, brain) == slice_coupling(louder, brain) == pytest.approx(1, abs=0.1)


def test_a_single_slice_has_no_coupling_and_equal_slices_the_largest() -> None:
    x = torch.randn(1, 1, 16, 16)
    assert slice_coupling(x, torch.ones_like(x)) == 0
    assert slice_coupling(x.expand(4, -1, -1, -1), torch.ones(4, 1, 16, 16)) == LARGEST_COUPLING


def test_a_speck_in_one_slice_goes_and_a_lesion_through_several_stays() -> None:
    residual = torch.zeros(12, 1, 32, 32)
    residual[3, :, 4:10, 4:10] = 2
    residual[4:10, :, 20:26, 20:26] = 2
    x = torch.randn(
        12, 1, 32, 32, generator=torch.Generator().manual_seed(0)
    )  # neighbours of each kind are equally alike
    brain = torch.ones_like(x)
    alone, together = (
        recommend(residual, x, brain, ScoreOptions(polarity="bright", smoothing=1.0, between_slices=between))
        for between in (False, True)
    )
    assert alone[3, 0, 4:10, 4:10].mean() > 0.6
    assert together[3, 0, 4:10, 4:10].mean() < 0.2
    assert together[5:9, 0, 21:25, 21:25].min() > 0.8


def test_slices_without_brain_are_zero_and_do_not_smooth_the_others() -> None:
    residual = torch.ones(8, 1, 16, 16)
    brain = torch.zeros(8, 1, 16, 16)
    brain[2:6] = 1
    found = recommend(residual, residual, brain, ScoreOptions(smoothing=1.0, between_slices=True))
    assert torch.equal(found[[0, 1, 6, 7]], torch.zeros(4, 1, 16, 16))
    torch.testing.assert_close(found[2:6], torch.ones(4, 1, 16, 16))
    assert not recommend(residual, residual, torch.zeros_like(brain), ScoreOptions()).any()


@given(seed=st.integers(0, 100), scale=st.floats(0.1, 10), symmetry=st.floats(0, 1))
def test_recommended_grows_with_the_residual(seed: int, scale: float, symmetry: float) -> None:
    residual = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    options = ScoreOptions(symmetry=symmetry, between_slices=True)
    torch.testing.assert_close(of_options(scale * residual, options), scale * of_options(residual, options))
    assert math.isfinite(float(of_options(residual, options).sum()))
