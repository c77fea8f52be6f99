"""DICOM series: found and told apart in folders of all kinds, and no patient in sight."""

import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import ENHANCED_MR, PATIENT, element, write_dicom, write_report, write_series

from pipeline.errors import ScanError
from pipeline.scans.dicom_series import Series, find_series

VOXELS = np.random.default_rng(0).integers(-50, 900, (18, 14, 9)).astype(np.int16)
IDENTITY = ("mustermann", "erika", "4711", "19640812")


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def voxels(image: nib.nifti1.Nifti1Image) -> np.ndarray:
    return np.asanyarray(image.dataobj)


def test_series_are_told_apart_in_one_folder_and_in_nested_ones(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, number=2, start="A", suffix="")
    write_series(tmp_path, VOXELS + 1, number=3, start="B")
    write_series(tmp_path / "Ümläut and blank" / "deep", VOXELS + 2, number=None)
    write_series(tmp_path / ".hidden", VOXELS)
    write_series(tmp_path / ".series-2.partial", VOXELS)
    found = {series.name: series for series in find_series(tmp_path)}
    assert len(found) == 3
    assert sorted(name.split("_")[0] for name in found) == ["series", "series-2", "series-3"]
    by_start = {name.split("_")[0]: voxels(series.read()) for name, series in found.items()}
    for name, truth in (("series-2", VOXELS), ("series-3", VOXELS + 1), ("series", VOXELS + 2)):
        assert np.array_equal(by_start[name], truth)
    assert find_series(tmp_path) == list(found.values())


def test_a_series_spread_over_folders_is_one_and_its_copy_another(tmp_path: Path) -> None:
    files = write_series(tmp_path / "first" / "a", VOXELS)
    (tmp_path / "first" / "b").mkdir()
    for file in files[5:]:
        file.rename(tmp_path / "first" / "b" / file.name)
    series = only(tmp_path / "first")
    assert series.folder == tmp_path / "first"
    assert np.array_equal(voxels(series.read()), VOXELS)
    (tmp_path / "copy").mkdir()
    for file in series.files:
        shutil.copy(file, tmp_path / "copy")
    found = find_series(tmp_path)
    assert [copy.name for copy in found] == [series.name] * 2
    assert all(np.array_equal(voxels(copy.read()), VOXELS) for copy in found)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_series(tmp_path / "archive", VOXELS)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "scan").symlink_to(tmp_path / "archive")
    (tmp_path / "study" / "circle").symlink_to(tmp_path / "study")
    series = only(tmp_path / "study")
    assert series.folder == tmp_path / "study" / "scan"
    assert np.array_equal(voxels(series.read()), VOXELS)


def test_folders_without_scans_give_nothing(tmp_path: Path) -> None:
    assert find_series(tmp_path) == []
    nib.save(nib.nifti1.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "scan.nii.gz")
    (tmp_path / "notes.txt").write_text("DICM, in words" * 100)
    write_report(tmp_path / "report.dcm")
    write_series(tmp_path / "ultrasound", VOXELS, tags={"0008|0060": "US"})
    assert find_series(tmp_path) == []


def test_a_damaged_file_fails_its_own_series_only(tmp_path: Path) -> None:
    good, bad = ("1.2.3.1", "1.2.3.2")
    write_series(tmp_path, VOXELS, uid=good, number=1, start="A")
    file = write_series(tmp_path, VOXELS, uid=bad, number=2, start="B")[-1]
    file.write_bytes(file.read_bytes()[:-200])
    whole, broken = sorted(find_series(tmp_path), key=lambda series: series.name)
    assert np.array_equal(voxels(whole.read()), VOXELS)
    with pytest.raises(ScanError, match="damaged"):
        broken.read()


def test_a_damaged_file_is_not_taken_for_one_of_a_series_it_refers_to(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, uid="1.2.3.1")
    referred = element("0008|1115", "SQ", [element("0020|000e", "UI", "1.2.3.1")])
    write_dicom(tmp_path / "cut.dcm", ENHANCED_MR, referred + element("0020|000e", "UI", "1.2.3.2"))
    assert sorted(len(series.files) for series in find_series(tmp_path)) == [1, VOXELS.shape[2]]


def test_nothing_tells_the_patient(tmp_path: Path) -> None:
    folder = tmp_path / "ERIKA_mustermann" / "pat-4711-x born 1964-08-12 or 12.08.1964"
    files = write_series(folder, VOXELS, start="Erika")
    series = only(tmp_path)
    assert series.described == str(tmp_path / "***_***" / "*** born *** or ***")
    content = series.read().to_bytes()
    name, _, _ = series.name.partition("_")  # a hash follows, which has these digits in one of 13,000 cases
    shown = [name, series.described]
    files[3].write_bytes(files[3].read_bytes()[:-9])
    with pytest.raises(ScanError, match=r"its file \*\*\*0004.dcm is damaged") as error:
        only(tmp_path).read()
    shown.append(str(error.value))
    assert not any(word in text.lower() for text in shown for word in IDENTITY)
    assert not any(word.encode() in content.lower() for word in (*IDENTITY, *map(str.lower, PATIENT.values())))


@pytest.mark.parametrize("written", ["Müller_Jörg", "MUELLER_joerg", "Muller_Jorg"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_is_hidden_in_every_spelling(tmp_path: Path, written: str, encoding: str) -> None:
    name = "Mxxller^Jxxrg"
    for file in write_series(tmp_path / written, VOXELS, tags={"0010|0010": name}):
        encoded = name.replace("xx", "ü", 1).replace("xx", "ö").encode(encoding).ljust(len(name))
        file.write_bytes(file.read_bytes().replace(name.encode(), encoded))
    assert only(tmp_path).described == str(tmp_path / "***_***")


def test_many_slices_take_little_more_time_than_their_pixels(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((64, 64, 200), np.int16))
    only(tmp_path)
    start = time.process_time()
    only(tmp_path).read()
    assert time.process_time() - start < 1
