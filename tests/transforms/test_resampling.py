"""One interpolation in the plane: it averages, stays at its millimetre, and comes back to the scan's own grid."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd, Orientationd
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from transforms import SLICE_AXES, BrainMaskd, NormalizeInMaskd, ResampleInPlane, ResampleInPlaned
from transforms.resampling import mask_centre, resampling_matrix

AXES = sorted(SLICE_AXES)
Array = NDArray[np.float64]


# --- the matrix


def source_positions(matrix: torch.Tensor, scale: float, offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the target samples lie in the source, and which have their whole kernel inside it."""
    positions = offset + scale * torch.arange(len(matrix), dtype=torch.float64)
    width = max(1.0, scale)
    return positions, (positions - width >= -1) & (positions + width <= matrix.shape[1])


steady = settings(max_examples=150, deadline=None, derandomize=True, database=None)
scales = st.floats(0.1, 8)
offsets = st.floats(-10, 40)


@given(scale=scales, offset=offsets)
@steady
def test_a_constant_signal_stays_itself_away_from_its_ends(scale: float, offset: float) -> None:
    matrix = resampling_matrix(64, 30, scale, offset)
    _, interior = source_positions(matrix, scale, offset)
    torch.testing.assert_close(matrix.sum(1)[interior], torch.ones(int(interior.sum()), dtype=torch.float64))
    assert (matrix >= 0).all()
    assert (matrix.sum(1) <= 1 + 1e-9).all()


@given(scale=st.floats(0.1, 1) | st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]), offset=offsets)
@steady
def test_linear_functions_are_reproduced_exactly(scale: float, offset: float) -> None:
    matrix = resampling_matrix(64, 30, scale, offset)
    positions, interior = source_positions(matrix, scale, offset)
    line = 3 * torch.arange(64, dtype=torch.float64) - 7
    torch.testing.assert_close((matrix @ line)[interior], 3 * positions[interior] - 7, atol=1e-9, rtol=1e-9)


@given(scale=st.floats(1, 8), offset=offsets)
@steady
def test_shrinking_by_any_factor_moves_nothing_by_a_tenth_of_a_sample(scale: float, offset: float) -> None:
    matrix = resampling_matrix(64, 30, scale, offset)
    positions, interior = source_positions(matrix, scale, offset)
    found = matrix @ torch.arange(64, dtype=torch.float64)
    assert ((found - positions)[interior].abs() < 0.1).all()


@given(scale=scales, offset=offsets)
@steady
def test_left_and_right_are_treated_alike(scale: float, offset: float) -> None:
    matrix = resampling_matrix(64, 30, scale, offset)
    mirrored = resampling_matrix(64, 30, scale, 63 - (offset + scale * 29))
    torch.testing.assert_close(mirrored.flip(0, 1), matrix, atol=1e-9, rtol=0)


@given(scale=scales, offset=offsets)
@steady
def test_beyond_its_ends_the_signal_is_zero(scale: float, offset: float) -> None:
    matrix = resampling_matrix(64, 30, scale, offset)
    positions, _ = source_positions(matrix, scale, offset)
    width = max(1.0, scale)
    assert not matrix[(positions <= -width) | (positions >= 63 + width)].any()


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.8, 1.0])
def test_enlarging_is_linear_interpolation(scale: float) -> None:
    signal = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = 5 + scale * np.arange(40)
    expected = np.interp(positions, np.arange(50), signal.numpy())
    np.testing.assert_allclose((resampling_matrix(50, 40, scale, 5.0) @ signal).numpy(), expected, atol=1e-12)


def test_scale_1_without_offset_is_the_identity() -> None:
    torch.testing.assert_close(resampling_matrix(20, 20, 1.0, 0.0), torch.eye(20, dtype=torch.float64))


def test_a_whole_offset_cuts_out_and_pads_with_zeros() -> None:
    signal = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert (resampling_matrix(5, 4, 1.0, 2.0) @ signal).tolist() == [3, 4, 5, 0]
    assert (resampling_matrix(5, 4, 1.0, -2.0) @ signal).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_noise_left_by_a_whole_factor_is_that_of_a_triangle(width: int) -> None:
    """White noise keeps the sum of the squared weights: (2 w^2 + 1) / (3 w^3) for a triangle of w samples."""
    weights = resampling_matrix(100, 10, float(width), 20.0)
    expected = (2 * width**2 + 1) / (3 * width**3)
    torch.testing.assert_close(weights.square().sum(1), torch.full((10,), expected, dtype=torch.float64))


