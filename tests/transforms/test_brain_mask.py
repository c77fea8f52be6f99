"""The brain mask: given, read from a stripped scan, or the head with a warning; and scans that hold nothing."""

import re
import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from transforms import BrainMask, BrainMaskd

SIDE = 64
AFFINE = torch.diag(torch.tensor([4.0, 4.0, 3.0, 1.0], dtype=torch.float64))  # mm: heads of 220 to 240, brains of 200


def distance_from_centre() -> NDArray[np.float64]:
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    return np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)


def scan(voxels: NDArray[np.floating]) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.asarray(voxels, np.float32))[None], affine=AFFINE)


def stripped_brain() -> MetaTensor:
    """Tissue of 50 to 150 in a ball, with a brighter and a darker part; 0 outside."""
    distance = distance_from_centre()
    rng = np.random.default_rng(0)
    tissue = np.where(distance < 8, 150, np.where(distance < 18, 70, 100)) + rng.normal(0, 5, distance.shape)
    return scan(np.where(distance < 25, tissue, 0))


def head(brain: float = 20, bone: float = 5, scalp: float = 3, air_noise: float = 0) -> MetaTensor:
    """Bright brain, dark bone with little noise, bright scalp; the air is 0, or noise."""
    distance = distance_from_centre()
    rng = np.random.default_rng(0)
    noise = np.abs(rng.normal(0, 1, distance.shape))
    voxels = np.select(
        [distance < brain, distance < brain + bone, distance < brain + bone + scalp],
        [100 + noise, 1 + noise, 80 + noise],
        air_noise * noise,
    )
    return scan(voxels)


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * np.sum(mask & truth) / (mask.sum() + truth.sum()))


def test_a_stripped_scan_gives_its_nonzero_voxels_without_a_warning() -> None:
    image = stripped_brain()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = BrainMaskd()({"image": image})
    np.testing.assert_array_equal(result["mask"][0].numpy(), distance_from_centre() < 25)
    assert "mask_warning" not in result["image"].meta


def test_a_found_mask_has_one_channel_of_zeros_and_ones_on_the_scans_grid() -> None:
    image = stripped_brain()
    mask = BrainMaskd()({"image": image})["mask"]
    assert mask.shape == (1, SIDE, SIDE, SIDE)
    assert mask.dtype == torch.float32
    assert set(np.unique(mask.numpy())) == {0.0, 1.0}
    assert torch.equal(mask.affine, image.affine)


