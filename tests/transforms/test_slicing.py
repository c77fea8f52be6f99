"""Volumes become slices and come back, and only healthy slices with enough brain are learned from."""

import pytest
import torch
from monai.data import MetaTensor

from transforms import SLICE_AXES, SelectHealthySlices, SelectHealthySlicesd, slices_to_volume, volume_to_slices

AXES = sorted(SLICE_AXES)


def numbered_volume(slice_axis: str, number: int = 6, side: int = 10, channels: int = 1) -> torch.Tensor:
    """A volume whose voxels hold the number of their slice."""
    shape = [side, side, side]
    shape[SLICE_AXES[slice_axis]] = number
    along = torch.arange(number, dtype=torch.float32)
    view = [number if axis == SLICE_AXES[slice_axis] else 1 for axis in range(3)]
    return along.reshape(view).expand(channels, *shape).clone()


@pytest.mark.parametrize("slice_axis", AXES)
def test_slices_and_volume_are_inverse(slice_axis: str) -> None:
    volume = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    slices = volume_to_slices(volume, slice_axis)
    assert torch.equal(slices_to_volume(slices, slice_axis), volume)
    assert torch.equal(volume_to_slices(slices_to_volume(slices, slice_axis), slice_axis), slices)


def test_slices_are_those_of_the_anatomical_axes_of_a_ras_volume() -> None:
    volume = torch.randn(2, 3, 4, 5)
    assert torch.equal(volume_to_slices(volume, "sagittal")[1], volume[:, 1])
    assert torch.equal(volume_to_slices(volume, "coronal")[2], volume[:, :, 2])
    assert torch.equal(volume_to_slices(volume, "axial")[4], volume[:, :, :, 4])


@pytest.mark.parametrize("slice_axis", AXES)
def test_without_annotation_all_slices_with_brain_are_kept_in_order(slice_axis: str) -> None:
    volume = numbered_volume(slice_axis, channels=2)
    slices = SelectHealthySlices(slice_axis)(volume, torch.ones_like(volume[:1]))
    assert slices.shape == (6, 2, 10, 10)
    assert slices[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("slice_axis", AXES)
def test_annotated_slices_are_left_out_however_faint_the_annotation(slice_axis: str) -> None:
    volume = numbered_volume(slice_axis)
    label = torch.zeros_like(volume)
    of_slices = volume_to_slices(label, slice_axis)  # a view
    of_slices[1, 0, 9, 0] = 1
    of_slices[4, 0, 3, 7] = 0.001
    slices = SelectHealthySlices(slice_axis)(volume, torch.ones_like(volume), label)
    assert slices[:, 0, 0, 0].tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("slice_axis", AXES)
def test_slices_with_too_little_brain_are_left_out(slice_axis: str) -> None:
    volume = numbered_volume(slice_axis, number=4, side=8)
    mask = torch.zeros_like(volume)
    of_slices = volume_to_slices(mask, slice_axis)  # a view
    for number, pixels in enumerate((0, 15, 16, 64)):
        rows, rest = divmod(pixels, 8)
        of_slices[number, 0, :rows] = 1
        of_slices[number, 0, rows : rows + 1, :rest] = 1
    slices = SelectHealthySlices(slice_axis, minimum_brain_share=0.25)(volume, mask)
    assert slices[:, 0, 0, 0].tolist() == [2, 3]  # 16 of 64 pixels are a quarter: just enough


def test_a_scan_that_is_annotated_everywhere_gives_no_slices() -> None:
    volume = torch.randn(1, 8, 8, 5)
    assert SelectHealthySlices()(volume, torch.ones_like(volume), torch.ones_like(volume)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("slice_axis", AXES)
def test_the_dictionary_version_cuts_image_and_mask_alike_and_drops_the_label(slice_axis: str) -> None:
    volume = numbered_volume(slice_axis)
    mask = (volume > 1).float()
    label = (volume == 3).float()
    item = {"image": volume, "mask": mask, "label": label, "name": "case"}
    result = SelectHealthySlicesd(slice_axis=slice_axis)(item)
    assert set(result) == {"image", "mask", "name"}
    assert result["image"][:, 0, 0, 0].tolist() == [2, 4, 5]
    assert result["mask"].shape == result["image"].shape
    assert result["mask"].all()
    assert "label" in item  # the caller's own dictionary is left alone


def test_a_label_is_optional_in_the_dictionary() -> None:
    volume = numbered_volume("axial")
    result = SelectHealthySlicesd()({"image": volume, "mask": torch.ones_like(volume)})
    assert len(result["image"]) == len(result["mask"]) == 6


def test_scans_with_an_affine_are_cut_as_plain_ones() -> None:
    volume = numbered_volume("axial")
    mask, label = (volume > 0).float(), (volume == 2).float()
    plain = SelectHealthySlicesd()({"image": volume, "mask": mask, "label": label})
    with_affine = SelectHealthySlicesd()(
        {"image": MetaTensor(volume), "mask": MetaTensor(mask), "label": MetaTensor(label)}
    )
    for key in ("image", "mask"):
        assert torch.equal(torch.as_tensor(with_affine[key]), plain[key])