def test_shrinking_240_pixels_to_64_takes_away_noise_as_averaging_does() -> None:
    scale = 240 / 64
    weights = resampling_matrix(240, 64, scale, (scale - 1) / 2)
    positions, interior = source_positions(weights, scale, (scale - 1) / 2)
    left = weights.square().sum(1)[interior]
    bilinear = ((1 - positions % 1) ** 2 + (positions % 1) ** 2)[interior]
    assert len(left) > 50
    assert float(left.max()) < 1.35 / scale  # area averaging leaves 1 / scale
    assert float(left.mean()) < 0.5 * float(bilinear.mean())
    assert float(left.min()) > 0.5 / scale  # and it does not blur more than it must


def test_shrinking_a_noisy_slice_takes_away_noise_as_averaging_does() -> None:
    noise = torch.randn(1, 240, 240, 3, generator=torch.Generator().manual_seed(0))
    inside = ResampleInPlane(64, 240.0)(MetaTensor(noise), (119.5, 119.5, 0)).as_tensor()[:, 3:-3, 3:-3]
    averaged = torch.nn.functional.interpolate(noise.movedim(-1, 0), size=(64, 64), mode="area")
    assert float(inside.var()) < 1.35**2 * float(averaged.var())


# --- volumes: what lies where


def affine_of(spacing: tuple[float, float, float], angles: tuple[float, float, float] = (0, 0, 0)) -> torch.Tensor:
    """An affine with this spacing, turned by these angles (degrees), somewhere in space."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = (-31.5, 22.25, -48.0)
    return torch.from_numpy(affine)


GRIDS = [
    pytest.param(affine_of((1, 1, 1)), (60, 70, 50), id="isotropic"),
    pytest.param(affine_of((1, 1, 6)), (60, 70, 9), id="thick slices"),
    pytest.param(affine_of((0.45, 0.45, 6)), (130, 150, 9), id="fine pixels and thick slices"),
    pytest.param(affine_of((3, 2, 1.5), (12, -17, 9)), (20, 30, 40), id="oblique and anisotropic"),
    pytest.param(affine_of((1, 1, 6), (-20, 8, 14)), (60, 70, 9), id="oblique with thick slices"),
]


def world_positions(affine: torch.Tensor, shape: tuple[int, ...]) -> Array:
    """The world coordinates (3, X, Y, Z) of all voxels, mm."""
    voxels = np.stack([*np.indices(shape), np.ones(shape)])
    return np.einsum("ij,jxyz->ixyz", affine.numpy(), voxels)[:3]


def volume_of(values: Array, affine: torch.Tensor) -> MetaTensor:
    """A volume (C, X, Y, Z) of values (X, Y, Z) or (C, X, Y, Z)."""
    values = values if values.ndim == 4 else values[None]
    return MetaTensor(torch.from_numpy(values.astype(np.float32)), affine=affine.clone())


def blob(affine: torch.Tensor, shape: tuple[int, ...], centre: Array, width: float) -> Array:
    """A Gaussian around a point of the world: the same in every grid that it is written on."""
    distance = world_positions(affine, shape) - centre[:, None, None, None]
    return np.exp(-0.5 * (distance**2).sum(0) / width**2)


def centre_of_mass(volume: MetaTensor) -> Array:
    weights = volume[0].numpy().astype(np.float64)
    return (world_positions(volume.affine, weights.shape) * weights).sum((1, 2, 3)) / weights.sum()


def middle(shape: tuple[int, ...]) -> tuple[float, float, float]:
    x, y, z = ((n - 1) / 2 for n in shape)
    return x, y, z


def middle_mm(affine: torch.Tensor, shape: tuple[int, ...]) -> Array:
    return (affine.numpy() @ [*middle(shape), 1])[:3]


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_a_point_comes_back_at_the_same_millimetre(
    affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str
) -> None:
    point = middle_mm(affine, shape) + np.array([4.2, -3.1, 2.3])
    volume = volume_of(blob(affine, shape, point, 4.0), affine)
    resampled = ResampleInPlane(48, 56.0, slice_axis)(volume, middle(shape))
    np.testing.assert_allclose(centre_of_mass(resampled), centre_of_mass(volume), atol=0.05)


@pytest.mark.parametrize("size", [24, 64, 112])
@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_the_affine_says_where_each_pixel_comes_from(
    affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str, size: int
) -> None:
    """A volume that holds its own world coordinates still holds them afterwards, wherever the kernel is inside it."""
    volume = volume_of(world_positions(affine, shape), affine)
    resampled = ResampleInPlane(size, 50.0, slice_axis)(volume, middle(shape))

    found = resampled.numpy()
    expected = world_positions(resampled.affine, found.shape[1:])
    to_source = np.linalg.inv(affine.numpy()) @ resampled.affine.numpy()
    source = np.einsum("ij,jxyz->ixyz", to_source, np.stack([*np.indices(found.shape[1:]), np.ones(found.shape[1:])]))
    width = np.maximum(1, np.diag(to_source)[:3])[:, None, None, None]
    last = np.array(shape)[:, None, None, None] - 1
    along = np.arange(3)[:, None, None, None] == SLICE_AXES[slice_axis]
    interior = (along | ((source[:3] >= width) & (source[:3] <= last - width))).all(0)

    assert interior.sum() > 100
    away = np.linalg.inv(affine.numpy()[:3, :3]) @ (found - expected)[:, interior]  # in voxels of the scan
    for axis in range(3):
        shrunk = to_source[axis, axis] > 1
        assert np.abs(away[axis]).max() < (0.1 if shrunk else 1e-3)
        assert abs(away[axis].mean()) < (0.01 if shrunk else 1e-4)


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_slices_stay_where_they_are(affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str) -> None:
    axis = SLICE_AXES[slice_axis]
    values = np.indices(shape)[axis] ** 2.0  # each slice of one value, not a line along the axis
    resampled = ResampleInPlane(16, 8.0, slice_axis)(volume_of(values, affine), middle(shape))
    expected = [16, 16, 16]
    expected[axis] = shape[axis]
    assert list(resampled.shape[1:]) == expected
    found = np.moveaxis(resampled[0].numpy(), axis, 0)
    for number in range(shape[axis]):
        np.testing.assert_allclose(found[number], number**2, rtol=1e-5, atol=1e-5)
    to_source = torch.linalg.inv(affine) @ resampled.affine
    torch.testing.assert_close(to_source[axis], torch.eye(4, dtype=to_source.dtype)[axis], atol=1e-9, rtol=0)


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_a_pixel_has_the_same_size_whatever_the_scan(
    affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str
) -> None:
    resampled = ResampleInPlane(64, 96.0, slice_axis)(volume_of(np.ones(shape), affine), middle(shape))
    expected = torch.full((3,), 96 / 64, dtype=torch.float64)
    axis = SLICE_AXES[slice_axis]
    expected[axis] = torch.linalg.vector_norm(affine[:3, axis])
    torch.testing.assert_close(resampled.pixdim.double(), expected)


def test_where_grids_agree_nothing_is_changed() -> None:
    volume = MetaTensor(torch.randn(2, 32, 32, 5), affine=affine_of((1.5, 1.5, 4)))
    resampled = ResampleInPlane(32, 48.0)(volume, (15.5, 15.5, 2))
    torch.testing.assert_close(resampled.as_tensor(), volume.as_tensor(), atol=1e-5, rtol=0)
    torch.testing.assert_close(resampled.affine, volume.affine)


def test_the_volume_given_is_left_alone() -> None:
    volume = MetaTensor(torch.randn(1, 20, 20, 5), affine=affine_of((1, 1, 3)))
    before, affine = volume.as_tensor().clone(), volume.affine.clone()
    transform = ResampleInPlane(16, 30.0)
    transform.inverse(transform(volume, (9.5, 9.5, 2), background=-1.0))
    assert torch.equal(volume.as_tensor(), before)
    assert torch.equal(volume.affine, affine)
    assert not volume.applied_operations


def test_beyond_the_volume_there_is_background() -> None:
    volume = MetaTensor(torch.full((1, 20, 20, 3), 5.0))
    resampled = ResampleInPlane(60, 60.0)(volume, (9.5, 9.5, 1), background=-2.0).as_tensor()
    assert (resampled[:, 20:40, 20:40] == 5).all()
    resampled[:, 20:40, 20:40] = -2
    assert (resampled == -2).all()


def test_background_does_not_darken_or_brighten_at_the_volumes_ends() -> None:
    volume = MetaTensor(torch.full((1, 20, 20, 3), -2.0))
    resampled = ResampleInPlane(17, 60.0)(volume, (9.2, 9.9, 1), background=-2.0).as_tensor()
    torch.testing.assert_close(resampled, torch.full((1, 17, 17, 3), -2.0))


def test_an_unknown_slice_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="sagittal, coronal, axial"):
        ResampleInPlane(64, 192.0, "transversal")


# --- the way back


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_inverse_restores_shape_and_affine_exactly_and_a_smooth_map_nearly(
    affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str
) -> None:
    width = 9.0
    values = blob(affine, shape, middle_mm(affine, shape), width)
    volume = volume_of(np.stack([values, 5 * values]), affine)
    transform = ResampleInPlane(64, 96.0, slice_axis)
    restored = transform.inverse(transform(volume, middle(shape)))
    assert restored.shape == volume.shape
    torch.testing.assert_close(restored.affine, affine, atol=1e-9, rtol=0)
    assert not restored.applied_operations
    # Linear interpolation errs by h^2 / 8 of the curvature, 1 / width^2, and averaging over h by h^2 / 12.
    sides = [max(1.5, float(volume.pixdim[axis])) for axis in transform.plane_axes]
    error = sum(side**2 * (1 / 8 + 1 / 12) / width**2 for side in sides)
    np.testing.assert_allclose(restored[0].numpy(), values, atol=error + 0.002)
    np.testing.assert_allclose(restored[1].numpy(), 5 * restored[0].numpy(), atol=1e-5)


def test_the_way_back_is_zero_outside_the_field_of_view() -> None:
    volume = MetaTensor(torch.ones(1, 60, 50, 4), affine=affine_of((1, 1, 5)))
    transform = ResampleInPlane(16, 20.0)
    restored = transform.inverse(transform(volume, (29.5, 19.5, 0))).as_tensor()
    inside = torch.zeros_like(restored)
    inside[:, 20:40, 10:30] = 1
    assert (restored[:, 22:38, 12:28] - 1).abs().max() < 1e-5
    outside_by_a_pixel = torch.nn.functional.max_pool3d(inside, (5, 5, 1), 1, (2, 2, 0)) == 0
    assert not restored[outside_by_a_pixel].any()


# --- with the mask, as a dictionary


def box_mask(shape: tuple[int, ...], box: tuple[slice, slice, slice], affine: torch.Tensor) -> MetaTensor:
    values = np.zeros(shape)
    values[box] = 1
    return volume_of(values, affine)


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("affine", "shape"), GRIDS)
def test_the_field_of_view_is_centred_on_the_masks_bounding_box(
    affine: torch.Tensor, shape: tuple[int, ...], slice_axis: str
) -> None:
    values = np.zeros(shape)
    first, last = np.array([2, 3, 1]), np.array([11, 17, 5])
    values[tuple(first)] = values[tuple(last)] = 1
    values[tuple(slice(n, n + 2) for n in first)] = 1  # the mass lies at one end, which must not matter
    mask = volume_of(values, affine)
    assert mask_centre(mask) == tuple((first + last) / 2)

    item = ResampleInPlaned(["image", "mask"], 32, 64.0, slice_axis)({"image": mask * 3, "mask": mask})
    wanted = affine.numpy() @ [*(first + last) / 2, 1]
    for key in ("image", "mask"):
        centre = np.full(4, 15.5)
        centre[SLICE_AXES[slice_axis]] = (first + last)[SLICE_AXES[slice_axis]] / 2
        centre[3] = 1
        np.testing.assert_allclose(item[key].affine.numpy() @ centre, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("slice_axis", "field_of_view", "share_inside"),
    [
        ("axial", 100, 1),
        ("axial", 20, 10 / 20 * 20 / 24),
        ("coronal", 20, 10 / 20 * 4 / 8),
        ("sagittal", 12, 12 / 24 * 2 / 8),
    ],
)
def test_the_share_of_brain_outside_the_field_of_view_is_in_meta(
    slice_axis: str, field_of_view: float, share_inside: float
) -> None:
    """The brain is a box of 40 x 24 x 40 mm: 20 x 24 x 8 voxels of 2 x 1 x 5 mm."""
    mask = box_mask((30, 40, 12), (slice(5, 25), slice(3, 27), slice(1, 9)), affine_of((2, 1, 5), (10, 0, 5)))
    transform = ResampleInPlaned(["image", "mask"], 32, field_of_view, slice_axis)
    item = transform({"image": mask * 2, "mask": mask})
    for key in ("image", "mask"):
        assert item[key].meta["outside_field_of_view"] == pytest.approx(1 - share_inside)


def test_background_is_for_the_image_and_zero_for_mask_and_label() -> None:
    mask = box_mask((20, 20, 5), (slice(None),) * 3, affine_of((1, 1, 1)))
    transform = ResampleInPlaned(["image", "mask", "label"], 60, 60.0, background=-4.0)
    item = transform({"image": mask * 7, "mask": mask, "label": mask})
    for key, inside, outside in (("image", 7, -4), ("mask", 1, 0), ("label", 1, 0)):
        assert item[key][0, 30, 30, 2] == inside
        assert item[key][0, 5, 5, 2] == outside


def test_a_missing_label_is_allowed_where_asked_for() -> None:
    mask = box_mask((20, 20, 5), (slice(None),) * 3, affine_of((1, 1, 1)))
    item = {"image": mask, "mask": mask}
    result = ResampleInPlaned(["image", "mask", "label"], 16, 20.0, allow_missing_keys=True)(item)
    assert set(result) == {"image", "mask"}
    with pytest.raises(KeyError):
        ResampleInPlaned(["image", "mask", "label"], 16, 20.0)(item)


# --- the whole preprocessing, as in the bundle's train.yaml, and its way back


def preprocessing(slice_axis: str, size: int = 64, field_of_view: float = 96.0) -> Compose:
    return Compose(
        [
            BrainMaskd("image"),
            CopyItemsd(["image", "mask"], names=["scan", "scan_mask"]),
            Orientationd(
                ["image", "mask", "label"],
                axcodes="RAS",
                labels=(("L", "R"), ("P", "A"), ("I", "S")),
                allow_missing_keys=True,
            ),
            NormalizeInMaskd("image"),
            ResampleInPlaned(
                ["image", "mask", "label"], size, field_of_view, slice_axis, background=0.0, allow_missing_keys=True
            ),
        ]
    )


def reoriented(axes: tuple[int, int, int], flips: tuple[int, int, int], ras: torch.Tensor) -> torch.Tensor:
    """The affine of a grid whose axes are those of another, in another order and direction, around the same middle."""
    affine = np.eye(4)
    affine[:3, :3] = ras.numpy()[:3, :3][:, axes] * flips
    return torch.from_numpy(affine)


def centred(affine: torch.Tensor, shape: tuple[int, ...], point: tuple[float, float, float]) -> torch.Tensor:
    """The affine with the middle of the volume at a point of the world."""
    affine = affine.clone()
    affine[:3, 3] = torch.tensor(point, dtype=affine.dtype) - affine[:3, :3] @ torch.tensor(middle(shape)).to(affine)
    return affine


ORIENTATIONS = {
    "RAS": ((0, 1, 2), (1, 1, 1)),
    "LPS": ((0, 1, 2), (-1, -1, 1)),
    "PSR": ((1, 2, 0), (-1, 1, 1)),
    "SLA": ((2, 0, 1), (1, -1, 1)),
    "AIL": ((1, 2, 0), (1, -1, -1)),
}
ANGLES = [(0, 0, 0), (14, -11, 8)]
HEAD_MM = (12.0, -20.0, 35.0)


def native_scan(orientation: str, angles: tuple[float, float, float], slice_axis: str) -> MetaTensor:
    """A stripped brain, a ball of 32 mm, in 2 mm pixels and slices of 5 mm along the slice axis."""
    axes, flips = ORIENTATIONS[orientation]
    spacing = [2.0, 2.0, 2.0]
    spacing[SLICE_AXES[slice_axis]] = 5.0
    ras = affine_of((spacing[0], spacing[1], spacing[2]), angles)
    shape_ras = [40, 40, 40]
    shape_ras[SLICE_AXES[slice_axis]] = 17
    shape = tuple(shape_ras[axis] for axis in axes)
    affine = centred(reoriented(axes, flips, ras), shape, HEAD_MM)
    distance = np.linalg.norm(world_positions(affine, shape) - np.array(HEAD_MM)[:, None, None, None], axis=0)
    tissue = 100 + world_positions(affine, shape)[2]  # brighter towards the crown
    return volume_of(np.where(distance < 32, tissue, 0), affine)


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("orientation", "angles"), list(product(ORIENTATIONS, ANGLES)))
def test_a_map_of_the_network_returns_to_the_scans_own_grid(
    orientation: str, angles: tuple[float, float, float], slice_axis: str
) -> None:
    scan = native_scan(orientation, angles, slice_axis)
    assert "".join(aff2axcodes(scan.affine.numpy())) == orientation
    transform = preprocessing(slice_axis)
    item = transform({"image": scan.clone()})
    image = item["image"]
    assert "".join(aff2axcodes(image.affine.numpy())) == "RAS"

    # What a network says of a place in the world: two maps that are known everywhere.
    places = [np.array(HEAD_MM), np.array(HEAD_MM) + np.array([9, 12, -7])]
    maps = np.stack([blob(image.affine, image.shape[1:], place, 9.0) for place in places])
    on_grid = MetaTensor(torch.from_numpy(maps.astype(np.float32))).copy_meta_from(image)
    restored = transform.inverse({"image": on_grid})["image"]

    assert restored.shape[1:] == scan.shape[1:]
    torch.testing.assert_close(restored.affine, scan.affine, atol=1e-9, rtol=0)
    expected = np.stack([blob(scan.affine, scan.shape[1:], place, 9.0) for place in places])
    brain = scan[0].numpy() > 0
    np.testing.assert_allclose(restored.numpy()[:, brain], expected[:, brain], atol=0.03)


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize(("orientation", "angles"), list(product(ORIENTATIONS, ANGLES)))
def test_the_normalised_image_shows_each_place_of_the_world_with_its_own_grey(
    orientation: str, angles: tuple[float, float, float], slice_axis: str
) -> None:
    scan = native_scan(orientation, angles, slice_axis)
    image = preprocessing(slice_axis)({"image": scan.clone()})["image"]
    values = scan[0].numpy()[scan[0].numpy() > 0]
    world = world_positions(image.affine, image.shape[1:])
    expected = (100 + world[2] - values.mean()) / values.std()
    deep = np.linalg.norm(world - np.array(HEAD_MM)[:, None, None, None], axis=0) < 24
    assert deep.sum() > 1000
    np.testing.assert_allclose(image[0].numpy()[deep], expected[deep], atol=2e-3)


@pytest.mark.parametrize("orientation", ["RAS", "PSR", "AIL"])
def test_inverting_a_map_leaves_the_image_ready_for_another(orientation: str) -> None:
    scan = native_scan(orientation, (14, -11, 8), "axial")
    transform = preprocessing("axial")
    image = transform({"image": scan.clone()})["image"]
    for _ in range(2):
        restored = transform.inverse({"image": MetaTensor(torch.ones(3, *image.shape[1:])).copy_meta_from(image)})
        assert restored["image"].shape == (3, *scan.shape[1:])
        assert len(image.applied_operations) == 2


@pytest.mark.parametrize("slice_axis", AXES)
@pytest.mark.parametrize("orientation", ["RAS", "PSR", "AIL"])
def test_a_volume_of_one_slice_goes_there_and_back(orientation: str, slice_axis: str) -> None:
    axes, flips = ORIENTATIONS[orientation]
    shape_ras, spacing = [48, 48, 48], [1.5, 1.5, 1.5]
    shape_ras[SLICE_AXES[slice_axis]], spacing[SLICE_AXES[slice_axis]] = 1, 6.0
    shape = tuple(shape_ras[axis] for axis in axes)
    ras = affine_of((spacing[0], spacing[1], spacing[2]), (10, -5, 7))
    affine = centred(reoriented(axes, flips, ras), shape, HEAD_MM)
    values = blob(affine, shape, np.array(HEAD_MM), 9.0)
    scan = volume_of(np.where(values > 0.1, values, 0), affine)

    transform = preprocessing(slice_axis)
    image = transform({"image": scan.clone()})["image"]
    assert image.shape[1 + SLICE_AXES[slice_axis]] == 1
    known = blob(image.affine, image.shape[1:], np.array(HEAD_MM), 9.0)
    on_grid = MetaTensor(torch.from_numpy(known.astype(np.float32))[None]).copy_meta_from(image)
    restored = transform.inverse({"image": on_grid})["image"]
    assert restored.shape == scan.shape
    torch.testing.assert_close(restored.affine, scan.affine, atol=1e-9, rtol=0)
    np.testing.assert_allclose(restored[0].numpy(), values, atol=0.03)
