"""Equation (2) against finite differences and by hand, and scores that belong to their slice alone."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from networks import CEVAE, kl_divergence, reconstruction_error, score_slices
from networks.scores import check_score_options, median_filter, polarised_residual


def make_network(channels: int = 1, size: int = 64) -> CEVAE:
    torch.manual_seed(0)
    network = CEVAE(size=size, in_channels=channels, features=(4, 6, 8, 10), latent_channels=5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # fresh weights give a KL of nearly nothing
    return network


def make_slices(number: int = 3, channels: int = 1, size: int = 64) -> torch.Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [64, 112])
def test_the_kl_map_is_the_derivative_by_central_differences(size: int) -> None:
    network, x = make_network(2, size).double(), make_slices(2, 2, size).double()
    found = score_slices(network, x).kl
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
    scores = score_slices(make_network(2), make_slices(channels=2))
    torch.testing.assert_close(scores.combined, scores.rec * scores.kl)


def test_with_several_channels_rec_and_kl_are_means_over_channels() -> None:
    network, x = make_network(3), make_slices(channels=3)
    scores = score_slices(network, x, polarity="both", median=1)
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
    scores = score_slices(network, x)
    torch.testing.assert_close(scores.reconstruction, network(x).detach())
    assert torch.equal(score_slices(network, x).reconstruction, scores.reconstruction)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_parts_of_the_elbo_are_kl_and_the_reconstruction_error_of_the_slice(kind: str) -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x, reconstruction=kind)
    torch.testing.assert_close(scores.slice_kl, kl_divergence(*network.encode(x)).detach())
    torch.testing.assert_close(scores.slice_rec, reconstruction_error(x, network(x), kind).detach())
    assert scores.slice_kl.shape == scores.slice_rec.shape == (3,)


def test_scores_of_a_slice_do_not_depend_on_what_else_is_in_the_batch() -> None:
    network, x = make_network(), make_slices(4)
    x[2] *= 100  # a neighbour that would change any minimum and maximum of the batch
    whole = score_slices(network, x)
    for i in range(len(x)):
        alone = score_slices(network, x[i : i + 1])
        for together, single in zip(whole, alone, strict=True):
            torch.testing.assert_close(together[i], single[0], rtol=1e-5, atol=1e-5)


def test_scores_work_under_no_grad() -> None:
    network, x = make_network(), make_slices()
    expected = score_slices(network, x)
    with torch.no_grad():
        scores = score_slices(network, x)
    assert scores.kl.any()
    for found, wanted in zip(scores, expected, strict=True):
        assert torch.equal(found, wanted)


def test_scoring_leaves_no_gradient_behind() -> None:
    network, x = make_network(), make_slices()
    scores = score_slices(network, x)
    assert not any(score.requires_grad for score in scores)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("size", [3, 5])
def test_the_median_filter_is_that_of_scipy_with_zeros_beyond_the_edge(size: int) -> None:
    maps = torch.randn(2, 3, 11, 14)
    expected = ndimage.median_filter(maps.numpy(), size=(1, 1, size, size), mode="constant", cval=0.0)
    np.testing.assert_array_equal(median_filter(maps, size).numpy(), expected)


def test_a_median_filter_of_one_pixel_changes_nothing() -> None:
    maps = torch.randn(1, 1, 5, 5)
    assert torch.equal(median_filter(maps, 1), maps)


def test_the_median_takes_away_a_lonely_pixel_and_keeps_a_block() -> None:
    maps = torch.zeros(1, 1, 12, 12)
    maps[0, 0, 2, 2] = 9
    maps[0, 0, 6:10, 6:10] = 5
    filtered = median_filter(maps, 3)[0, 0]
    assert filtered[2, 2] == 0
    assert (filtered[7:9, 7:9] == 5).all()


def test_polarity_by_hand() -> None:
    x, g = torch.tensor([[[[3.0, 1.0, 2.0]]]]), torch.tensor([[[[1.0, 4.0, 2.0]]]])
    assert polarised_residual(x, g, "bright").flatten().tolist() == [2, 0, 0]
    assert polarised_residual(x, g, "dark").flatten().tolist() == [0, 3, 0]
    assert polarised_residual(x, g, "both").flatten().tolist() == [2, 3, 0]
    with pytest.raises(ValueError, match="odd number"):
        check_score_options("both", 4)
    with pytest.raises(ValueError, match="bright, dark, both"):
        check_score_options("light", 3)


@pytest.mark.parametrize("median", [1, 3])
@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_recommended_is_the_filtered_residual_of_the_polarity(polarity: str, median: int) -> None:
    network, x = make_network(2), make_slices(channels=2)
    difference = (x - network(x)).detach()
    signed = {"bright": difference, "dark": -difference, "both": difference.abs()}[polarity]
    expected = ndimage.median_filter(
        signed.clamp(min=0).mean(1, keepdim=True).numpy(), (1, 1, median, median), mode="constant"
    )
    scores = score_slices(network, x, polarity=polarity, median=median)
    np.testing.assert_allclose(scores.recommended.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("polarity", ["bright", "dark", "both"])
def test_no_score_is_ever_negative(polarity: str) -> None:
    scores = score_slices(make_network(2), 5 * make_slices(channels=2), polarity=polarity)
    for name in ("combined", "rec", "kl", "recommended", "slice_kl", "slice_rec"):
        assert getattr(scores, name).min() >= 0, name


def test_the_polarity_changes_recommended_alone() -> None:
    network, x = make_network(), make_slices()
    bright, dark = (score_slices(network, x, polarity=polarity) for polarity in ("bright", "dark"))
    assert not torch.equal(bright.recommended, dark.recommended)
    for name in ("combined", "rec", "kl", "slice_rec"):
        assert torch.equal(getattr(bright, name), getattr(dark, name))
