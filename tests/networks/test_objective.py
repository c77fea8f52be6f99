"""Equation (1), term by term, and its two ends: the VAE (lambda = 0) and the context encoder (lambda = 1)."""

import pytest
import torch
from torch.distributions import Laplace, Normal
from torch.distributions import kl_divergence as distributions_kl

from networks import CEVAE, CEVAEObjective, Terms, kl_divergence, reconstruction_error

LATENTS = 5


@pytest.fixture(scope="module")
def network() -> CEVAE:
    torch.manual_seed(0)
    network = CEVAE(size=64, in_channels=2, features=(4, 6, 8, 10), latent_channels=LATENTS)
    with torch.no_grad():  # fresh weights give codes, variances and reconstructions of nearly nothing
        for parameter in network.parameters():
            parameter.mul_(2)
        network.encoder[8].bias[LATENTS:] = torch.linspace(-3, 2, LATENTS)  # sigma from 0.2 to 2.7
    return network


@pytest.fixture
def slices() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 2, 64, 64, generator=generator)
    return x, x + torch.randn(x.shape, generator=generator)


def terms(network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], ce_weight: float, seed: int = 0) -> Terms:
    torch.manual_seed(seed)
    return CEVAEObjective(network, ce_weight)(*slices)


def gradients(network: CEVAE, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_kl_is_that_of_torch_distributions() -> None:
    mu, logvar = torch.randn(6, 3, 2, 2, dtype=torch.float64), 2 * torch.randn(6, 3, 2, 2, dtype=torch.float64)
    expected = distributions_kl(Normal(mu, torch.exp(logvar / 2)), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_kl_of_the_prior_is_zero_and_of_a_shift_half_its_square() -> None:
    zero = torch.zeros(1, 3, 1, 1)
    assert kl_divergence(zero, zero).item() == 0
    assert kl_divergence(zero + 2, zero).item() == pytest.approx(3 * 2**2 / 2)


def test_reconstruction_errors_are_sums_over_channels_and_pixels_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])
    g = torch.tensor([[[[0.0, 4.0]], [[3.0, 1.0]]], [[[0.0, 0.0]], [[0.0, 0.5]]]])
    assert reconstruction_error(x, g, "l1").tolist() == [1 + 2 + 0 + 3, 0.5]
    assert reconstruction_error(x, g, "l2").tolist() == [(1 + 4 + 0 + 9) / 2, 0.125]


def test_l2_is_the_negative_log_likelihood_of_a_gaussian_without_its_constant() -> None:
    x, g = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
    likelihood = Normal(g, 1.0)
    expected = (likelihood.log_prob(g) - likelihood.log_prob(x)).sum((1, 2, 3))
    torch.testing.assert_close(reconstruction_error(x, g, "l2"), expected)


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("ce_weight", [0.25, 0.5, 0.9])
def test_the_loss_is_equation_1_by_hand(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], ce_weight: float, kind: str
) -> None:
    x, x_noisy = slices
    with torch.no_grad():
        torch.manual_seed(11)
        result = CEVAEObjective(network, ce_weight, kind)(x, x_noisy)

        torch.manual_seed(11)
        mu, logvar = network.encode(x)
        z = mu + torch.randn(mu.shape) * logvar.exp().sqrt()
        kl = ((mu**2 + logvar.exp() - 1 - logvar) / 2).sum((1, 2, 3))
        differences = (x - network.decode(z), x - network.decode(network.encode(x_noisy)[0]))
    rec_vae, rec_ce = (d.abs().sum((1, 2, 3)) if kind == "l1" else (d**2).sum((1, 2, 3)) / 2 for d in differences)

    torch.testing.assert_close(result.kl, kl)
    torch.testing.assert_close(result.rec_vae, rec_vae)
    torch.testing.assert_close(result.rec_ce, rec_ce)
    torch.testing.assert_close(result.loss, (1 - ce_weight) * (kl + rec_vae) + ce_weight * rec_ce)
    assert result.loss.shape == (len(x),)


@pytest.mark.parametrize("ce_weight", [0.0, 0.5, 1.0])
def test_the_loss_is_the_weighted_sum_of_its_terms(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], ce_weight: float
) -> None:
    loss, kl, rec_vae, rec_ce = terms(network, slices, ce_weight)
    torch.testing.assert_close(loss, (1 - ce_weight) * (kl + rec_vae) + ce_weight * rec_ce)


@pytest.mark.parametrize("kl_weight", [0.0, 0.3, 30.0])
@pytest.mark.parametrize("ce_weight", [0.0, 0.5, 1.0])
def test_the_weight_of_the_kl_changes_the_loss_and_not_the_terms(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], ce_weight: float, kl_weight: float
) -> None:
    torch.manual_seed(0)
    weighted = CEVAEObjective(network, ce_weight, kl_weight=kl_weight)(*slices)
    plain = terms(network, slices, ce_weight)
    for name in ("kl", "rec_vae", "rec_ce"):
        assert torch.equal(getattr(weighted, name), getattr(plain, name)), name
    expected = (1 - ce_weight) * (kl_weight * plain.kl + plain.rec_vae) + ce_weight * plain.rec_ce
    torch.testing.assert_close(weighted.loss, expected)


