"""Augmentation: landmarks go where mirror, rotation, scale and shift send them, and grey levels as a line says."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from transforms import RandCoarseNoised, RandIntensity, RandIntensityd, RandSliceAffine, RandSliceAffined

SIDE = 64
MIDDLE = (SIDE - 1) / 2
MANY = 200


def landmark(row: float, column: float, number: int = MANY) -> torch.Tensor:
    """A batch of slices with a smooth blob, its place in pixels from the middle."""
    axis = torch.arange(SIDE) - MIDDLE
    blob = torch.exp(-((axis[:, None] - row) ** 2 + (axis[None, :] - column) ** 2) / (2 * 2.5**2))
    return blob.expand(number, 1, SIDE, SIDE).clone()


def places(batch: torch.Tensor) -> torch.Tensor:
    """The centres of mass (B, 2) of slices (B, 1, H, W), rows and columns from the middle."""
    weights = batch[:, 0].double()
    axis = torch.arange(SIDE, dtype=torch.float64) - MIDDLE
    total = weights.sum((1, 2))
    return torch.stack([(weights.sum(2) @ axis) / total, (weights.sum(1) @ axis) / total], 1)


def angles(points: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.atan2(points[:, 0], points[:, 1]))


def still(**changes: float) -> RandSliceAffine:
    """An affine that does nothing but what is given."""
    parameters = {"mirror": 0.0, "rotation": 0.0, "scale": 0.0, "shift": 0.0} | changes
    return RandSliceAffine(**parameters).set_random_state(0)


def moved(row: float, column: float, **changes: float) -> torch.Tensor:
    return places(still(**changes)(landmark(row, column)))


def random_batch(number: int = 5, channels: int = 2, side: int = SIDE) -> torch.Tensor:
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(0))


# --- geometry


@pytest.mark.parametrize("side", [64, 80])
def test_parameters_of_zero_are_the_identity(side: int) -> None:
    x = random_batch(side=side) / 5  # within 1 or so: what is left is rounding
    torch.testing.assert_close(still()(x), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(still()(x, background=-3.0), x, atol=1e-4, rtol=0)


def test_a_mirror_probability_of_1_flips_h_exactly() -> None:
    x = random_batch() / 5
    torch.testing.assert_close(still(mirror=1.0)(x), x.flip(2), atol=1e-5, rtol=0)


def test_a_mirror_probability_of_a_half_flips_half_of_the_slices() -> None:
    rows = moved(12, 5, mirror=0.5)[:, 0]
    mirrored = rows < 0
    assert 0.4 < float(mirrored.double().mean()) < 0.6
    torch.testing.assert_close(rows.abs(), torch.full_like(rows, 12.0), atol=1e-3, rtol=0)


def test_a_rotation_keeps_the_distance_to_the_centre_and_stays_within_its_bounds() -> None:
    points = moved(9, 14, rotation=20.0)
    turned = angles(points) - math.degrees(math.atan2(9, 14))
    torch.testing.assert_close(
        torch.linalg.vector_norm(points, dim=1), torch.full((MANY,), math.hypot(9, 14)).double(), atol=0.02, rtol=0
    )
    assert -20.1 < turned.min() < -19
    assert 19 < turned.max() < 20.1


def test_a_rotation_turns_all_points_by_one_angle() -> None:
    first = angles(moved(9, 14, rotation=20.0)) - math.degrees(math.atan2(9, 14))
    second = angles(moved(-15, 3, rotation=20.0)) - math.degrees(math.atan2(-15, 3))
    torch.testing.assert_close(first, second, atol=0.2, rtol=0)


def test_a_mirrored_slice_turns_as_the_others_do() -> None:
    """A mirror image is mirrored and turned, not sheared: distances between points are kept."""
    changes = {"mirror": 0.5, "rotation": 20.0}
    first, second = moved(9, 14, **changes), moved(-15, 3, **changes)
    distances = torch.linalg.vector_norm(first - second, dim=1)
    torch.testing.assert_close(distances, torch.full_like(distances, math.hypot(24, 11)), atol=0.03, rtol=0)
    handedness = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    assert 0.4 < float((handedness > 0).double().mean()) < 0.6


def test_scale_changes_the_size_within_its_bounds() -> None:
    points = moved(9, 14, scale=0.2)
    sizes = points / torch.tensor([9.0, 14.0], dtype=torch.float64)
    torch.testing.assert_close(sizes[:, 0], sizes[:, 1], atol=2e-3, rtol=0)
    assert 0.799 < sizes.min() < 0.81
    assert 1.19 < sizes.max() < 1.201


def test_scale_makes_a_structure_larger_by_its_square() -> None:
    x = landmark(0, 0)
    larger = still(scale=0.2)(x).sum((1, 2, 3)) / x.sum((1, 2, 3))
    size = moved(9, 14, scale=0.2)[:, 0].float() / 9
    torch.testing.assert_close(larger, size**2, atol=0.03, rtol=0)


def test_a_shift_moves_by_a_share_of_the_side_along_both_axes() -> None:
    shifts = moved(3, -7, shift=0.1) - torch.tensor([3.0, -7.0], dtype=torch.float64)
    for axis in range(2):
        assert -0.1 * SIDE - 0.01 < shifts[:, axis].min() < -0.095 * SIDE
        assert 0.095 * SIDE < shifts[:, axis].max() < 0.1 * SIDE + 0.01
    assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 0.2


def test_all_parameters_together_are_one_similarity() -> None:
    """Lengths change by one factor a slice, whatever their direction."""
    changes = {"mirror": 0.5, "rotation": 15.0, "scale": 0.1, "shift": 0.05}
    a, b, c = (moved(row, column, **changes) for row, column in ((0, 0), (12, 0), (0, 12)))
    along_h, along_w = (b - a) / 12, (c - a) / 12
    factor = torch.linalg.vector_norm(along_h, dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(along_w, dim=1), factor, atol=5e-3, rtol=0)
    torch.testing.assert_close((along_h * along_w).sum(1), torch.zeros_like(factor), atol=5e-3, rtol=0)
    assert 0.89 < factor.min() < 0.93
    assert 1.07 < factor.max() < 1.11


def test_each_sample_has_parameters_of_its_own_and_each_call_too() -> None:
    affine = RandSliceAffine().set_random_state(0)
    points = torch.cat([places(affine(landmark(9, 14, 8))), places(affine(landmark(9, 14, 8)))])
    distances = torch.cdist(points, points) + torch.eye(16)
    assert distances.min() > 1e-3


def test_the_same_seed_gives_the_same_movement_and_another_seed_another() -> None:
    x = random_batch()
    first, again, other = (RandSliceAffine().set_random_state(seed)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 64, 64), (3, 2, 64, 64)])
def test_a_slice_or_a_batch_keeps_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    for transform in (RandSliceAffine(), RandIntensity()):
        result = transform.set_random_state(0)(x)
        assert result.shape == shape
        assert result.dtype == dtype


def test_the_given_batch_is_left_alone() -> None:
    x = random_batch()
    before = x.clone()
    RandSliceAffine().set_random_state(0)(x, background=1.0)
    RandIntensity().set_random_state(0)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("background", [0.0, -2.0])
def test_background_comes_in_from_beyond(background: float) -> None:
    x = torch.full((16, 1, SIDE, SIDE), 5.0)
    result = still(shift=0.2)(x, background)
    assert (result[:, :, 25:39, 25:39] - 5).abs().max() < 1e-4
    assert (result.amin((1, 2, 3)) == background).all()
    assert result.max() < 5 + 1e-4


def test_a_slice_of_background_stays_one() -> None:
    x = torch.full((8, 1, SIDE, SIDE), -2.0)
    assert torch.equal(RandSliceAffine(shift=0.3).set_random_state(0)(x, background=-2.0), x)


@pytest.mark.parametrize("background", [0.0, -2.0])
def test_the_mask_moves_with_the_image(background: float) -> None:
    mask = (landmark(9, 14, 16) > 0.3).float()
    image = torch.where(mask > 0, 3.0, background)
    result = RandSliceAffined(shift=0.1, background=background).set_random_state(0)({"image": image, "mask": mask})
    assert not torch.equal(result["mask"], mask)
    expected = background + (3 - background) * result["mask"]
    torch.testing.assert_close(result["image"], expected, atol=1e-5, rtol=0)


def test_the_dictionary_version_is_the_same() -> None:
    x = random_batch()
    mask = (x[:, :1] > 0).float()
    item = {"image": x, "mask": mask, "name": "slices"}
    result = RandSliceAffined(background=1.5).set_random_state(4)(item)
    assert torch.equal(result["image"], RandSliceAffine().set_random_state(4)(x, 1.5))
    assert torch.equal(result["mask"], RandSliceAffine().set_random_state(4)(mask, 0.0))
    assert result["name"] == "slices"
    assert item["image"] is x


def test_slices_with_meta_data_are_moved_alike() -> None:
    x = random_batch()
    plain = RandIntensity().set_random_state(0)(RandSliceAffine().set_random_state(0)(x))
    with_meta = RandIntensity().set_random_state(0)(RandSliceAffine().set_random_state(0)(MetaTensor(x)))
    assert torch.equal(torch.as_tensor(with_meta), plain)


# --- grey levels


def test_each_channel_of_each_slice_follows_a_line_of_its_own_within_bounds() -> None:
    x = random_batch(100)
    y = RandIntensity(scale=0.3, shift=0.5).set_random_state(0)(x)
    x, y = x.flatten(2).double(), y.flatten(2).double()
    slope = (y[..., 1] - y[..., 0]) / (x[..., 1] - x[..., 0])
    offset = y[..., 0] - slope * x[..., 0]
    torch.testing.assert_close(y, slope[..., None] * x + offset[..., None], atol=1e-3, rtol=0)
    for values, bound in ((slope - 1, 0.3), (offset, 0.5)):
        assert -1.01 * bound < values.min() < -0.9 * bound
        assert 0.9 * bound < values.max() < 1.01 * bound
        assert len(torch.unique(values.round(decimals=4))) > 180  # of 200


def test_grey_levels_are_changed_inside_the_mask_alone() -> None:
    x = random_batch()
    mask = torch.zeros(5, 1, SIDE, SIDE)
    mask[..., 10:30, 20:40] = 1
    result = RandIntensity().set_random_state(0)(x, mask)
    everywhere = RandIntensity().set_random_state(0)(x)
    inside = (mask == 1).expand_as(x)
    assert torch.equal(result[~inside], x[~inside])
    assert torch.equal(result[inside], everywhere[inside])
    assert not (result[inside] == x[inside]).any()


def test_at_the_masks_rim_the_change_is_partial() -> None:
    x = torch.ones(1, 1, 4, 4)
    full, half = (RandIntensity().set_random_state(0)(x, torch.full_like(x, share)) - x for share in (1.0, 0.5))
    torch.testing.assert_close(half, full / 2)


def test_without_scale_and_shift_grey_levels_stay() -> None:
    x = random_batch()
    assert torch.equal(RandIntensity(0.0, 0.0).set_random_state(0)(x), x)


@pytest.mark.parametrize("with_mask", [False, True])
def test_the_dictionary_version_of_intensity_is_the_same(with_mask: bool) -> None:
    x = random_batch()
    mask = (x[:, :1] > 0).float() if with_mask else None
    item = {"image": x} | ({"mask": mask} if with_mask else {})
    result = RandIntensityd().set_random_state(4)(item)
    assert torch.equal(result["image"], RandIntensity().set_random_state(4)(x, mask))


# --- together, as in training


def test_the_seed_of_a_compose_reaches_all_of_them() -> None:
    x = random_batch()
    item = {"image": x, "mask": torch.ones_like(x[:, :1])}
    steps = (RandSliceAffined, lambda: RandIntensityd(), lambda: RandCoarseNoised("image"))

    def augmented(seed: int) -> list[np.ndarray]:
        compose = Compose([step() for step in steps]).set_random_state(seed=seed)
        found, current = [], item
        for transform in compose.transforms:
            before = current["image"]
            current = transform(current)
            found.append((current["image"] - before).numpy())
        return found

    first, again, other = augmented(1), augmented(1), augmented(2)
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.allclose(one, different)
