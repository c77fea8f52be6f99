"""Bias field: planted fields are taken out, and a scan that has none, or cannot be corrected, is left alone."""

import functools

import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor

from transforms import CorrectBiasField, CorrectBiasFieldd

SPACING = 3.0
LENGTHS = (174.0, 204.0, 162.0)
GREY, WHITE, FLUID = 620.0, 1000.0, 250.0
N4 = CorrectBiasField(spacing=6.0)
"""Coarser than the default, so that a test needs half a second."""


def radius_of(spacing: float) -> np.ndarray:
    """Return the distance (X, Y, Z) from the centre of the head, 1 at its border."""
    axes = [np.arange(0, length, spacing) - length / 2 for length in LENGTHS]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt((x / 68) ** 2 + (y / 85) ** 2 + (z / 65) ** 2)


@functools.cache
def head(spacing: float = SPACING) -> tuple[np.ndarray, np.ndarray]:
    """Return a T1-like brain (X, Y, Z) of three tissues, 0 outside, and its mask."""
    radius = radius_of(spacing)
    x, y, z = np.meshgrid(*(np.arange(n) * spacing for n in radius.shape), indexing="ij")
    folds = 0.78 + 0.08 * np.sin(x / 5) * np.sin(y / 6) * np.sin(z / 5)
    tissue = np.where(radius < folds, WHITE, GREY)
    tissue = np.where((radius < 0.25) | (radius > 0.96), FLUID, tissue)
    noisy = np.abs(tissue + np.random.default_rng(0).normal(0, 20, tissue.shape))
    return np.where(radius < 1, noisy, 0).astype(np.float32), radius < 1


