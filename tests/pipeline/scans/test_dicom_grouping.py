"""Grouping of DICOM slices: slices that are series of their own, copies of slices, and localizers."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import OBLIQUE, PATIENT, write_series
from helpers import ball

from pipeline.errors import ScanError, UsageError
from pipeline.prediction.predicting import predict
from pipeline.scans.cases import find_cases
from pipeline.scans.dicom_series import Series, find_series

VOXELS = np.random.default_rng(0).integers(-50, 900, (18, 14, 9)).astype(np.int16)
ORIGIN = np.array([-80.5, -60.25, 20.0])


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def voxels(image: nib.nifti1.Nifti1Image) -> np.ndarray:
    return np.asanyarray(image.dataobj)


def scatter(
    folder: Path,
    stack: np.ndarray = VOXELS,
    step: float = 3.0,
    uid: str = "1.2.3",
    direction: np.ndarray = OBLIQUE,
    number: int | None = 7,
    folders: bool = False,
    tags: dict[str, str] | None = None,
) -> list[Path]:
    """Write each slice as a series of its own."""
    files = []
    for i in range(stack.shape[2]):
        files += write_series(
            folder / str(i) if folders else folder,
            stack[:, :, i : i + 1],
            origin=tuple(ORIGIN + direction[:, 2] * step * i),
            direction=direction,
            number=number,
            uid=f"{uid}.{i}",
            start=f"{uid}-{i:03}-",
            tags=tags,
        )
    return files


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("number", [7, None])
def test_slices_that_are_series_of_their_own_are_one_scan(tmp_path: Path, number: int | None, folders: bool) -> None:
    write_series(tmp_path / "whole", VOXELS, number=number)
    files = scatter(tmp_path / "scattered", number=number, folders=folders)
    whole, scattered = (only(tmp_path / name) for name in ("whole", "scattered"))
    assert sorted(scattered.files) == sorted(files)
    assert np.array_equal(voxels(scattered.read()), VOXELS)
    assert np.allclose(scattered.read().affine, whole.read().affine)
    (case,) = find_cases([files[4]])
    assert case.series == only(files[4].parent)


def test_two_scattered_scans_are_told_apart_by_each_of_their_marks(tmp_path: Path) -> None:
    for name, marks in {
        "number": {"number": 8},
        "study": {"tags": {"0020|000d": "1.2.9"}},
        "description": {"tags": {"0008|103e": "t2"}},
        "orientation": {"direction": np.eye(3)},
        "size": {"stack": VOXELS[:12]},
    }.items():
        scatter(tmp_path / name)
        other = {"uid": "1.2.4", **marks}
        scatter(tmp_path / name, **other)
        found = find_series(tmp_path / name)
        assert [len(series.files) for series in found] == [9, 9], name
        assert len({series.name for series in found}) == 2
        stacks = [voxels(series.read()) for series in found]
        assert np.array_equal(stacks[0], VOXELS)
        assert np.array_equal(stacks[1], marks.get("stack", VOXELS))


def test_a_copy_of_a_scattered_scan_in_another_folder_is_a_scan(tmp_path: Path) -> None:
    scatter(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = find_series(tmp_path)
    assert [series.folder.name for series in found] == ["a", "b"]
    assert all(np.array_equal(voxels(series.read()), VOXELS) for series in found)


def gap(folder: Path) -> None:
    scatter(folder)[4].unlink()


def two(folder: Path) -> None:
    scatter(folder, VOXELS[:, :, :2])


def echoes(folder: Path) -> None:
    scatter(folder)
    scatter(folder, VOXELS + 1, uid="1.2.4")


def fan(folder: Path) -> None:
    for i in range(12):
        angle = 0.2 * i
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        scatter(folder, VOXELS[:, :, :1], uid=f"1.2.{i}", direction=turn, tags={"0008|103e": "mip"})
    scatter(folder, VOXELS[:, :, :1], uid="1.2.13", direction=turn @ turn, tags={"0008|103e": "mip"})


@pytest.mark.parametrize(
    ("spoil", "number", "words"),
    [
        (gap, 8, "1 of its slices is missing"),
        (two, 2, "too few"),
        (echoes, 18, "holds 2 volumes"),
    ],
)
def test_scattered_slices_that_make_no_scan_fail_once(
    tmp_path: Path, spoil: Callable[[Path], None], number: int, words: str
) -> None:
    spoil(tmp_path)
    with pytest.raises(ScanError, match=rf"^{number} slices, each a series of its own, were put together: .*{words}"):
        only(tmp_path).read()


def test_the_failure_names_folder_and_number_in_one_line(run: Path, tmp_path: Path) -> None:
    gap(tmp_path / "Mustermann")
    (result,) = predict(run, [tmp_path / "Mustermann"], tmp_path / "out", device="cpu")
    assert result.status == "failed"
    assert result.input == str(tmp_path / "***")
    assert result.reason.startswith("8 slices, each a series of its own")


def test_scattered_slices_of_a_fan_are_a_localizer(tmp_path: Path) -> None:
    fan(tmp_path)
    assert only(tmp_path).localizer


def test_a_lone_slice_is_what_it_was(tmp_path: Path) -> None:
    scatter(tmp_path, VOXELS[:, :, :1])
    with pytest.raises(ScanError, match=r"^it is a single 2D slice"):
        only(tmp_path).read()


@pytest.mark.parametrize("copied", [[3], [0, 4, 8], range(9)])
@pytest.mark.parametrize("write", [write_series, scatter])
def test_copies_of_slices_are_left_out_with_a_warning(
    tmp_path: Path, copied: list[int], write: Callable[[Path, np.ndarray], list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    files = write(tmp_path / "scan", VOXELS)
    truth = only(tmp_path).read().affine
    for number in copied:
        shutil.copy(files[number], files[number].with_name(f"{files[number].stem} (1).dcm"))
    warnings: list[str] = []
    image = only(tmp_path).read(warnings.append)
    assert np.array_equal(voxels(image), VOXELS)
    assert np.array_equal(image.affine, truth)
    (warning,) = warnings
    assert warning.startswith("its file " if len(copied) == 1 else f"{len(copied)} of its files repeat")
    assert ".dcm" in warning
    with caplog.at_level(logging.WARNING):
        only(tmp_path).read()
    assert caplog.messages == warnings


def test_a_copy_may_have_a_uid_of_its_own(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, uid="1.2.3")
    (copy,) = write_series(tmp_path / "copy", VOXELS[:, :, :1], uid="1.2.4", tags={"0020|000e": "1.2.3"})
    copy.rename(tmp_path / "copy.dcm")
    assert np.array_equal(voxels(only(tmp_path).read()), VOXELS)


@pytest.mark.parametrize("changed", [[0], [2, 5], range(9)])
def test_other_pixels_at_the_same_place_are_refused(tmp_path: Path, changed: list[int]) -> None:
    """Even if some slices of two echoes are the same, such as empty ones at the ends."""
    write_series(tmp_path, VOXELS, uid="1.2.3", start="A")
    other = VOXELS.copy()
    other[0, 0, changed] += 1
    write_series(tmp_path, other, uid="1.2.3", start="B")
    with pytest.raises(ScanError, match=r"holds 2 volumes: 18 slices at 9 places"):
        only(tmp_path).read()


def test_the_warning_is_that_of_the_scan_and_names_no_patient(run: Path, tmp_path: Path) -> None:
    files = write_series(tmp_path / "scan", ball((40, 48, 36)), (4.0, 4.0, 4.0), start="Mustermann")
    shutil.copy(files[3], files[3].with_name("pat-4711-x copy.dcm"))
    (result,) = predict(run, [tmp_path / "scan"], tmp_path / "out", device="cpu")
    assert result.status == "done"
    assert any("its file *** copy.dcm repeats another slice" in text for text in result.warnings)
    assert not any(word in text for text in result.warnings for word in PATIENT.values())
    assert not any("Mustermann" in text for text in result.warnings)


def says_so(folder: Path) -> None:
    write_series(folder, VOXELS, tags={"0008|0008": "ORIGINAL\\PRIMARY\\LOCALIZER"})


def by_name(folder: Path) -> None:
    write_series(folder, VOXELS[:, :, :1], tags={"0008|103e": "Fast Scout"})


def three_planes(folder: Path) -> None:
    axes = np.eye(3)
    for number, direction in enumerate((axes, axes[:, [1, 2, 0]], axes[:, [2, 0, 1]])):
        write_series(folder, VOXELS[:, :, :3], direction=direction, uid="1.2.3", start=str(number))


def three_scattered_planes(folder: Path) -> None:
    axes = np.eye(3)
    for number, direction in enumerate((axes, axes[:, [1, 2, 0]], axes[:, [2, 0, 1]])):
        scatter(folder, VOXELS[:, :, :3], direction=direction, uid=f"1.2.{number}")


@pytest.mark.parametrize("write", [says_so, by_name, three_planes, three_scattered_planes])
def test_localizers_are_passed_over_with_a_line(
    tmp_path: Path, write: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "scan", VOXELS, uid="1.2.99")
    write(tmp_path / "Mustermann")
    cases = find_cases([tmp_path])
    assert [case.image for case in cases] == [tmp_path / "scan"]
    (line,) = cases.skipped
    assert caplog.messages == [line]
    assert line.startswith(f"{tmp_path}: ")
    assert "passed over: a localizer" in line
    assert "***" in line
    assert "Mustermann" not in line
    file = next(iter((tmp_path / "Mustermann").iterdir()))
    for given in (file, file.parent):
        with pytest.raises(UsageError, match=r"no scan found.*passed over: a localizer"):
            find_cases([given])
