"""Grids: masks and labels in any of the 48 storage orders are those of the scan, and real misfits are refused."""

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dicom_series import write_series
from helpers import ball, save_scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, inv_ornt_aff

from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.prediction.predicting import predict
from pipeline.scans.checks import check_scan
from pipeline.scans.dicom_series import find_series
from pipeline.scans.formats import as_nifti
from pipeline.scans.labels import read_label
from pipeline.training.slice_bank import SliceBank

SHAPE = (11, 9, 10)
AFFINE = np.array([[3.2, 0.9, -1.1, -70], [-1.1, 2.7, 1.2, 80.5], [0.9, -1.0, 4.1, -60.1], [0, 0, 0, 1]])
"""Oblique, with sides of 3.5, 3 and 4.4 mm."""
ORDERS = [
    np.stack([axes, flips], axis=1).astype(float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([1, -1], repeat=3)
]
SOME = [ORDERS[number] for number in (0, 2, 7, 13, 22, 35, 47)]


def stored(file: Path, voxels: np.ndarray, order: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    """Write voxels of a grid in another storage order."""
    return str(save_scan(file, apply_orientation(voxels, order), affine @ inv_ornt_aff(order, voxels.shape)))


def random_voxels(kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2, SHAPE).astype(kind)


def test_every_order_is_the_same_grid_voxel_for_voxel(tmp_path: Path) -> None:
    scan, voxels = str(save_scan(tmp_path / "a.nii", np.zeros(SHAPE, np.int16), AFFINE)), random_voxels()
    assert len({order.tobytes() for order in ORDERS}) == 48
    for order in ORDERS:
        part = stored(tmp_path / "b.nii", voxels, order)
        entry = Entry((scan,), part, part)
        check_scan(entry)
        assert np.array_equal(read_label(entry).voxels, voxels > 0)
        with as_nifti(entry) as files:
            for file in (files.mask, files.label):
                image = nib.nifti1.load(file)
                assert np.array_equal(np.asanyarray(image.dataobj), voxels)
                assert np.allclose(image.affine, AFFINE, atol=1e-4)


@given(st.sampled_from(ORDERS), st.sampled_from([np.uint8, np.int16, np.float32, np.float64]), st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_values_are_kept_whatever_their_type(tmp_path: Path, order: np.ndarray, kind: type, fourth: bool) -> None:
    share = np.random.default_rng(4).uniform(0.6, 1, SHAPE) if kind in (np.float32, np.float64) else 1
    voxels = (random_voxels() * share).astype(kind)
    scan = str(save_scan(tmp_path / "a.nii", np.zeros(SHAPE, np.int16), AFFINE))
    affine = AFFINE @ inv_ornt_aff(order, SHAPE)
    moved = apply_orientation(voxels, order)
    save_scan(tmp_path / "b.nii", moved[..., None] if fourth else moved, affine)
    with as_nifti(Entry((scan,), str(tmp_path / "b.nii"))) as files:
        assert np.array_equal(np.asanyarray(nib.nifti1.load(files.mask).dataobj).reshape(SHAPE), voxels)


def shifted(affine: np.ndarray) -> np.ndarray:
    return affine @ np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def coarser(affine: np.ndarray) -> np.ndarray:
    return affine @ np.diag([1.1, 1, 1, 1])


def mirrored(affine: np.ndarray) -> np.ndarray:
    return np.diag([-1, 1, 1, 1]) @ affine


@pytest.mark.parametrize("order", SOME)
@pytest.mark.parametrize("spoil", [shifted, coarser, mirrored])
def test_another_grid_is_refused_in_every_order(tmp_path: Path, order: np.ndarray, spoil: object) -> None:
    assert callable(spoil)
    cube = (10, 10, 10)
    entry = Entry((str(save_scan(tmp_path / "a.nii", np.zeros(cube, np.int16), AFFINE)),))
    part = stored(tmp_path / "b.nii", np.ones(cube, np.uint8), order, spoil(AFFINE))
    for role in ("mask", "label"):
        with pytest.raises(ScanError, match=rf"its {role} b.nii lies on another grid; resample it"):
            check_scan(replace(entry, **{role: part}))


def test_a_cut_mask_is_refused_by_its_shape(tmp_path: Path) -> None:
    scan = str(save_scan(tmp_path / "a.nii", np.zeros(SHAPE, np.int16), AFFINE))
    part = stored(tmp_path / "b.nii", random_voxels()[:, :, :9], ORDERS[22])
    with pytest.raises(ScanError, match=r"the shape .*, not the scan's 11 x 9 x 10"):
        check_scan(Entry((scan,), part))


def test_channels_are_stacked_as_they_are(tmp_path: Path) -> None:
    scan = str(save_scan(tmp_path / "a.nii", random_voxels(np.int16), AFFINE))
    for order in SOME[1:]:
        with pytest.raises(ScanError, match=r"its channel b\.nii"):
            check_scan(Entry((scan, stored(tmp_path / "b.nii", random_voxels(np.int16), order))))


def half_brain(shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask that is the same in no two orders."""
    brain = np.zeros(shape, np.uint8)
    brain[14:30, 10:41, 9:29] = 1
    return brain


def maps_of(run: Path, mask: str, image: str, folder: Path) -> dict[str, np.ndarray]:
    (result,) = predict(run, [image], folder, masks=[mask], device="cpu")
    assert result.status == "done", result.reason
    files = sorted((folder / result.case).glob("*.nii.gz"))
    return {file.name: np.asanyarray(nib.nifti1.load(file).dataobj) for file in files}


@pytest.mark.parametrize("order", SOME[1::2])
def test_the_maps_are_the_same_with_the_mask_in_any_order(run: Path, tmp_path: Path, order: np.ndarray) -> None:
    scan = str(save_scan(tmp_path / "a.nii.gz", ball(), AFFINE))
    masks = [
        stored(tmp_path / f"{i}.nii.gz", half_brain(ball().shape), kind) for i, kind in enumerate((SOME[0], order))
    ]
    plain, moved = (maps_of(run, mask, scan, tmp_path / f"out{i}") for i, mask in enumerate(masks))
    assert any(np.ptp(voxels) > 0 for voxels in plain.values())
    assert plain.keys() == moved.keys()
    assert all(np.array_equal(plain[name], moved[name]) for name in plain)


def test_a_mask_as_dcm2niix_stores_a_dicom_series_fits_it(run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", ball(), (3.1, 3.2, 4.5))
    (series,) = find_series(tmp_path / "dicom")
    affine, brain = series.read().affine, half_brain(ball().shape)
    flipped = np.array([[0, 1], [1, -1], [2, 1]])  # rows from the last to the first
    masks = [stored(tmp_path / f"{i}.nii.gz", brain, order, affine) for i, order in enumerate((SOME[0], flipped))]
    plain, moved = (maps_of(run, mask, str(tmp_path / "dicom"), tmp_path / f"out{i}") for i, mask in enumerate(masks))
    assert all(np.array_equal(plain[name], moved[name]) for name in plain)


def test_training_gets_mask_and_label_in_the_order_of_the_scan(tmp_path: Path) -> None:
    scan, voxels = str(save_scan(tmp_path / "a.nii", random_voxels(np.int16), AFFINE)), random_voxels()
    entries = [
        Entry((scan,), part, part) for part in (stored(tmp_path / f"{i}.nii", voxels, SOME[i]) for i in range(3))
    ]
    for number, entry in enumerate(entries):
        batch = SliceBank([entry], mask_times_label, tmp_path / f"bank{number}")[range(SHAPE[0])]
        assert np.array_equal(batch["image"][:, 0], voxels)
        assert np.array_equal(batch["mask"][:, 0], voxels)


def mask_times_label(item: dict) -> dict:
    image, mask, label = (nib.nifti1.load(item[key]).get_fdata() for key in ("image", "mask", "label"))
    assert np.array_equal(image, label)
    return {"image": MetaTensor(image)[:, None], "mask": torch.from_numpy(mask)[:, None]}