@pytest.mark.parametrize("beta", [0.5, 30.0])
@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_the_weight_of_the_kl_is_the_variance_of_the_decoders_gaussian_or_the_scale_of_its_laplace(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], beta: float, kind: str
) -> None:
    x, x_noisy = slices
    torch.manual_seed(0)
    weighted = CEVAEObjective(network, 0.0, kind, kl_weight=beta)(x, x_noisy)
    torch.manual_seed(0)
    mu, logvar = network.encode(x)
    g = network.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))
    pixel = Normal(g, beta**0.5) if kind == "l2" else Laplace(g, beta)
    constant = pixel.log_prob(g)  # the value at the peak, which depends on no weight
    elbo = kl_divergence(mu, logvar) + (constant - pixel.log_prob(x)).sum((1, 2, 3))
    torch.testing.assert_close(weighted.loss, beta * elbo, rtol=1e-4, atol=0.1)


def test_at_lambda_0_the_noisy_slice_has_no_influence(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x, x_noisy = slices
    vae = terms(network, (x, x_noisy), 0.0)
    other = terms(network, (x, torch.full_like(x, torch.nan)), 0.0)
    assert torch.equal(vae.loss, other.loss)
    assert torch.equal(vae.loss, vae.kl + vae.rec_vae)
    assert not vae.rec_ce.any()
    theirs = gradients(network, other.loss.sum())
    for name, gradient in gradients(network, vae.loss.sum()).items():
        assert torch.equal(gradient, theirs[name]), name


def test_at_lambda_0_the_noisy_slice_gets_no_gradient(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x_noisy = slices[1].clone().requires_grad_()
    terms(network, (slices[0], x_noisy), 0.0).loss.sum().backward(inputs=[x_noisy])
    assert x_noisy.grad is None or not x_noisy.grad.any()


def test_at_lambda_1_kl_is_absent_and_the_variance_head_gets_no_gradient(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ce = terms(network, slices, 1.0)
    assert torch.equal(ce.loss, ce.rec_ce)
    assert not ce.kl.any()
    assert not ce.rec_vae.any()
    found = gradients(network, ce.loss.sum())
    for name in ("encoder.8.weight", "encoder.8.bias"):  # the first half gives mu, the second logvar
        assert found[name][:LATENTS].any()
        assert not found[name][LATENTS:].any()


@pytest.mark.parametrize("ce_weight", [0.0, 0.5])
def test_below_lambda_1_the_variance_head_is_trained(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor], ce_weight: float
) -> None:
    found = gradients(network, terms(network, slices, ce_weight).loss.sum())
    assert found["encoder.8.weight"][LATENTS:].any()


def test_the_vae_branch_samples(network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert not torch.equal(terms(network, slices, 0.5, seed=1).rec_vae, terms(network, slices, 0.5, seed=2).rec_vae)


def test_the_ce_branch_never_samples(network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert torch.equal(terms(network, slices, 1.0, seed=1).loss, terms(network, slices, 1.0, seed=2).loss)
    both = terms(network, slices, 0.5, seed=1)
    assert torch.equal(both.rec_ce, terms(network, slices, 0.5, seed=2).rec_ce)
    torch.testing.assert_close(both.rec_ce, terms(network, slices, 1.0).rec_ce)


def test_at_lambda_1_the_random_numbers_are_left_alone(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    CEVAEObjective(network, 1.0)(*slices)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_target_of_the_ce_branch_is_the_clean_slice(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x, x_noisy = slices
    of_clean = reconstruction_error(x, network(x_noisy))
    of_noisy = reconstruction_error(x_noisy, network(x_noisy))
    assert (of_clean - of_noisy).abs().min() > 1
    torch.testing.assert_close(terms(network, slices, 1.0).rec_ce, of_clean)


def test_without_noise_and_variance_both_branches_have_the_same_error(
    slices: tuple[torch.Tensor, torch.Tensor],
) -> None:
    torch.manual_seed(0)
    network = CEVAE(size=64, in_channels=2, features=(4, 6, 8, 10), latent_channels=LATENTS)
    with torch.no_grad():
        network.encoder[8].weight[LATENTS:] = 0
        network.encoder[8].bias[LATENTS:] = -60  # sigma = exp(-30)
    result = terms(network, (slices[0], slices[0]), 0.5)
    torch.testing.assert_close(result.rec_vae, result.rec_ce)


def test_the_terms_of_a_slice_do_not_depend_on_the_rest_of_the_batch(
    network: CEVAE, slices: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x, x_noisy = slices
    whole = terms(network, slices, 0.5)
    alone = terms(network, (x[:1], x_noisy[:1]), 0.5)  # the first numbers drawn are those of the first slice
    torch.testing.assert_close(alone.kl[0], whole.kl[0])
    torch.testing.assert_close(alone.rec_ce[0], whole.rec_ce[0])


@pytest.mark.parametrize("ce_weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(network: CEVAE, ce_weight: float) -> None:
    with pytest.raises(ValueError, match="lambda"):
        CEVAEObjective(network, ce_weight)


def test_a_negative_weight_of_the_kl_is_refused(network: CEVAE) -> None:
    with pytest.raises(ValueError, match="kl_weight is -1, but must be 0 or more"):
        CEVAEObjective(network, 0.5, kl_weight=-1)


def test_an_unknown_reconstruction_is_refused(network: CEVAE) -> None:
    with pytest.raises(ValueError, match="l1, l2"):
        CEVAEObjective(network, 0.5, "l3")
    with pytest.raises(ValueError, match="l1, l2"):
        reconstruction_error(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), "huber")
