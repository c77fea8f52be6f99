"""Equation (2) against finite differences and by hand, and scores that belong to their slice alone."""

import pytest
import torch

from networks import CEVAE, ScoreOptions, kl_divergence, reconstruction_error, score_slices


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
    scores = score_slices(network, x, ScoreOptions())
    x = x.requires_grad_()
    kl_divergence(*network.encode(x)).sum().backward()
    torch.testing.assert_close(scores.kl, x.grad.abs().mean(1, keepdim=True))
    residual = (x - network(x)).detach().abs().mean(1, keepdim=True)
    torch.testing.assert_close(scores.rec, residual)
    for score in (scores.combined, scores.rec, scores.kl):
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


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_the_residual_is_what_a_share_of_the_reconstruction_leaves(share: float) -> None:
    network, x = make_network(2), make_slices(channels=2)
    scores = score_slices(network, x, ScoreOptions(reconstruction_share=share))
    torch.testing.assert_close(scores.residual, x - share * network(x).detach())
    torch.testing.assert_close(scores.rec, (x - scores.reconstruction).abs().mean(1, keepdim=True))


def test_no_score_is_ever_negative() -> None:
    scores = score_slices(make_network(2), 5 * make_slices(channels=2), ScoreOptions())
    for name in ("combined", "rec", "kl", "slice_kl", "slice_rec"):
        assert getattr(scores, name).min() >= 0, name
