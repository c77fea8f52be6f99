"""`predict --dicom` and `--key`: for cases that came as DICOM, also for those that are done already."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from dicom_series import PATIENT, write_series
from helpers import ball, save_scan

from pipeline.command_line import main
from pipeline.prediction.key_file import COLUMNS
from pipeline.prediction.predicting import predict

NAMES = ("mustermann", "erika", "19640812")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two DICOM series of one study, the first with a bright spot, and a NIfTI scan."""
    folder = tmp_path_factory.mktemp("scans")
    for number in (3, 4):
        voxels = ball(seed=number)
        if number == 3:
            voxels[22:28, 20:27, 15:21] = 3000
        write_series(folder / f"Erika {number}", voxels, (4, 4, 4), direction=np.eye(3), number=number)
    save_scan(folder / "plain.nii.gz", ball(seed=5))
    return folder


@pytest.fixture(scope="module")
def predicted(run: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("predicted") / "out"
    given = ["--model", str(run), "--input", str(scans), "--output", str(output), "--device", "cpu", "--fpr", "0.1"]
    assert main(["predict", *given, "--dicom", "--key", str(output.with_name("key.csv"))]) == 0
    return output


def written(output: Path) -> dict[str, int]:
    """Return the time of each DICOM file and map, by its name."""
    files = [*output.glob("*/*.dcm"), *output.glob("*/*.nii.gz")]
    return {file.name: file.stat().st_mtime_ns for file in files}


def test_cases_that_came_as_dicom_get_both_files(predicted: Path) -> None:
    names = [file.name for file in predicted.glob("*/*.dcm")]
    assert sorted(name.rpartition("_")[2] for name in names) == ["preview.dcm", "preview.dcm", "seg.dcm"]
    assert not list((predicted / "plain").glob("*.dcm"))
    assert next(predicted.glob("*/*seg.dcm")).name.startswith("series-3")
    for file in predicted.glob("series*/*.dcm"):
        record = json.loads((file.parent / "case.json").read_text())
        assert record["files"][file.name] == file.stat().st_size
        assert pydicom.dcmread(file).PatientID == PATIENT["0010|0020"]


def test_no_output_names_the_patient(predicted: Path) -> None:
    for file in predicted.rglob("*"):
        if file.is_file() and file.suffix not in (".gz", ".js", ".png", ".jpg"):
            content = file.read_bytes().lower()
            assert not any(name.encode() in content for name in NAMES), file
            assert file.suffix == ".dcm" or b"4711" not in content


def test_what_is_not_written_is_told_once(
    run: Path, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        shutil.copy(scans / "plain.nii.gz", tmp_path / f"{name}.nii.gz")
    predict(run, [tmp_path, scans / "Erika 4"], tmp_path / "out", device="cpu", dicom=True)
    told = [message for message in caplog.messages if message.startswith("warning") and "CASE_seg.dcm" in message]
    (series,) = (folder.name for folder in (tmp_path / "out").glob("series*"))
    assert told == [
        "warning: 2 scans (one, two): it did not come as DICOM, so it has no CASE_seg.dcm and no CASE_preview.dcm",
        f"warning: {series}: it has no cluster, and so no CASE_seg.dcm, only CASE_preview.dcm",
    ]


def test_a_case_that_is_done_gets_them_without_being_predicted_again(run: Path, scans: Path, tmp_path: Path) -> None:
    def times(**options: bool) -> dict[str, int]:
        results = predict(run, [scans], tmp_path / "out", device="cpu", fpr=0.1, **options)
        assert [result.status for result in results] == ["done"] * 3
        return written(tmp_path / "out")

    without = times()
    assert not any(name.endswith(".dcm") for name in without)
    added = times(dicom=True)
    assert {name: time for name, time in added.items() if name in without} == without
    assert len(added) == len(without) + 3
    assert times(dicom=True) == times() == added  # they are part of the case, and stay


def test_what_cannot_be_made_is_told_and_the_case_is_done(run: Path, tmp_path: Path) -> None:
    for file in write_series(tmp_path / "scan", ball(), (4, 4, 4), direction=np.eye(3)):
        dataset = pydicom.dcmread(file)
        del dataset.StudyInstanceUID
        dataset.save_as(file)
    for _ in range(2):
        (result,) = predict(run, [tmp_path / "scan"], tmp_path / "out", device="cpu", dicom=True)
        assert result.status == "done"
        assert sum("do not name one study" in warning for warning in result.warnings) == 1
        record = json.loads((tmp_path / "out" / result.case / "case.json").read_text())
        assert record["warnings"] == list(result.warnings)


@pytest.mark.parametrize("key", [None, True])
def test_the_configuration_decides_unless_the_caller_does(
    run: Path, scans: Path, tmp_path: Path, key: bool | None
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("slice_bank")))
    file = own / "configs" / "inference.yaml"
    configuration = yaml.safe_load(file.read_text())
    if key is None:  # a bundle from the time before this option
        del configuration["dicom"], configuration["evaluator"]["dicom"]
    else:
        configuration["dicom"] = key
    file.write_text(yaml.safe_dump(configuration, sort_keys=False))
    series = scans / "Erika 3"
    predict(own, [series], tmp_path / "own", device="cpu")
    assert any((tmp_path / "own").glob("*/*.dcm")) == bool(key)
    predict(own, [series], tmp_path / "other", device="cpu", dicom=not key)
    assert any((tmp_path / "other").glob("*/*.dcm")) == (not key)


def test_a_missing_package_is_told_before_anything_is_predicted(
    run: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    given = ["--model", str(run), "--input", str(scans), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["predict", *given, "--dicom"]) == 2
    assert "the package highdicom is not installed; install it by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def rows(key: Path) -> list[list[str]]:
    return [line.split(",") for line in key.read_text().splitlines()]


def test_the_key_tells_which_case_is_which_series(predicted: Path, scans: Path) -> None:
    head, *cases = rows(predicted.with_name("key.csv"))
    assert head == COLUMNS
    assert {case[0] for case in cases} == {folder.name for folder in predicted.glob("series*")}
    for _, study, series, folder, files in cases:
        names = files.split(" | ")
        assert len(names) == 36
        slice_ = pydicom.dcmread(Path(folder, names[0]))
        assert (slice_.StudyInstanceUID, slice_.SeriesInstanceUID) == (study, series)
        assert Path(folder).parent == scans


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_only_its_owner_can_read_the_key(
    run: Path, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "keys" / "key.csv"
    modes = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target == key:
            modes.append(self.stat().st_mode & 0o777)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    caplog.set_level(logging.INFO)
    before = os.umask(0)
    try:
        for number in (3, 4, 4):  # the second adds to the first, the third is done already
            predict(run, [scans / f"Erika {number}"], tmp_path / "out", device="cpu", key=key)
            assert key.stat().st_mode & 0o777 == 0o600
            key.chmod(0o644)
    finally:
        os.umask(before)
    assert modes == [0o600] * 3
    assert [row[0].split("_")[0] for row in rows(key)[1:]] == ["series-3", "series-4"]
    assert f"--key {key} names the DICOM series of 1 case; only you can read it" in caplog.messages
    assert not list(key.parent.glob(".partial*"))
    assert "hand the folder on" not in caplog.text
    predict(run, [scans / "Erika 3"], tmp_path / "out", device="cpu", key=tmp_path / "out" / "key.csv")
    assert "lies in the folder of the results" in caplog.text


@pytest.mark.parametrize("content", [b"name,age\nErika,56\n", b"\xff\xfe\x00", b"case\n", b""])
def test_a_file_that_is_no_key_is_not_replaced(
    run: Path, scans: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "patients.csv"
    mine.write_bytes(content)
    given = ["--model", str(run), "--input", str(scans), "--output", str(tmp_path / "out"), "--key", str(mine)]
    assert main(["predict", *given]) == 2
    assert f"--key {mine}: it is there already and is no key; give another file" in capsys.readouterr().err
    assert mine.read_bytes() == content
    assert not list((tmp_path / "out").glob("*/case.json"))


def test_a_key_that_cannot_be_written_is_told_before_anything_is_predicted(
    run: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    given = ["--model", str(run), "--input", str(scans), "--output", str(tmp_path / "out")]
    assert main(["predict", *given, "--key", str(tmp_path / "file" / "key.csv")]) == 2
    assert "the key cannot be read or written (File exists)" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*/case.json"))