def test_a_voxel_with_tissue_in_any_channel_is_brain() -> None:
    first, second = stripped_brain().as_tensor(), stripped_brain().as_tensor()
    first[:, :, :, : SIDE // 4] = 0
    first[:, :, :, 3 * SIDE // 4 :] = 0
    second[:, :, :, SIDE // 3 : SIDE // 2] = 0
    mask, warning = BrainMask()(torch.cat([first, second]))
    np.testing.assert_array_equal(mask[0].numpy() > 0, distance_from_centre() < 25)
    assert warning is None


def test_the_mask_does_not_depend_on_the_unit_of_the_grey_levels() -> None:
    for image in (stripped_brain(), head()):
        for factor in (1000, 1e36, 1e-30):
            (mask, warning), (other, other_warning) = BrainMask()(image), BrainMask()(image * factor)
            assert torch.equal(mask.as_tensor(), other.as_tensor())
            assert warning == other_warning


@pytest.mark.parametrize(
    ("brain", "bone", "scalp", "air_noise"),
    [
        pytest.param(20, 5, 3, 0, id="thick bone"),
        pytest.param(20, 3, 3, 1, id="thin bone and noise in the air"),
        pytest.param(14, 7, 9, 0, id="thick scalp"),
    ],
)
def test_a_scan_with_its_skull_gives_the_filled_head_and_a_warning(
    brain: float, bone: float, scalp: float, air_noise: float
) -> None:
    result = BrainMaskd()({"image": head(brain, bone, scalp, air_noise)})
    assert "whole head is taken as brain" in result["image"].meta["mask_warning"]
    assert "--mask" in result["image"].meta["mask_warning"]
    truth = distance_from_centre() < brain + bone + scalp
    assert dice(result["mask"][0].numpy() > 0, truth) > 0.93


def test_a_head_that_the_scan_cuts_off_is_filled_too() -> None:
    """Where neck and crown are not in the scan, bone and fluid reach its ends."""
    image, truth = head()[..., 20:44], (distance_from_centre() < 28)[..., 20:44]
    result = BrainMaskd()({"image": image})
    assert "whole head is taken as brain" in result["image"].meta["mask_warning"]
    assert dice(result["mask"][0].numpy() > 0, truth) > 0.93


def test_a_scan_of_the_whole_head_without_zeros_is_not_taken_as_stripped() -> None:
    image = head(air_noise=1)
    assert (image != 0).all()
    assert BrainMask()(image)[1] is not None


def test_a_given_mask_is_used_as_it_is_made_zeros_and_ones() -> None:
    image = head()
    given = torch.zeros(1, SIDE, SIDE, SIDE)
    given[:, 20:40, 10:30, 5:25] = 255
    given[:, 30:40, 10:30, 5:25] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = BrainMaskd()({"image": image, "mask": MetaTensor(given, affine=AFFINE)})
    assert torch.equal(result["mask"].as_tensor(), (given > 0).float())
    assert torch.equal(result["mask"].affine, AFFINE)
    assert "mask_warning" not in result["image"].meta


def test_a_given_mask_may_differ_from_the_scans_affine_by_rounding() -> None:
    affine = AFFINE.clone()
    affine[:3] += 1e-4
    given = torch.ones(1, SIDE, SIDE, SIDE)
    given[:, 0] = given[:, :, 0] = 0
    result = BrainMaskd()({"image": stripped_brain(), "mask": MetaTensor(given, affine=affine)})
    assert torch.equal(result["mask"].as_tensor(), given)


def test_a_given_mask_of_another_shape_is_refused() -> None:
    given = MetaTensor(torch.ones(1, SIDE, SIDE, SIDE - 1), affine=AFFINE)
    with pytest.raises(ValueError, match=r"shape \(64, 64, 63\) is not the scan's \(64, 64, 64\)"):
        BrainMaskd()({"image": stripped_brain(), "mask": given})


@pytest.mark.parametrize(
    ("row", "column", "change"),
    [
        pytest.param(0, 3, 5.0, id="shifted"),
        pytest.param(2, 2, 1.0, id="other spacing"),
        pytest.param(0, 0, -2.0, id="flipped"),
    ],
)
def test_a_given_mask_with_another_affine_is_refused(row: int, column: int, change: float) -> None:
    affine = AFFINE.clone()
    affine[row, column] += change
    given = MetaTensor(torch.ones(1, SIDE, SIDE, SIDE), affine=affine)
    with pytest.raises(ValueError, match="another grid"):
        BrainMaskd()({"image": stripped_brain(), "mask": given})


def test_a_given_mask_that_is_empty_is_refused() -> None:
    given = MetaTensor(torch.zeros(1, SIDE, SIDE, SIDE), affine=AFFINE)
    with pytest.raises(ValueError, match="mask is empty"):
        BrainMaskd()({"image": stripped_brain(), "mask": given})


@pytest.mark.parametrize("value", [np.nan, 0])
def test_a_given_mask_that_is_refused_is_named(value: float) -> None:
    given = MetaTensor(torch.full((1, SIDE, SIDE, SIDE), value), affine=AFFINE, meta={"filename_or_obj": "a/m.nii.gz"})
    with pytest.raises(ValueError, match=r"its brain mask m\.nii\.gz") as raised:
        BrainMaskd()({"image": stripped_brain(), "mask": given})
    assert raised.value.__cause__ is None  # else the message of the cause, without the name, would be shown


@pytest.mark.parametrize("inverted", [False, True])
def test_a_given_mask_that_covers_the_border_is_named(inverted: bool) -> None:
    given = torch.ones(1, SIDE, SIDE, SIDE)
    if inverted:
        given[:, 20:40, 20:40, 20:40] = 0
    meta = {"filename_or_obj": "a/m.nii.gz"}
    result = BrainMaskd()({"image": head(air_noise=1), "mask": MetaTensor(given, affine=AFFINE, meta=meta)})
    warning = result["image"].meta["mask_warning"]
    assert re.match(r"its brain mask m\.nii\.gz covers the border .* whole file, or is inverted", warning)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_and_counted(value: float, with_mask: bool) -> None:
    image = stripped_brain()
    image[0, 30, 30, 28:31] = value
    item = {"image": image}
    if with_mask:
        item["mask"] = MetaTensor(torch.ones(1, SIDE, SIDE, SIDE), affine=AFFINE)
    with pytest.raises(ValueError, match="3 voxels are not finite"):
        BrainMaskd()(item)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_scan_of_one_grey_level_is_refused(value: float, with_mask: bool) -> None:
    item = {"image": scan(np.full((SIDE,) * 3, value))}
    if with_mask:
        item["mask"] = MetaTensor(torch.ones(1, SIDE, SIDE, SIDE), affine=AFFINE)
    with pytest.raises(ValueError, match="same value"):
        BrainMaskd()(item)


def test_a_scan_whose_first_channel_is_empty_is_refused_as_empty() -> None:
    full = stripped_brain().as_tensor()
    with pytest.raises(ValueError, match=r"empty|same value"):
        BrainMask()(torch.cat([torch.zeros_like(full), full]))


def test_a_stripped_scan_that_was_normalised_already_is_no_head() -> None:
    image = stripped_brain()
    voxels = image.as_tensor()
    inside = voxels > 0
    normalised = torch.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), torch.zeros(()))
    mask, warning = BrainMask()(MetaTensor(normalised, affine=AFFINE))
    assert warning is None
    assert torch.equal(mask.as_tensor() > 0, normalised != 0)
