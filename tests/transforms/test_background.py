"""Backgrounds: the mask of a stripped scan is the same, whatever constant lies around its brain."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from transforms import BrainMask
from transforms.background import find_background

AFFINE = torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0], dtype=torch.float64))


def brain(seed: int = 0, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return a brain-like ellipsoid (X, Y, Z) in float32 with 0 around it, and where it is."""
    axes = np.stack(np.meshgrid(*(np.linspace(-1, 1, side),) * 3, indexing="ij"))
    inside = (axes[0] / 0.6) ** 2 + (axes[1] / 0.75) ** 2 + (axes[2] / 0.65) ** 2 < 1
    random = np.random.default_rng(seed)
    tissue = (
        300 + 60 * ndimage.gaussian_filter(random.normal(0, 6, inside.shape), 2) + random.normal(0, 15, inside.shape)
    )
    return np.where(inside, np.clip(tissue, 60, None), 0).astype(np.float32), inside


def mask_of(voxels: np.ndarray) -> tuple[np.ndarray, str | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mask, warning = BrainMask()(MetaTensor(torch.from_numpy(voxels.astype(np.float32))[None], affine=AFFINE))
    return mask[0].numpy() > 0, warning


@given(st.integers(0, 50), st.sampled_from([1.0, -1.0, -1000.0, 37.5, -0.25, 4096.0]))
def test_any_constant_around_the_brain_is_its_background(seed: int, value: float) -> None:
    voxels, inside = brain(seed)
    mask, warning = mask_of(np.where(inside, voxels, value))
    assert np.array_equal(mask, inside)
    assert warning is None


@given(st.integers(0, 50), st.floats(0.001, 1000), st.floats(-500, 500))
def test_scaling_after_stripping_does_not_change_the_mask(seed: int, factor: float, offset: float) -> None:
    voxels, inside = brain(seed)
    mask, warning = mask_of(voxels.astype(np.float64) * factor + factor * offset)
    assert np.array_equal(mask, inside)
    assert warning is None


@pytest.mark.parametrize("seed", range(3))
def test_a_z_score_over_the_file_and_one_in_the_brain_give_the_same_mask(seed: int) -> None:
    voxels, inside = brain(seed)
    in_brain = np.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), 0)
    for normalised in ((voxels - voxels.mean()) / voxels.std(), in_brain, np.where(inside, in_brain, -7)):
        mask, warning = mask_of(normalised)
        assert np.array_equal(mask, inside)
        assert warning is None


def test_the_brains_smallest_value_may_be_the_background() -> None:
    voxels, inside = brain()
    mask, warning = mask_of(np.where(inside, voxels, voxels[inside].min()))
    assert np.count_nonzero(mask != inside) <= np.count_nonzero(voxels == voxels[inside].min())
    assert warning is None


@pytest.mark.parametrize("offset", [0.0, 1.0, -50.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_ringing_of_a_spline_is_background(offset: float, noise: float) -> None:
    voxels, inside = brain()
    zoomed = ndimage.zoom(voxels, 1.3, order=3) + offset
    zoomed = zoomed + np.random.default_rng(0).normal(0, noise, zoomed.shape) if noise else zoomed
    truth = ndimage.zoom(inside.astype(float), 1.3, order=1) >= 0.5
    mask, warning = mask_of(zoomed)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.96
    assert warning is None


def test_a_background_that_cannot_be_recognised_is_named_and_not_the_skull() -> None:
    voxels, inside = brain()
    noisy = np.where(inside, voxels, 250 + np.random.default_rng(0).normal(0, 40, inside.shape))
    assert find_background(noisy) is None
    _, warning = mask_of(noisy)
    assert warning is not None
    assert "background was not recognised" in warning
    assert "skull" not in warning


def test_a_head_whose_air_was_set_to_a_constant_is_named_by_its_length() -> None:
    axes = np.stack(np.meshgrid(*(np.linspace(-1, 1, 60),) * 3, indexing="ij"))
    head = np.linalg.norm(axes, axis=0) < 0.98  # 236 mm
    voxels = np.where(head, 300 + np.random.default_rng(0).normal(0, 15, head.shape), 0)
    for value in (0.0, -1000.0):
        mask, warning = mask_of(np.where(head, voxels, value))
        assert np.array_equal(mask, head)
        assert warning is not None
        assert "longer than a brain" in warning


@pytest.mark.parametrize("padding", [-1000.0, 0.0, 4095.0])
@pytest.mark.parametrize("background", [0.0, -1.0, 1.0])
@pytest.mark.parametrize("places", [[np.s_[:, :, :3]], [np.s_[-2:]], [np.s_[:2], np.s_[-2:], np.s_[:, :3]]])
def test_planes_of_padding_around_the_background_are_not_brain(
    padding: float, background: float, places: list[tuple[slice, ...]]
) -> None:
    voxels, inside = brain()
    padded = np.where(inside, voxels, background)
    for place in places:
        padded[place] = padding
    mask, warning = mask_of(padded)
    assert np.array_equal(mask, inside)
    assert warning is None


def test_zeros_in_a_brain_that_the_scan_cuts_off_are_not_its_background() -> None:
    voxels, inside = brain()
    voxels[19:21, 19:21, 16:26] = 300
    cut = np.where(inside, np.rint(voxels) - 300, -1000)[:, :, 16:26]
    assert (cut[:, :, 0] == 0).any()
    mask, warning = mask_of(cut)
    assert np.array_equal(mask, inside[:, :, 16:26])
    assert warning is None


@pytest.mark.parametrize("noise", [2.0, 5.0])
def test_noise_over_a_stripped_scan_is_named_and_not_the_skull(noise: float) -> None:
    voxels, inside = brain()
    mask, warning = mask_of(np.abs(voxels + np.random.default_rng(0).normal(0, noise, voxels.shape)))
    assert warning is not None
    assert "background was not recognised" in warning
    assert "skull" not in warning
    assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) > 0.9
