"""Calibration: surprise by its formula, thresholds by their share, and files that belong to their model."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import ball, save_scan, write_datalist
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cohorts import Entry, read_datalist
from pipeline.command_line import main
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate, summary_text
from pipeline.model import pack
from pipeline.model.run import Run
from pipeline.model.trained import load_model
from pipeline.prediction import predict
from pipeline.scans import read_training_cohort
from pipeline.scoring.calibrating import calibrate
from pipeline.scoring.calibration import CALIBRATION_BITS, Calibration, count_scores, load_calibration
from pipeline.scoring.score_bins import edge_of


def calibration_of(*scans: np.ndarray) -> Calibration:
    return Calibration.of([count_scores(scan.astype(np.float32)) for scan in scans], brain_ml=1000.0)


def test_surprise_follows_its_formula() -> None:
    healthy = np.arange(1.0, 101.0)  # wider apart than a bin
    calibration = calibration_of(healthy)
    for score in (0.0, 1.0, 50.0, 100.0, 101.0):
        at_least = np.count_nonzero(healthy >= score)
        expected = -np.log10((1 + at_least) / (1 + len(healthy)))
        assert calibration.surprise(np.asarray([score]))[0] == pytest.approx(expected, abs=1e-6)


def test_each_scan_weighs_the_same_however_many_voxels_it_has() -> None:
    calibration = calibration_of(np.full(10, 1.0), np.full(1000, 4.0))
    assert calibration.shares[calibration.bins.searchsorted(calibration.bins[-1])] == pytest.approx(0.5)
    n = 1010
    assert calibration.surprise(np.asarray([4.0]))[0] == pytest.approx(-np.log10((1 + n / 2) / (1 + n)), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.002, 0.5))
def test_no_more_than_the_asked_share_of_healthy_voxels_passes(seed: int, fpr: float) -> None:
    healthy = np.random.default_rng(seed).gamma(2.0, size=(3, 2000)).astype(np.float32)
    threshold = calibration_of(*healthy).threshold(fpr)
    share = np.mean(healthy >= threshold)
    assert share <= fpr
    assert share >= 0.9 * fpr - 0.002  # and hardly fewer: a bin is 0.8 percent wide


@given(st.integers(0, 2**32 - 1))
def test_surprise_never_falls_where_the_score_rises(seed: int) -> None:
    random = np.random.default_rng(seed)
    calibration = calibration_of(random.gamma(2.0, size=500), random.gamma(1.0, size=50))
    surprise = calibration.surprise(np.sort(random.gamma(2.0, size=200)).astype(np.float32))
    assert (np.diff(surprise) >= 0).all()
    assert surprise.dtype == np.float32
    assert 0 <= surprise.min() <= surprise.max() <= np.log10(1 + 550) + 1e-6


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(200, 5000), st.sampled_from([0, 1, 2]))
def test_the_smallest_share_still_marks_a_healthy_voxel_and_less_can_mark_none(
    seed: int, scans: int, voxels: int, decimals: int
) -> None:
    random = np.random.default_rng(seed)
    healthy = random.gamma(2.0, size=(scans, voxels)).round(decimals + 1).astype(np.float32)
    calibration = calibration_of(*healthy)
    smallest = calibration.smallest_fpr
    share = np.mean(healthy >= calibration.threshold(smallest))
    assert 0 < share <= smallest
    assert smallest >= 1 / voxels  # one voxel in each scan
    top = np.mean(healthy >= edge_of(calibration.bins[-1:], CALIBRATION_BITS))
    assert smallest <= 1.1 * max(1 / voxels, top)
    assert float(f"{smallest:g}") == smallest  # the message names it as it is


@pytest.mark.parametrize("fpr", [1e-8, 1e-12, 1e-5])
def test_a_share_that_cannot_be_known_is_refused_with_the_smallest_possible(
    run: Path, tmp_path: Path, fpr: float, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    given = ["predict", "--model", str(run), "--input", str(scan), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*given, "--fpr", str(fpr)]) == 2
    error = capsys.readouterr().err
    assert "1 healthy scan behind this model's threshold" in error
    smallest = re.search(r"give --fpr (\S+) or more", error)
    assert smallest is not None
    assert main([*given, "--fpr", smallest[1]]) == 0
    assert "0 ml of false" not in (tmp_path / "out" / "report.html").read_text()


def test_where_all_healthy_scores_are_equal_only_higher_ones_pass() -> None:
    calibration = calibration_of(np.full(100, 2.0))
    assert 2.0 < calibration.threshold(0.01) < 2.05
    assert calibration.smallest_fpr == 0.01


def test_training_ends_with_a_calibration_on_scans_it_did_not_learn_from(run: Path, cohort: Path) -> None:
    content = json.loads(Run(run).calibration.read_text())
    datalist = json.loads(cohort.read_text())
    assert content["scans"] == len(datalist.get("validation", [])) or content["scans"] == 1
    assert "depends on their number, not on the number of voxels" in content["note"]
    assert "healthy" not in json.dumps({key: value for key, value in content.items() if key != "note"})  # no file names


def test_a_file_comes_back_as_it_was_written(run: Path, tmp_path: Path) -> None:
    model = load_model(run, "cpu")
    (tmp_path / "models").mkdir()
    written = calibration_of(np.linspace(0.1, 5, 300))
    written.save(Run(tmp_path).calibration, model)
    read = load_calibration(tmp_path, model)
    assert read is not None
    scores = np.linspace(0, 6, 100, dtype=np.float32)
    assert np.allclose(read.surprise(scores), written.surprise(scores), atol=1e-4)
    assert read.threshold(0.01) == written.threshold(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "0" * 64}, "other weights"),
        ({"settings": {"polarity": "dark", "smoothing": 8}}, "other weights or other score settings"),
        ({"format": 99}, "newer version"),
        ({"bins": "nonsense"}, "not a calibration"),
    ],
)
def test_a_calibration_of_another_model_is_refused(
    run: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    model = load_model(run, "cpu")
    calibration_of(np.linspace(0.1, 5, 300)).save(Run(tmp_path).calibration, model)
    file = Run(tmp_path).calibration
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UsageError, match=message):
        load_calibration(tmp_path, model)


def test_changed_score_settings_are_calibrated_anew_without_training(run: Path, cohort: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(run, tmp_path / "run"))
    configuration = changed / "configs" / "train.yaml"
    configuration.write_text(re.sub(r"(?m)^smoothing: \S+", "smoothing: 1", configuration.read_text()))
    given = ["train", "--data", str(cohort), "--output", str(changed), "--config", str(configuration), "--resume"]
    with pytest.raises(UsageError, match="delete it"):
        load_calibration(changed, load_model(changed, "cpu"))
    Run(changed).calibration.unlink()
    assert main(given) == 0
    assert load_calibration(changed, load_model(changed, "cpu")) is not None
    assert load_model(changed, "cpu").fingerprint == load_model(run, "cpu").fingerprint


def test_a_model_without_calibration_has_none(run: Path, tmp_path: Path) -> None:
    assert load_calibration(tmp_path, load_model(run, "cpu")) is None


def test_slices_with_annotation_and_scans_that_fail_do_not_count(run: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii.gz", ball(seed=3))
    save_scan(tmp_path / "bad.nii.gz", np.zeros((20, 20, 20), np.int16))
    label = np.zeros((40, 48, 36), np.uint8)
    label[20, 24, :18] = 1
    save_scan(tmp_path / "label.nii.gz", label)
    kept = Run(run).calibration.read_text()
    try:
        scan = Entry((str(tmp_path / "scan.nii.gz"),))
        whole = calibrate(run, [scan, Entry((str(tmp_path / "bad.nii.gz"),))], device="cpu")
        half = calibrate(run, [replace(scan, label=str(tmp_path / "label.nii.gz"))], device="cpu")
        none = calibrate(run, [Entry((str(tmp_path / "bad.nii.gz"),))], device="cpu")
    finally:
        Run(run).calibration.write_text(kept)
    assert whole is not None
    assert half is not None
    assert none is None
    assert whole.scans == half.scans == 1
    assert whole.voxels == np.count_nonzero(ball(seed=3))
    assert half.voxels == np.count_nonzero(ball(seed=3)[:, :, 18:])


def test_a_calibration_on_a_scan_that_was_learned_is_refused(run: Path, cohort: Path, tmp_path: Path) -> None:
    learned = read_training_cohort(cohort, seed=1)["training"][0]
    copy = shutil.copy(learned.images[0], tmp_path / "renamed.nii.gz")
    with pytest.raises(UsageError, match=r"the model was trained on .*renamed\.nii\.gz"):
        calibrate(run, [replace(learned, images=(str(copy),))], device="cpu")


def test_a_scan_that_was_learned_is_told_in_prediction_and_evaluation_also_by_a_zip(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    learned = read_training_cohort(cohort, seed=1)["training"][0]
    copy = str(shutil.copy(learned.images[0], tmp_path / "renamed.nii.gz"))
    new = read_datalist(cohort)["test"][0]
    model = pack(run, tmp_path / "model.zip")
    results = predict(model, [copy, new.images[0]], tmp_path / "maps", device="cpu")
    told = [any("was trained on this scan" in warning for warning in result.warnings) for result in results]
    assert told == [True, False]
    label = replace(new, images=(copy,), mask=None)
    datalist = write_datalist(tmp_path / "d.json", {"tune": [label, new], "other": [new]})
    metrics = evaluate(model, datalist, tmp_path / "evaluation", "tune", device="cpu")
    assert metrics.trained_on == ["renamed"]
    assert "trained on 1 of these scans, so the results are wrong: renamed" in summary_text(metrics)
    assert "trained on 1 of these scans" in (tmp_path / "evaluation" / "evaluation.html").read_text()
    clean = evaluate(model, datalist, tmp_path / "clean", "other", device="cpu")
    assert clean.trained_on == []
    assert "trained on none of these scans" in summary_text(clean)
