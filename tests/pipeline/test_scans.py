"""Scans as people give them: names, masks, and what is refused."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import ball, save_scan

from pipeline.errors import ScanError, UsageError
from pipeline.scans import check_scan, find_cases, read_header


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_case_is_named_by_its_file(tmp_path: Path) -> None:
    touch(tmp_path / "Müller scan.v2.nii.gz", tmp_path / "b.nii", tmp_path / "notes.txt")
    assert {case.name for case in find_cases([tmp_path])} == {"b", "Müller scan.v2"}


def test_folders_are_searched_recursively_and_clashes_get_parent_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x" / "t1.nii.gz", tmp_path / "b" / "x" / "t1.nii.gz", tmp_path / "flair.nii.gz")
    assert {case.name for case in find_cases([tmp_path])} == {"a_x_t1", "b_x_t1", "flair"}


def test_two_files_of_one_name_in_one_folder_do_not_collide(tmp_path: Path) -> None:
    touch(tmp_path / "s.nii")
    with pytest.raises(UsageError, match="given twice"):
        find_cases([tmp_path / "s.nii", tmp_path / "s.nii"])


def test_a_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "...nii.gz", tmp_path / "a<b>|c.nii.gz")
    for case in find_cases([tmp_path]):
        assert (tmp_path / case.name).resolve().parent == tmp_path.resolve()
        assert case.name == Path(case.name).name


def test_a_datalist_gives_all_its_splits(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "c.nii.gz")
    (tmp_path / "d.json").write_text(
        json.dumps({"one": [{"image": ["a.nii.gz", "b.nii.gz"]}], "two": [{"image": "c.nii.gz"}]})
    )
    cases = find_cases([tmp_path / "d.json"])
    assert [case.name for case in cases] == ["a", "c"]
    assert cases[0].entry["image"] == [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]


def test_masks_pair_by_position(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.nii", "b.nii", "ma.nii", "mb.nii")))
    cases = find_cases([tmp_path / "a.nii", tmp_path / "b.nii"], [tmp_path / "ma.nii", tmp_path / "mb.nii"])
    assert [Path(case.entry["mask"]).name for case in cases] == ["ma.nii", "mb.nii"]
    with pytest.raises(UsageError, match="1 masks for 2 scans"):
        find_cases([tmp_path / "a.nii", tmp_path / "b.nii"], [tmp_path / "ma.nii"])


def test_masks_in_a_folder_pair_by_name_or_by_its_part_before_the_last_underscore(tmp_path: Path) -> None:
    touch(*(tmp_path / "scans" / name for name in ("sub-1_T1.nii.gz", "sub-10_T1.nii.gz", "x.nii.gz")))
    touch(*(tmp_path / "masks" / name for name in ("sub-1_brain.nii.gz", "sub-10_brain.nii.gz", "x_bet.nii.gz")))
    cases = find_cases([tmp_path / "scans"], [tmp_path / "masks"])
    assert {case.name: Path(case.entry["mask"]).name for case in cases} == {
        "sub-1_T1": "sub-1_brain.nii.gz",
        "sub-10_T1": "sub-10_brain.nii.gz",
        "x": "x_bet.nii.gz",
    }


def test_a_scan_without_its_mask_in_the_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "a.nii.gz", tmp_path / "masks" / "b.nii.gz")
    with pytest.raises(UsageError, match="no mask for the scan a"):
        find_cases([tmp_path / "scans"], [tmp_path / "masks"])


def test_masks_inside_the_scans_folder_are_no_scans(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "masks" / "a_mask.nii.gz")
    assert [case.name for case in find_cases([tmp_path], [tmp_path / "masks"])] == ["a"]


def test_nothing_found_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scan found"):
        find_cases([tmp_path])
    with pytest.raises(UsageError, match="no such file"):
        find_cases([tmp_path / "gone.nii.gz"])


def test_a_good_scan_passes(tmp_path: Path) -> None:
    check_scan({"image": str(save_scan(tmp_path / "a.nii.gz", ball()))})


def test_a_one_slice_scan_passes(tmp_path: Path) -> None:
    check_scan({"image": str(save_scan(tmp_path / "a.nii.gz", ball()[:, :, 17:18]))})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"nothing", "not a readable NIfTI"), (b"\x1f\x8b" + bytes(100), "not a readable NIfTI")],
)
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(ScanError, match=message):
        read_header(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((20, 20), np.int16), "not that of a volume"),
        (np.zeros((20, 20, 20, 3), np.int16), "holds 3 volumes"),
        (np.zeros((20, 1, 1), np.int16), "not that of a head"),
        (np.zeros((5000, 20, 8), np.uint8), "not that of a head"),
        (np.zeros((20, 20, 20), np.complex64), "complex"),
        (np.zeros((20, 20, 20), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
    ],
)
def test_what_is_no_grey_volume_is_refused(tmp_path: Path, voxels: np.ndarray, message: str) -> None:
    nib.save(nib.nifti1.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ScanError, match=message):
        read_header(tmp_path / "a.nii")


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    image = nib.nifti1.Nifti1Image(np.zeros((20, 20, 20), np.int16), np.eye(4))
    image.header["srow_x"] = 0
    image.header["sform_code"] = 2
    with open(tmp_path / "a.nii", "wb") as stream:
        stream.write(image.header.binaryblock + bytes(4) + bytes(image.get_fdata().astype(np.int16).tobytes()))
    with pytest.raises(ScanError, match="singular"):
        read_header(tmp_path / "a.nii")


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    first = save_scan(tmp_path / "a.nii.gz", ball())
    second = save_scan(tmp_path / "b.nii.gz", ball(), np.diag([4.0, 4.0, 5.0, 1.0]))
    with pytest.raises(ScanError, match=r"b.nii.gz lies on another grid"):
        check_scan({"image": [str(first), str(second)]})


def test_another_patients_mask_is_not_taken(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "patient_01.nii.gz", tmp_path / "scans" / "patient_02.nii.gz")
    touch(tmp_path / "masks" / "patient_01_mask.nii.gz")
    with pytest.raises(UsageError, match="no mask for the scan patient_02"):
        find_cases([tmp_path / "scans"], [tmp_path / "masks"])


def test_one_mask_does_not_serve_two_scans(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "sub-1_T1.nii.gz", tmp_path / "scans" / "sub-1_T2.nii.gz")
    touch(tmp_path / "masks" / "sub-1_brain.nii.gz")
    with pytest.raises(UsageError, match="fits several scans"):
        find_cases([tmp_path / "scans"], [tmp_path / "masks"])


def test_a_relative_mask_folder_inside_the_scans_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "w" / "a.nii.gz", tmp_path / "w" / "m" / "a_mask.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert [case.name for case in find_cases(["w"], ["w/m"])] == ["a"]


@pytest.mark.parametrize("role", ["mask", "label"])
def test_a_mask_or_label_on_another_grid_is_refused(tmp_path: Path, role: str) -> None:
    scan = save_scan(tmp_path / "a.nii.gz", ball())
    other = save_scan(tmp_path / "b.nii.gz", ball(), np.diag([-4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(ScanError, match=f"its {role} b.nii.gz lies on another grid"):
        check_scan({"image": str(scan), role: str(other)})
