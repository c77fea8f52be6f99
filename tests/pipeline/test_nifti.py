"""NIfTI files lie exactly on their scan and carry nothing else of it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.nifti import Meaning, copy_of, on_grid_of, write

AFFINES = {
    "RAS": np.diag([2.0, 2.0, 3.0, 1.0]),
    "PSR": np.array([[0, 0, 2.0, -80], [-2.0, 0, 0, 90], [0, 2.0, 0, -60], [0, 0, 0, 1]]),
    "oblique": np.array([[1.9, -0.5, 0.1, 3], [0.5, 1.9, 0.2, -7], [-0.15, -0.15, 2.9, 11], [0, 0, 0, 1]]),
}


def scan_with(affine: np.ndarray, sform: int = 2, qform: int = 1) -> nib.nifti1.Nifti1Image:
    scan = nib.nifti1.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    scan.set_qform(affine, qform, strip_shears=True)
    scan.set_sform(affine, sform)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["descrip"] = b"Jane Doe"
    scan.header["aux_file"] = b"born 1970"
    scan.header["intent_name"] = b"Jane"
    scan.header["db_name"] = b"Doe"
    scan.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    return scan


@pytest.mark.parametrize("codes", [(2, 1), (0, 1), (4, 0), (1, 3)])
@pytest.mark.parametrize("name", AFFINES)
def test_geometry_survives_on_disk_bit_for_bit(tmp_path: Path, name: str, codes: tuple[int, int]) -> None:
    nib.save(scan_with(AFFINES[name], *codes), tmp_path / "scan.nii.gz")
    scan = nib.nifti1.Nifti1Image.from_filename(tmp_path / "scan.nii.gz")
    write(on_grid_of(scan, np.ones(scan.shape, np.float32)), tmp_path / "map.nii.gz")
    written = nib.nifti1.Nifti1Image.from_filename(tmp_path / "map.nii.gz")
    assert written.shape == scan.shape
    assert np.array_equal(written.affine, scan.affine)
    assert written.get_data_dtype() == np.float32
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "srow_z", "xyzt_units"):
        assert np.array_equal(written.header[field], scan.header[field]), field


def test_nothing_of_the_header_that_could_name_a_patient_is_copied(tmp_path: Path) -> None:
    write(copy_of(scan_with(AFFINES["RAS"])), tmp_path / "copy.nii")
    content = (tmp_path / "copy.nii").read_bytes()
    assert b"Jane" not in content
    assert b"1970" not in content


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.float32, np.float64])
def test_a_copy_has_the_scans_voxels(dtype: str) -> None:
    voxels = np.arange(24).reshape(2, 3, 4).astype(dtype)
    copy = copy_of(nib.nifti1.Nifti1Image(voxels, AFFINES["PSR"]))
    assert np.array_equal(np.asarray(copy.dataobj), voxels)
    assert copy.get_data_dtype() == np.dtype(dtype).newbyteorder("=")


def test_a_copy_of_scaled_integers_has_the_scaled_values(tmp_path: Path) -> None:
    scan = nib.nifti1.Nifti1Image(np.linspace(-1, 1, 24).reshape(2, 3, 4), AFFINES["RAS"])
    scan.set_data_dtype(np.int16)
    nib.save(scan, tmp_path / "scaled.nii.gz")
    copy = copy_of(nib.nifti1.Nifti1Image.from_filename(tmp_path / "scaled.nii.gz"))
    assert np.asarray(copy.dataobj) == pytest.approx(np.linspace(-1, 1, 24).reshape(2, 3, 4), abs=1e-4)
    assert copy.get_data_dtype() == np.float32


def test_a_fourth_axis_of_length_one_is_dropped() -> None:
    scan = nib.nifti1.Nifti1Image(np.zeros((2, 3, 4, 1), np.int16), AFFINES["RAS"])
    assert copy_of(scan).shape == (2, 3, 4)


def test_voxels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not lie on"):
        on_grid_of(scan_with(AFFINES["RAS"]), np.zeros((4, 3, 2), np.float32))


def test_the_header_of_a_map_says_what_it_is(tmp_path: Path) -> None:
    scan = scan_with(AFFINES["RAS"])
    meaning = Meaning("number of the cluster", "label", (0, 7))
    write(on_grid_of(scan, np.ones(scan.shape, np.uint16), meaning), tmp_path / "map.nii.gz")
    header = nib.nifti1.load(tmp_path / "map.nii.gz").header
    assert header["descrip"].item() == b"number of the cluster"
    assert header.get_intent()[0] == "label"
    assert (header["cal_min"], header["cal_max"]) == (0, 7)
