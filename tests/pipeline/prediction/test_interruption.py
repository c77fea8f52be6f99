"""Interruption: whatever stops a prediction, nothing half-made passes for complete, and the same command goes on."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helpers import ball, save_scan

import pipeline.prediction.case_folder
import pipeline.prediction.evaluator
from pipeline.errors import UsageError
from pipeline.prediction.evaluator import ScanEvaluator
from pipeline.prediction.predicting import predict
from pipeline.prediction.results import Result

SCANS = 8


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(SCANS):
        save_scan(folder / f"scan_{i}.nii.gz", ball(seed=i))
    return folder


def stopped_in_the_middle(run: Path, scans: Path, output: Path, number: signal.Signals) -> subprocess.Popen[str]:
    """Start a prediction, and send it a signal when its first case is there."""
    command = [sys.executable, "-m", "pipeline", "predict", "--model", str(run), "--input", str(scans)]
    process = subprocess.Popen(
        [*command, "--output", str(output), "--device", "cpu"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(output.glob("scan_*/case.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    process.wait(60)
    return process


def complete(output: Path) -> set[str]:
    return {file.parent.name for file in output.glob("scan_*/case.json")}


def same_results(run: Path, scans: Path, output: Path, uninterrupted: Path) -> None:
    """Give the same command again, and compare with one that was not interrupted."""
    results = predict(run, [scans], output, device="cpu")
    expected = predict(run, [scans], uninterrupted, device="cpu")

    def without_seconds(result: Result) -> dict[str, object]:
        return {key: value for key, value in vars(result).items() if key != "seconds"}

    assert [without_seconds(r) for r in results] == [without_seconds(r) for r in expected]
    assert all(result.status == "done" for result in results)
    for file in uninterrupted.rglob("*.nii.gz"):
        same = gzip.decompress((output / file.relative_to(uninterrupted)).read_bytes())
        assert same == gzip.decompress(file.read_bytes()), file.name
    assert not list(output.rglob("*.partial"))


def test_after_kill_the_same_command_goes_on(run: Path, scans: Path, tmp_path: Path) -> None:
    process = stopped_in_the_middle(run, scans, tmp_path / "out", signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = complete(tmp_path / "out")
    assert 0 < len(done) < SCANS
    for case in done:
        assert (tmp_path / "out" / case / f"{case}_surprise.nii.gz").exists()
    before = {case: (tmp_path / "out" / case / "case.json").stat().st_mtime_ns for case in done}
    same_results(run, scans, tmp_path / "out", tmp_path / "uninterrupted")
    for case, time_of_change in before.items():
        assert (tmp_path / "out" / case / "case.json").stat().st_mtime_ns == time_of_change


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # Control-C, and a cluster that ends a job
def test_a_signal_ends_it_tidily_with_a_summary(number: signal.Signals, run: Path, scans: Path, tmp_path: Path) -> None:
    process = stopped_in_the_middle(run, scans, tmp_path / "out", number)
    assert process.returncode == 130
    assert process.stderr is not None
    said = process.stderr.read()
    assert "Traceback" not in said
    assert "interrupted" in said
    table = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False)
    assert len(table) == SCANS
    assert set(table[table["status"] == "done"]["case"]) == complete(tmp_path / "out")
    assert set(table["status"]) == {"done", "not done"}
    assert "not done" in (tmp_path / "out" / "report.html").read_text()
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (facts["cases"], facts["interrupted"], facts["running"]) == (SCANS, True, False)
    assert not list((tmp_path / "out").rglob("*.partial"))
    same_results(run, scans, tmp_path / "out", tmp_path / "uninterrupted")


def test_a_full_disk_is_named_and_leaves_no_half_case(
    run: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pipeline.prediction.case_folder.write

    def full(image: object, file: Path) -> None:
        if file.name == "scan_2_kl.nii.gz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        write(image, file)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.prediction.case_folder, "write", full)
    results = predict(run, [scans], tmp_path / "out", device="cpu")
    assert [r.case for r in results if r.status == "failed"] == ["scan_2"]
    assert "disk is full" in results[2].reason
    assert complete(tmp_path / "out") == {f"scan_{i}" for i in range(SCANS)} - {"scan_2"}
    assert not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.undo()
    same_results(run, scans, tmp_path / "out", tmp_path / "uninterrupted")


def test_an_output_that_cannot_be_written_is_wrong_usage(run: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="output folder cannot be made"):
        predict(run, [scans], tmp_path / "file" / "out", device="cpu")


def test_a_replaced_case_is_whole_at_any_moment(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball(seed=1))
    predict(run, [scan], tmp_path / "out", device="cpu")
    before = {file.name for file in (tmp_path / "out" / "scan").iterdir()}
    removed: list[set[str]] = []
    rmtree = pipeline.prediction.case_folder.shutil.rmtree

    def watched(folder: Path, **options: bool) -> None:
        if (tmp_path / "out" / "scan").exists():
            removed.append({file.name for file in (tmp_path / "out" / "scan").iterdir()})
        rmtree(folder, **options)

    monkeypatch.setattr(pipeline.prediction.case_folder.shutil, "rmtree", watched)
    predict(run, [scan], tmp_path / "out", device="cpu", overwrite=True)
    assert removed
    assert all(files == before for files in removed)
    image = np.asarray(nib.nifti1.Nifti1Image.from_filename(tmp_path / "out/scan/scan_image.nii.gz").dataobj)
    assert np.array_equal(image, ball(seed=1))


def test_two_runs_at_the_same_time_do_not_disturb_each_other(run: Path, scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", "--model", str(run), "--input", str(scans)]
    command += ["--output", str(tmp_path / "out"), "--device", "cpu"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert complete(tmp_path / "out") == {f"scan_{i}" for i in range(SCANS)}
    same_results(run, scans, tmp_path / "out", tmp_path / "one")


def test_shares_fill_one_folder_and_a_last_command_finishes_it(run: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "bad.nii.gz").write_bytes(b"no scan")
    output = tmp_path / "out"
    for number in (1, 3):  # the node with the second share died
        predict(run, [scans], output, device="cpu", share=(number, 3))
        facts = json.loads((output / "run.json").read_text())
        assert facts["share"] == f"{number}/3"
        assert f"did share {number}/3 of the scans" in (output / "report.html").read_text(encoding="utf-8")
    assert complete(output) == {f"scan_{i}" for i in (1, 2, 4, 5, 7)}  # bad is the first scan
    assert facts["cases"] == 6  # the failed one too, which an earlier command was given
    before = {case: (output / case / "case.json").stat().st_mtime_ns for case in complete(output)}
    results = predict(run, [scans], output, device="cpu")
    assert [result.status for result in results] == ["failed"] + ["done"] * SCANS
    for case, time_of_change in before.items():
        assert (output / case / "case.json").stat().st_mtime_ns == time_of_change
    facts = json.loads((output / "run.json").read_text())
    assert (facts["cases"], facts["failed"], facts["share"]) == (SCANS + 1, 1, "")
    assert len(facts["earlier"]) == 2
    table = pd.read_csv(output / "summary.csv")
    assert sorted(table["case"]) == sorted(["bad", *(f"scan_{i}" for i in range(SCANS))])


def test_the_report_is_there_while_the_run_goes_on(
    run: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.prediction.evaluator, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(pipeline.prediction.evaluator, "COST", 0)
    seen: list[tuple[str, dict[str, object], int]] = []
    summarise = ScanEvaluator._summarise_so_far

    def watched(self: ScanEvaluator) -> None:
        summarise(self)
        report = (self.output / "report.html").read_text(encoding="utf-8")
        table = pd.read_csv(self.output / "summary.csv")
        seen.append((report, json.loads((self.output / "run.json").read_text()), (table["status"] == "done").sum()))

    monkeypatch.setattr(ScanEvaluator, "_summarise_so_far", watched)
    (scans / "bad.nii.gz").write_bytes(b"no scan")
    predict(run, [scans], tmp_path / "out", device="cpu")
    assert [done for *_, done in seen] == list(range(1, SCANS + 1))
    for i, (report, facts, _) in enumerate(seen[:-1]):
        assert "the run goes on" in report
        assert f"{SCANS - 1 - i} not done yet" in report
        assert facts["running"]
        assert facts["earlier"] == []
    last = json.loads((tmp_path / "out" / "run.json").read_text())
    assert not last["running"]
    assert not last["interrupted"]
    assert last["earlier"] == []
    assert "the run goes on" not in (tmp_path / "out" / "report.html").read_text()


def test_a_run_that_goes_on_is_summed_up_at_times_only(
    run: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bool] = []
    monkeypatch.setattr(ScanEvaluator, "_summarise", lambda *_, running=False, **__: written.append(running))
    predict(run, [scans], tmp_path / "out", device="cpu")
    assert written == [True, False]  # after the first scan, and at the end; the next would come after 30 s
