"""Context-encoding noise: what is hidden, where, how much, and that each slice has noise of its own."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from transforms import (
    RandCoarseNoise,
    RandCoarseNoised,
    RandLesionNoise,
    RandLesionNoised,
    RandNoised,
    RandSquareNoise,
    RandSquareNoised,
)

Noise = RandSquareNoise | RandCoarseNoise | RandLesionNoise


def grey_lesions() -> RandLesionNoise:
    """Return lesions of one grey level: the texture of an empty slice would not show."""
    return RandLesionNoise(texture=0.0)


KINDS = [RandSquareNoise, RandCoarseNoise, grey_lesions]
every_kind = pytest.mark.parametrize("kind", KINDS)


def make_batch(number: int = 4, channels: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(0))


# --- what all kinds share


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 64), (5, 2, 64, 64), (1, 1, 96, 80)])
def test_a_slice_or_a_batch_keeps_shape_type_and_device(
    kind: Callable[[], Noise], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = torch.zeros(shape, dtype=dtype)
    noisy = kind().set_random_state(0)(x)
    assert noisy.shape == x.shape
    assert noisy.dtype == dtype
    assert noisy.device == x.device
    assert noisy.any()


@every_kind
@pytest.mark.parametrize("shape", [(64, 64), (1, 1, 1, 64, 64)])
def test_other_shapes_are_refused(kind: Callable[[], Noise], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="batch"):
        kind()(torch.zeros(shape))


@every_kind
def test_a_slice_with_meta_data_gets_the_same_noise(kind: Callable[[], Noise]) -> None:
    x = make_batch()
    mask = (x[:, :1] > 0).float()
    plain = kind().set_random_state(3)(x, mask)
    with_meta = kind().set_random_state(3)(MetaTensor(x), MetaTensor(mask))
    assert torch.equal(torch.as_tensor(with_meta), plain)


@every_kind
def test_the_clean_slice_is_left_alone(kind: Callable[[], Noise]) -> None:
    x = make_batch()
    before = x.clone()
    kind().set_random_state(0)(x)
    assert torch.equal(x, before)


@every_kind
def test_the_same_seed_gives_the_same_noise_and_another_seed_another(kind: Callable[[], Noise]) -> None:
    x = make_batch()
    first, again, other = (kind().set_random_state(seed)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_kind
def test_each_sample_has_noise_of_its_own_and_each_call_too(kind: Callable[[], Noise]) -> None:
    x = torch.zeros(6, 1, 64, 64)
    noise = kind().set_random_state(0)
    noisy = torch.cat([noise(x), noise(x)])
    for i in range(len(noisy)):
        for j in range(i):
            assert not torch.equal(noisy[i], noisy[j])


@pytest.mark.parametrize(
    ("of_dictionary", "of_array"),
    [(RandSquareNoised, RandSquareNoise), (RandCoarseNoised, RandCoarseNoise), (RandLesionNoised, RandLesionNoise)],
)
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_dictionary_version_is_the_same(
    of_dictionary: Callable[[str], RandNoised], of_array: Callable[[], Noise], with_mask: bool
) -> None:
    x = make_batch()
    item = {"image": x, "name": "slices"}
    mask = (x[:, :1] > 0).float() if with_mask else None
    if with_mask:
        item["mask"] = mask
    result = of_dictionary("image").set_random_state(7)(item)
    assert torch.equal(result["image"], of_array().set_random_state(7)(x, mask))
    assert result["name"] == "slices"
    assert item["image"] is x
    if with_mask:
        assert torch.equal(result["mask"], mask)


@pytest.mark.parametrize("kind", [RandSquareNoised, RandCoarseNoised, RandLesionNoised])
def test_the_seed_of_a_compose_reaches_the_noise(kind: Callable[[str], RandNoised]) -> None:
    item = {"image": make_batch()}
    first, again, other = (Compose([kind("image")]).set_random_state(seed=seed)(item)["image"] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- squares


def squares_of(noisy: torch.Tensor) -> list[tuple[slice, slice]]:
    """The bounding boxes of the grey levels of a slice (H, W) that are not 0."""
    levels = np.unique(noisy.numpy())
    return [ndimage.find_objects((noisy.numpy() == level).astype(int))[0] for level in levels[levels != 0]]


@pytest.mark.parametrize("number", [(1, 3), (2, 2), (4, 6)])
def test_every_square_shows_and_their_number_is_between_its_bounds(number: tuple[int, int]) -> None:
    """Squares of one size can hide one another only where they coincide."""
    noisy = RandSquareNoise(number, size=(0.06, 0.06)).set_random_state(0)(torch.zeros(64, 1, 64, 64))
    counts = [len(squares_of(slice_[0])) for slice_ in noisy]
    assert set(counts) == set(range(number[0], number[1] + 1))


@pytest.mark.parametrize(("size", "sides"), [((0.1, 0.4), (6, 26)), ((0.25, 0.25), (16, 16)), ((0.0, 0.001), (1, 1))])
def test_squares_are_square_and_of_a_size_within_bounds(size: tuple[float, float], sides: tuple[int, int]) -> None:
    noisy = RandSquareNoise((1, 1), size).set_random_state(0)(torch.zeros(300, 1, 64, 64))
    found = []
    for slice_ in noisy[:, 0]:
        ((rows, columns),) = squares_of(slice_)
        assert (slice_[rows, columns] != 0).all()
        assert rows.stop - rows.start == columns.stop - columns.start
        found.append(rows.stop - rows.start)
    assert min(found) == sides[0]
    assert max(found) == sides[1]


def test_squares_reach_all_places_of_the_slice() -> None:
    noisy = RandSquareNoise((1, 1)).set_random_state(0)(torch.zeros(1000, 1, 64, 64))
    assert ((noisy != 0).sum((0, 1)) > 0).all()


@pytest.mark.parametrize("fill", [(-2.0, 2.0), (3.0, 3.5)])
def test_grey_levels_lie_within_their_range_and_fill_it(fill: tuple[float, float]) -> None:
    noisy = RandSquareNoise((1, 1), fill=fill).set_random_state(0)(torch.full((300, 1, 32, 32), 99.0))
    levels = noisy[noisy != 99]
    width = fill[1] - fill[0]
    assert fill[0] <= levels.min() < fill[0] + 0.05 * width
    assert fill[1] - 0.05 * width < levels.max() <= fill[1]


def test_each_channel_of_a_square_has_a_grey_level_of_its_own_at_the_same_place() -> None:
    noisy = RandSquareNoise((1, 1)).set_random_state(0)(torch.zeros(8, 2, 64, 64))
    assert torch.equal(noisy[:, 0] != 0, noisy[:, 1] != 0)
    assert (noisy[:, 0].sum((1, 2)) != noisy[:, 1].sum((1, 2))).all()


def test_outside_the_squares_nothing_is_changed() -> None:
    x = make_batch(16)
    transform = RandSquareNoise((2, 2), size=(0.1, 0.2), fill=(50.0, 60.0)).set_random_state(0)
    noisy = transform(x)
    covered = noisy > 40
    assert torch.equal(noisy[~covered], x[~covered])
    shares = covered.float().mean((1, 2, 3))
    assert (shares > 0).all()
    assert (shares <= 2 * 0.21**2).all()


def test_no_squares_change_nothing() -> None:
    x = make_batch()
    assert torch.equal(RandSquareNoise(number=(0, 0)).set_random_state(0)(x), x)


def test_squares_cover_what_lies_outside_the_brain_too() -> None:
    x, empty = torch.zeros(4, 1, 64, 64), torch.zeros(4, 1, 64, 64)
    transform = RandSquareNoise()
    assert torch.equal(transform.set_random_state(0)(x, empty), transform.set_random_state(0)(x))


# --- coarse noise


def test_coarse_noise_is_zero_outside_the_mask_and_the_same_inside() -> None:
    x = make_batch()
    mask = torch.zeros(4, 1, 64, 64)
    mask[:, :, 10:40, 20:50] = 1
    noise = RandCoarseNoise().set_random_state(0)(x, mask) - x
    everywhere = RandCoarseNoise().set_random_state(0)(x) - x
    assert not noise[(mask == 0).expand_as(x)].any()
    inside = (mask == 1).expand_as(x)
    assert torch.equal(noise[inside], everywhere[inside])
    assert (noise[inside] != 0).float().mean() > 0.99


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_the_standard_deviation_at_the_grids_points_is_the_strength(strength: float) -> None:
    """Enlarged by 3, the middle one of three pixels lies on a point of the grid."""
    transform = RandCoarseNoise(resolution=16, strength=(strength, strength)).set_random_state(0)
    noise = transform(torch.zeros(64, 1, 48, 48))[:, :, 1::3, 1::3]
    assert noise.shape[2:] == (16, 16)
    assert float(noise.std()) == pytest.approx(strength, rel=0.03)  # 16 384 numbers: 0.6 % is one sigma
    assert float(noise.mean()) == pytest.approx(0, abs=0.03 * strength)


def test_between_the_grids_points_the_noise_is_interpolated_linearly() -> None:
    noise = RandCoarseNoise(resolution=16).set_random_state(0)(torch.zeros(2, 1, 48, 48))
    points = noise[:, :, 1::3, 1::3]
    third = (2 * points[..., :-1] + points[..., 1:]) / 3
    torch.testing.assert_close(noise[:, :, 1::3, 2:-1:3], third, atol=1e-5, rtol=0)


def test_the_strength_differs_between_samples_within_its_bounds() -> None:
    low, high = 0.2, 1.0
    noise = RandCoarseNoise(resolution=32, strength=(low, high)).set_random_state(0)(torch.zeros(200, 1, 32, 32))
    deviations = noise.std((1, 2, 3))  # each of 1024 numbers: 2.2 % is one sigma
    assert low * 0.9 < deviations.min() < low + 0.1
    assert high - 0.1 < deviations.max() < high * 1.1
    assert float(deviations.mean()) == pytest.approx((low + high) / 2, abs=0.06)


@pytest.mark.parametrize(("resolution", "lowest", "highest"), [(4, 0.98, 1.0), (16, 0.75, 0.97), (64, -0.03, 0.03)])
def test_the_coarser_the_grid_the_smoother_the_noise(resolution: int, lowest: float, highest: float) -> None:
    noise = RandCoarseNoise(resolution, (1.0, 1.0)).set_random_state(0)(torch.zeros(64, 1, 64, 64))
    neighbours = torch.stack([noise[..., 1:].flatten(), noise[..., :-1].flatten()])
    assert lowest < float(torch.corrcoef(neighbours)[0, 1]) < highest


def test_each_channel_has_coarse_noise_of_its_own() -> None:
    noise = RandCoarseNoise().set_random_state(0)(torch.zeros(16, 2, 64, 64))
    correlation = torch.corrcoef(torch.stack([noise[:, 0].flatten(), noise[:, 1].flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.1


@given(factor=st.floats(0.01, 30))
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_coarse_noise_is_proportional_to_its_strength(factor: float) -> None:
    x = torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    one, many = (RandCoarseNoise(8, (f, f)).set_random_state(0)(x) for f in (1.0, factor))
    torch.testing.assert_close(many, factor * one, rtol=1e-4, atol=1e-4)


def test_coarse_noise_of_no_strength_changes_nothing() -> None:
    x = make_batch()
    assert torch.equal(RandCoarseNoise(strength=(0.0, 0.0))(x), x)