def field(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return a field (X, Y, Z) of about +-30 % inside the head: from left to right, or of a coil on one side."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    if kind == "left to right":
        return (1 + 0.35 * x).astype(np.float32)
    return (2.6 / (1 + ((x + 2) ** 2 + y**2 + z**2) / 2.6)).astype(np.float32)


def scan_of(voxels: np.ndarray, spacing: tuple[float, ...] = (SPACING,) * 3) -> MetaTensor:
    volume = torch.from_numpy(np.ascontiguousarray(voxels))
    return MetaTensor(volume[None] if volume.ndim == 3 else volume, affine=torch.diag(torch.tensor([*spacing, 1.0])))


def mask_of(brain: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(brain)[None].astype(np.float32))


def correct(voxels: np.ndarray, brain: np.ndarray, spacing: tuple[float, ...] = (SPACING,) * 3) -> np.ndarray:
    """Return a corrected scan (X, Y, Z), which must not be warned of."""
    result, warning = N4(scan_of(voxels, spacing), mask_of(brain))
    assert warning is None
    return result[0].numpy()


@functools.cache
def coil_on_a_head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a head with the shading of a coil, the same corrected, and the mask."""
    voxels, brain = head()
    shaded = voxels * field(voxels.shape, "coil")
    return shaded, correct(shaded, brain), brain


def left_of(planted: np.ndarray, shaded: np.ndarray, corrected: np.ndarray, brain: np.ndarray) -> float:
    """Return the spread of what is left of a planted field, as a share of its own spread (in logarithms)."""
    inside = brain & (shaded > 0)
    wanted, found = np.log(planted[inside]), np.log(shaded[inside] / corrected[inside])
    return float((wanted - found).std() / wanted.std())


def variation(voxels: np.ndarray, tissue: np.ndarray) -> float:
    """Return the coefficient of variation inside a tissue."""
    return float(voxels[tissue].std() / voxels[tissue].mean())


@pytest.mark.parametrize("kind", ["left to right", "coil"])
def test_a_planted_field_is_taken_out(kind: str) -> None:
    voxels, brain = head()
    planted = field(voxels.shape, kind)
    corrected = correct(voxels * planted, brain)
    assert left_of(planted, voxels * planted, corrected, brain) < 0.1
    white = brain & (voxels > 900)
    assert variation(voxels * planted, white) > 4 * variation(corrected, white)
    assert variation(corrected, white) == pytest.approx(variation(voxels, white), rel=0.15)


def test_without_a_field_hardly_anything_changes() -> None:
    voxels, brain = head()
    change = correct(voxels, brain)[brain] / voxels[brain] - 1
    assert np.abs(change).max() < 0.03
    assert change.std() < 0.01


def test_a_large_lesion_keeps_its_contrast() -> None:
    """A dark lesion with a diameter of 44 mm: at most a tenth of its depth may be taken for shading."""
    voxels, brain = head()
    places = np.stack(np.meshgrid(*(np.arange(n) * SPACING for n in voxels.shape), indexing="ij"))
    lesion = brain & (np.linalg.norm(places - np.array([125, 100, 90])[:, None, None, None], axis=0) < 22)
    ratio = correct(np.where(lesion, 0.5 * voxels, voxels), brain) / np.where(brain, correct(voxels, brain), 1)
    contrast = ratio[lesion].mean() / ratio[brain & ~lesion].mean()
    assert np.log(contrast) / np.log(0.5) > 0.9


def test_a_smooth_lesion_of_a_single_slice_keeps_three_quarters_of_its_contrast() -> None:
    """Its edge is as soft as shading, and it is 33 mm wide: with one level more N4 leaves a fifth of it."""
    voxels, brain = (volume[:, :, 26:27] for volume in head())
    x, y = np.meshgrid(*(np.arange(n) * SPACING for n in voxels.shape[:2]), indexing="ij")
    profile = np.exp(-((x - 120) ** 2 + (y - 100) ** 2) / 2 / 14**2)[..., None]
    lesion, elsewhere = brain & (profile > 0.5), brain & (profile < 0.1)
    bright = 1 + 0.4 * profile
    ratio = correct((bright * voxels).astype(np.float32), brain) / np.where(brain, correct(voxels, brain), 1)
    assert np.log(ratio[lesion].mean() / ratio[elsewhere].mean()) / np.log(bright[lesion].mean()) > 0.75


def test_the_mean_inside_the_mask_and_the_background_stay() -> None:
    shaded, corrected, brain = coil_on_a_head()
    assert corrected[brain].mean() == pytest.approx(shaded[brain].mean(), rel=1e-5)
    assert (corrected[~brain] == 0).all()


@pytest.mark.parametrize(("factor", "offset"), [(1.0, -1000.0), (0.002, -1.0), (1e30, 0.0), (1e-30, 0.0), (1.0, 7.0)])
def test_grey_levels_count_from_the_background(factor: float, offset: float) -> None:
    """Scaled scans have a background of another value than 0; a z-score that includes the background is one of them."""
    shaded, corrected, brain = coil_on_a_head()
    scaled = correct((factor * shaded.astype(np.float64) + offset).astype(np.float32), brain)
    assert (scaled[~brain] == np.float32(offset)).all()
    np.testing.assert_allclose(scaled, factor * corrected.astype(np.float64) + offset, rtol=1e-3, atol=factor)


def test_voxels_outside_a_given_mask_are_corrected_too() -> None:
    """A head in noisy air: the field goes on around the brain that it was fitted to."""
    voxels, brain = head()
    inner = radius_of(SPACING) < 0.85
    noisy = voxels + np.random.default_rng(1).rayleigh(5, voxels.shape).astype(np.float32)
    planted = field(voxels.shape, "left to right")
    corrected = correct(noisy * planted, inner)
    assert left_of(planted, noisy * planted, corrected, brain & ~inner) < 0.25


def test_padding_of_another_value_stays() -> None:
    voxels, brain = head()
    padded, around = np.pad(voxels, 4, constant_values=-5), np.pad(brain, 4)
    corrected = correct(padded * np.where(padded < 0, 1, field(padded.shape, "coil")), around)
    assert (corrected[:4] == -5).all()
    assert (corrected[..., -4:] == -5).all()


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_the_order_and_direction_of_the_axes_do_not_matter(order: tuple[int, ...]) -> None:
    shaded, corrected, brain = coil_on_a_head()
    turned, turned_brain = (volume.transpose(order)[::-1] for volume in (shaded, brain))
    back = correct(turned, turned_brain)[::-1].transpose(np.argsort(order))
    np.testing.assert_allclose(back[brain], corrected[brain], rtol=0.03)


def test_the_place_of_the_scan_in_space_does_not_matter() -> None:
    shaded, corrected, brain = coil_on_a_head()
    oblique = np.array([[2.9, -0.7, 0, 50], [0.7, 2.9, 0, -7], [0, 0, -((2.9**2 + 0.7**2) ** 0.5), 9], [0, 0, 0, 1]])
    scan = MetaTensor(torch.from_numpy(shaded)[None], affine=torch.from_numpy(oblique))
    result, _ = N4(scan, mask_of(brain))
    np.testing.assert_allclose(result[0].numpy(), corrected, rtol=0.01)


def test_a_finer_scan_of_the_same_head_gets_the_same_field() -> None:
    found = []
    for spacing in (1.5, 3.0):
        voxels, brain = head(spacing)
        shaded = voxels * field(voxels.shape, "coil")
        inside = np.where(brain & (shaded > 0), shaded, 1)
        ratio = np.where(brain, correct(shaded, brain, (spacing,) * 3) / inside, 0)
        found.append(ratio[:: round(3 / spacing), :: round(3 / spacing), :: round(3 / spacing)])
    both = (found[0] > 0) & (found[1] > 0)
    np.testing.assert_allclose(found[0][both], found[1][both], rtol=0.03)


@pytest.mark.parametrize(("axis", "slices"), [(2, 1), (2, 2), (2, 3), (2, 8), (0, 1), (1, 1)])
def test_a_single_slice_and_a_thin_slab_are_corrected(axis: int, slices: int) -> None:
    voxels, brain = head()
    places, spacing = [slice(None)] * 3, [SPACING] * 3
    places[axis], spacing[axis] = slice(24, 24 + slices), 5.0
    ramp = np.linspace(0.65, 1.35, voxels.shape[(axis + 1) % 3], dtype=np.float32)
    planted = np.broadcast_to(np.moveaxis(ramp[:, None, None], 0, (axis + 1) % 3), voxels.shape)[tuple(places)]
    shaded, inside = voxels[tuple(places)] * planted, brain[tuple(places)]
    corrected = correct(shaded, inside, tuple(spacing))
    assert corrected.shape == shaded.shape
    assert left_of(planted, shaded, corrected, inside) < 0.15


def test_a_mask_of_one_slice_in_a_volume_is_enough() -> None:
    voxels, brain = head()
    one = np.zeros_like(brain)
    one[:, :, 26] = brain[:, :, 26]
    planted = field(voxels.shape, "left to right")
    shaded = voxels * planted
    assert left_of(planted, shaded, correct(shaded, one), one) < 0.15


def left_alone(voxels: np.ndarray, brain: np.ndarray) -> str:
    """Return the warning about a scan that must stay as it is."""
    result, warning = N4(scan_of(voxels), mask_of(brain))
    np.testing.assert_array_equal(result[0].numpy(), voxels)
    assert warning is not None
    return warning


def test_a_scan_that_was_normalised_inside_its_brain_is_left_alone() -> None:
    voxels, brain = head()
    z_scores = np.where(brain, (voxels - voxels[brain].mean()) / voxels[brain].std(), 0).astype(np.float32)
    assert "z-score" in left_alone(z_scores, brain)


def test_a_scan_of_two_grey_levels_stays_finite() -> None:
    voxels, brain = head()
    corrected = correct(np.where(voxels > 800, 2, brain).astype(np.float32), brain)
    assert np.isfinite(corrected).all()


def test_what_gives_no_field_is_left_alone() -> None:
    voxels, brain = head()
    assert "one grey level" in left_alone(np.where(brain, 5, 0).astype(np.float32), brain)
    assert "one grey level" in left_alone(np.zeros_like(voxels), brain)
    assert "one grey level" in left_alone(voxels, np.zeros_like(brain))
    broken = voxels.copy()
    broken[brain] = np.where(np.arange(brain.sum()) % 9 == 0, np.nan, voxels[brain])
    assert "not finite" in left_alone(broken, brain)
    small = np.zeros_like(brain)
    small[25:30, 30:35, 25:30] = True
    assert "it has 125 points" in left_alone(voxels, small)


def test_each_channel_is_corrected_by_itself() -> None:
    (voxels, brain), (shaded, corrected, _) = head(), coil_on_a_head()
    result, warning = N4(scan_of(np.stack([voxels, shaded])), mask_of(brain))
    assert warning is None
    np.testing.assert_array_equal(result[0].numpy(), correct(voxels, brain))
    np.testing.assert_array_equal(result[1].numpy(), corrected)


def test_a_channel_that_cannot_be_corrected_is_named_and_the_others_are_corrected() -> None:
    shaded, corrected, brain = coil_on_a_head()
    constant = np.where(brain, 5, 0).astype(np.float32)
    result, warning = N4(scan_of(np.stack([shaded, constant])), mask_of(brain))
    assert warning == "its bias field was not corrected: channel 1: its brain has only one grey level"
    np.testing.assert_array_equal(result[0].numpy(), corrected)


def test_the_number_of_threads_changes_nothing_and_stays() -> None:
    shaded, _, brain = coil_on_a_head()
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for number in (1, 5):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
            results.append(correct(shaded, brain))
            assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == number
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    np.testing.assert_array_equal(*results)


def test_the_dictionary_version_is_the_same_and_keeps_affine_and_meta() -> None:
    shaded, corrected, brain = coil_on_a_head()
    scan = scan_of(shaded)
    scan.meta["mask_warning"] = "the head"
    before = scan.clone()
    item = {"image": scan, "brain": mask_of(brain), "label": "kept"}
    result = CorrectBiasFieldd("image", mask_key="brain", spacing=6.0)(item)
    np.testing.assert_array_equal(result["image"][0].numpy(), corrected)
    assert isinstance(result["image"], MetaTensor)
    assert torch.equal(result["image"].affine, scan.affine)
    assert result["image"].meta["mask_warning"] == "the head"
    assert "bias_field_warning" not in result["image"].meta
    assert result["label"] == "kept"
    assert torch.equal(item["image"], before)


def test_the_dictionary_version_keeps_the_warning_in_meta() -> None:
    _, brain = head()
    item = {"image": scan_of(np.where(brain, 5, 0).astype(np.int16)), "mask": mask_of(brain)}
    with pytest.warns(UserWarning, match="one grey level"):
        result = CorrectBiasFieldd("image")(item)
    assert "one grey level" in result["image"].meta["bias_field_warning"]
    assert result["image"].dtype == torch.float32
