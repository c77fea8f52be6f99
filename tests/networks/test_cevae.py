"""The network has the paper's architecture, and gives a slice back in its own shape."""

import pytest
import torch
from torch import nn

from networks import CEVAE

FEATURES = (4, 6, 8, 10)


def small_network(size: int = 64, channels: int = 1) -> CEVAE:
    torch.manual_seed(0)
    return CEVAE(size=size, in_channels=channels, features=FEATURES, latent_channels=5)


@pytest.mark.parametrize("size", [64, 80, 96, 112, 192])
def test_a_slice_is_reconstructed_to_its_own_shape(size: int) -> None:
    assert small_network(size, channels=2)(torch.randn(3, 2, size, size)).shape == (3, 2, size, size)


@pytest.mark.parametrize(("size", "side"), [(64, 1), (80, 1), (96, 2), (112, 2), (192, 5)])
def test_the_latent_has_the_side_of_the_architecture(size: int, side: int) -> None:
    mu, logvar = small_network(size).encode(torch.randn(2, 1, size, size))
    assert mu.shape == logvar.shape == (2, 5, side, side)


def test_there_are_five_convolutions_each_way_of_kernel_4_and_stride_2() -> None:
    network = small_network()
    for kind, part in ((nn.Conv2d, network.encoder), (nn.ConvTranspose2d, network.decoder)):
        layers = [layer for layer in part if isinstance(layer, kind)]
        assert len(layers) == 5
        assert all(layer.kernel_size == (4, 4) and layer.stride == (2, 2) for layer in layers)
        assert sorted(layer.padding for layer in layers) == [(0, 0)] + [(1, 1)] * 4
    assert sum(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in network.modules()) == 10


def test_the_innermost_layers_have_no_padding() -> None:
    network = small_network()
    assert network.encoder[-1].padding == (0, 0)
    assert network.decoder[0].padding == (0, 0)


def test_a_leaky_relu_follows_each_layer_but_the_last() -> None:
    network = small_network()
    for part in (network.encoder, network.decoder):
        kinds = [isinstance(layer, nn.LeakyReLU) for layer in part]
        assert kinds == [False, True] * 4 + [False]


def test_the_feature_maps_are_those_asked_for_and_mirrored_in_the_decoder() -> None:
    network = small_network(channels=3)
    down = [(layer.in_channels, layer.out_channels) for layer in network.encoder if isinstance(layer, nn.Conv2d)]
    up = [(layer.in_channels, layer.out_channels) for layer in network.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert down == [(3, 4), (4, 6), (6, 8), (8, 10), (10, 2 * 5)]  # mu and logvar
    assert up == [(5, 10), (10, 8), (8, 6), (6, 4), (4, 3)]


def test_forward_decodes_the_mean_and_samples_nothing() -> None:
    network, x = small_network(), torch.randn(2, 1, 64, 64)
    mu, _ = network.encode(x)
    torch.manual_seed(1)
    first = network(x)
    torch.manual_seed(2)
    assert torch.equal(network(x), first)
    torch.testing.assert_close(first, network.decode(mu))


def test_the_output_is_not_bounded() -> None:
    """Normalised slices are negative as well as positive, so that no sigmoid may stand at the end."""
    network = small_network()
    with torch.no_grad():
        assert network.decode(1000 * torch.randn(4, 5, 1, 1)).abs().max() > 1
        output = network.decode(1000 * torch.randn(4, 5, 1, 1))
    assert output.min() < 0 < output.max()


@pytest.mark.parametrize("size", [63, 48, 72, 100, 0, -64])
def test_a_size_that_the_architecture_does_not_have_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        CEVAE(size=size)


@pytest.mark.parametrize("features", [(), (16, 32, 64), (16, 32, 64, 128, 256)])
def test_another_number_of_feature_maps_than_four_is_refused(features: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="four"):
        CEVAE(features=features)
