"""A second command into the same folder: it adds to summary and report, and says what was made otherwise."""

import json
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ball, save_scan
from hypothesis import given
from hypothesis import strategies as st

from pipeline.command_line import main
from pipeline.prediction.earlier import ANOTHER_MODEL, OTHER_SETTINGS, OTHERWISE, earlier_runs
from pipeline.prediction.predicting import predict
from pipeline.prediction.results import Result, read_summary, write_summary


def scan(folder: Path, name: str, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    return save_scan(folder / f"{name}.nii.gz", ball(seed=seed))


def summary(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "summary.csv", keep_default_na=False)


def marks(output: Path) -> dict[str, str]:
    """Return the first warning of each case, empty unless it says that the case was made otherwise."""
    first = {case: texts.split("; ")[0] for case, texts in summary(output).set_index("case")["warnings"].items()}
    return {str(case): text if text in OTHERWISE else "" for case, text in first.items()}


def facts(output: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((output / "run.json").read_text())
    return content


def test_a_second_command_adds_to_the_first(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, output = scan(tmp_path, "one", 1), scan(tmp_path, "two", 2), tmp_path / "out"
    for file, number in ((first, 1), (second, 2), (first, 2)):
        given = ["--input", str(file), "--output", str(output), "--device", "cpu"]
        assert main(["predict", "--model", str(run), *given]) == 0
        assert "1 of 1 scans done" in capsys.readouterr().out
        assert set(summary(output)["case"]) == {"one", "two"} if number == 2 else {"one"}
        assert facts(output)["cases"] == number
        page = (output / "report.html").read_text()
        assert f"{number} scan{'s' * (number > 1)} done" in page
        assert page.count('<td class="name">') == number
    assert len(facts(output)["earlier"]) == 2  # type: ignore[arg-type]
    assert "earlier" not in " ".join(summary(output)["warnings"])


def test_a_case_whose_folder_is_gone_is_dropped(run: Path, tmp_path: Path) -> None:
    predict(run, [scan(tmp_path, "one")], tmp_path / "out", device="cpu")
    predict(run, [scan(tmp_path, "two")], tmp_path / "out", device="cpu")
    shutil.rmtree(tmp_path / "out" / "one")
    (tmp_path / "out" / "two").rename(tmp_path / "out" / "renamed")
    predict(run, [scan(tmp_path, "three")], tmp_path / "out", device="cpu")
    assert summary(tmp_path / "out")["case"].tolist() == ["three"]


def test_a_failure_stays_until_its_scan_is_given_again(run: Path, tmp_path: Path) -> None:
    bad, output = tmp_path / "=bad.nii.gz", tmp_path / "out"
    bad.touch()
    predict(run, [bad], output, device="cpu")
    reason = summary(output)["reason"][0]
    for name in ("one", "two"):
        predict(run, [scan(tmp_path, name)], output, device="cpu")
        table = summary(output).set_index("status")
        assert table.loc["failed", "reason"] == reason
        assert reason in (output / "report.html").read_text()
        assert facts(output)["failed"] == 1
    save_scan(bad, ball())
    predict(run, [bad], output, device="cpu")
    assert summary(output)["status"].tolist() == ["done"] * 3
    assert facts(output)["failed"] == 0


def test_what_was_made_otherwise_says_so(run: Path, tmp_path: Path) -> None:
    output, mine = tmp_path / "out", scan(tmp_path, "mine")
    other = Path(shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("slice_bank")))
    weights = other / "models" / "model.pt"
    torch.save({key: 2 * value for key, value in torch.load(weights, weights_only=True).items()}, weights)
    (other / "models" / "calibration.json").unlink()
    predict(other, [scan(tmp_path, "model")], output, device="cpu")
    predict(run, [scan(tmp_path, "settings")], output, device="cpu", fpr=0.1)
    predict(run, [scan(tmp_path, "same")], output, device="cpu")
    for _ in range(2):
        (result,) = predict(run, [mine], output, device="cpu")
        assert "earlier" not in " ".join(result.warnings)
        assert marks(output) == {"model": ANOTHER_MODEL, "settings": OTHER_SETTINGS, "same": "", "mine": ""}
        page = (output / "report.html").read_text()
        assert page.count(f'<small class="warn-mark">{ANOTHER_MODEL}</small>') == 1
        assert page.count(f'<small class="warn-mark">{OTHER_SETTINGS}</small>') == 1
    # What is told depends on the last command alone: nothing of it is kept in the cases' folders.
    predict(run, [mine], output, device="cpu", fpr=0.1, overwrite=True)
    others = {"model": ANOTHER_MODEL, "same": OTHER_SETTINGS}
    assert marks(output) == {"settings": "", "mine": ""} | others


def test_results_that_are_not_replaced_stay_beside_the_failure(run: Path, tmp_path: Path) -> None:
    predict(run, [scan(tmp_path / "a", "one", 1)], tmp_path / "out", device="cpu")
    predict(run, [scan(tmp_path / "b", "one", 2)], tmp_path / "out", device="cpu")
    table = summary(tmp_path / "out")
    assert table["status"].tolist() == ["done", "failed"]
    assert [Path(file).parent.name for file in table["input"]] == ["a", "b"]


def test_warnings_are_told_on_the_terminal_by_the_first_command_and_the_next(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("head", "other"):
        voxels = ball().astype(np.float32)
        shell = np.linalg.norm(np.indices(voxels.shape) - np.array([19.5, 23.5, 17.5])[:, None, None, None], axis=0)
        voxels = np.where(shell > 12, np.random.default_rng(0).uniform(1, 20, voxels.shape), voxels)
        voxels[(shell > 15) & (shell < 17)] = 700
        save_scan(tmp_path / f"{name}.nii.gz", voxels)
    image = nib.nifti1.Nifti1Image(ball(), np.diag([4.0, 4.0, 4.0, 1.0]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "metres.nii.gz")
    said = []
    for _ in range(2):
        caplog.clear()
        predict(run, [tmp_path], tmp_path / "out", device="cpu")
        said.append([message for message in caplog.messages if message.startswith("warning: ")])
    assert said[0] == said[1]
    assert said[0][0].startswith("warning: 2 scans (head, other): the scan has its skull")
    assert any(line.startswith("warning: metres: the header says") for line in said[0])


@given(st.text(max_size=6), st.text(st.sampled_from("='+-@ 1a"), max_size=6))
def test_a_summary_is_read_as_it_was_written(case: str, given: str) -> None:
    results = [Result(case.replace("\r", "").lstrip("'"), given.lstrip("'"), "failed", "why")]
    with tempfile.TemporaryDirectory() as folder:
        write_summary(results, Path(folder))
        assert read_summary(Path(folder)) == results


@pytest.mark.parametrize("content", ["", "[]", "{", '{"earlier": 3}', '{"earlier": [1]}'])
def test_a_damaged_run_json_is_no_reason_to_fail(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert earlier_runs(tmp_path / "run.json") in ([], [{}])
