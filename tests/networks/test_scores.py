"""Equation (2) against finite differences and by hand, and scores that belong to their slice alone."""

import numpy as np
import pytest
import torch

from networks import CEVAE, ScoreOptions, kl_divergence, reconstruction_error, score_slices
from networks.scores import polarised, recommend, symmetric_part
from networks.total_variation import total_variation_filter


def make_network(channels: int = 1, size: int = 64) -> CEVAE:
    torch.manual_seed(0)
    network = CEVAE(size=size, in_channels=channels, features=(4, 6, 8, 10), latent_channels=5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # fresh weights give a KL of nearly nothing
    return network


def make_slices(number: int = 3, channels: int = 1, size: int = 64) -> torch.Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(1))


def recommended(residual: torch.Tensor, polarity: str, smoothing: float, symmetry: float) -> torch.Tensor:
    return recommend(residual, ScoreOptions(polarity=polarity, smoothing=smoothing, symmetry=symmetry))


@pytest.mark.parametrize("size", [64, 112])
def test_the_kl_map_is_the_derivative_by_central_differences(size: int) -> None:
    network, x = make_network(2, size).double(), make_slices(2, 2, size).double()
    found = score_slices(network, x, ScoreOptions()).kl
    step = 1e-5
    with torch.no_grad():
        for slice_, row, column in ((0, 20, 31), (0, 33, 40), (1, 5, 50), (1, 48, 12)):
            derivatives = []
            for channel in range(2):
                change = torch.zeros_like(x)
                change[slice_, channel, row, column] = step
                kl_up, kl_down = (kl_divergence(*network.encode(x + s * change))[slice_] for s in (1, -1))
                derivatives.append(abs(float(kl_up - kl_down)) / (2 * step))
            expected = sum(derivatives) / 2
            assert expected > 1e-4
            assert float(found[slice_, 0, row, column]) == pytest.approx(expected, rel=1e-5)


def test_combined_is_the_product_of_its_two_factors() -> None:
    scores = score_slices(make_network(2), make_slices(channels=2), ScoreOptions())
    torch.testing.assert_close(scores.combined, scores.rec * scores.kl)


def test_with_several_channels_rec_and_kl_are_means_over_channels() -> None:
    network, x = make_network(3), make_slices(channels=3)
    scores = score_slices(network, x, ScoreOptions(polarity="both", smoothing=0))
    x = x.requires_grad_()
    kl_divergence(*network.encode(x)).sum().backward()
    torch.testing.assert_close(scores.kl, x.grad.abs().mean(1, keepdim=True))
    residual = (x - network(x)).detach().abs().mean(1, keepdim=True)
    torch.testing.assert_close(scores.rec, residual)
    torch.testing.assert_close(scores.recommended, residual)
    for score in (scores.combined, scores.rec, scores.kl, scores.recommended):
        assert score.shape == (3, 1, 64, 64)


def test_the_reconstruction_is_decoded_from_the_mean() -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x, ScoreOptions())
    torch.testing.assert_close(scores.reconstruction, network(x).detach())
    assert torch.equal(score_slices(network, x, ScoreOptions()).reconstruction, scores.reconstruction)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_parts_of_the_elbo_are_kl_and_the_reconstruction_error_of_the_slice(kind: str) -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x, ScoreOptions(reconstruction=kind))
    torch.testing.assert_close(scores.slice_kl, kl_divergence(*network.encode(x)).detach())
    torch.testing.assert_close(scores.slice_rec, reconstruction_error(x, network(x), kind).detach())
    assert scores.slice_kl.shape == scores.slice_rec.shape == (3,)


def test_scores_of_a_slice_do_not_depend_on_what_else_is_in_the_batch() -> None:
    network, x = make_network(), make_slices(4)
    x[2] *= 100  # a neighbour that would change any minimum and maximum of the batch
    whole = score_slices(network, x, ScoreOptions())
    for i in range(len(x)):
        alone = score_slices(network, x[i : i + 1], ScoreOptions())
        for together, single in zip(whole, alone, strict=True):
            torch.testing.assert_close(together[i], single[0], rtol=1e-5, atol=1e-5)


def test_scores_work_under_no_grad() -> None:
    network, x = make_network(), make_slices()
    expected = score_slices(network, x, ScoreOptions())
    with torch.no_grad():
        scores = score_slices(network, x, ScoreOptions())
    assert scores.kl.any()
    for found, wanted in zip(scores, expected, strict=True):
        assert torch.equal(found, wanted)


def test_scoring_leaves_no_gradient_behind() -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x, ScoreOptions())
    assert not any(score.requires_grad for score in scores)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not x.requires_grad


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


@pytest.mark.parametrize("weight", [0.0, 1.5])
@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_recommended_is_the_smoothed_residual_of_the_polarity(polarity: str, weight: float) -> None:
    network, x = make_network(2), make_slices(channels=2)
    smooth = total_variation_filter((x - network(x)).detach(), weight).numpy()
    expected = {"bright": smooth.clip(min=0), "dark": (-smooth).clip(min=0), "both": np.abs(smooth)}[polarity]
    scores = score_slices(network, x, ScoreOptions(polarity=polarity, smoothing=weight))
    np.testing.assert_allclose(scores.recommended.numpy(), expected.mean(1, keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_recommended_subtracts_a_share_of_the_reconstruction(share: float) -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x, ScoreOptions(polarity="bright", reconstruction_share=share))
    expected = (x - share * scores.reconstruction).clamp(min=0).mean(1, keepdim=True)
    torch.testing.assert_close(scores.recommended, expected)
    torch.testing.assert_close(scores.rec, (x - scores.reconstruction).abs().mean(1, keepdim=True))


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


@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_no_score_is_ever_negative(polarity: str) -> None:
    scores = score_slices(make_network(2), 5 * make_slices(channels=2), ScoreOptions(polarity=polarity))
    for name in ("combined", "rec", "kl", "recommended", "slice_kl", "slice_rec"):
        assert getattr(scores, name).min() >= 0, name


def test_the_polarity_changes_recommended_alone() -> None:
    network, x = make_network(), make_slices()
    bright, dark = (score_slices(network, x, ScoreOptions(polarity=polarity)) for polarity in ("bright", "dark"))
    assert not torch.equal(bright.recommended, dark.recommended)
    for name in ("combined", "rec", "kl", "slice_rec"):
        assert torch.equal(getattr(bright, name), getattr(dark, name))
