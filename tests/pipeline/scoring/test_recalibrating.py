"""The command `calibrate`: a new model whose threshold holds for other scans, with the weights of the former one."""

import json
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import ball, save_scan, write_datalist

import pipeline.scoring.recalibrating as recalibrating
from pipeline import AnomalyDetector
from pipeline.cohorts import Entry, read_datalist
from pipeline.command_line import main
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate
from pipeline.model import Run, load_model, open_model, pack
from pipeline.prediction import predict
from pipeline.scans import Case, read_training_cohort
from pipeline.scoring import Calibration, Recalibration, load_calibration, open_predictor, recalibrate
from pipeline.scoring.provenance import FalsePositives, Provenance

SCANS = 4


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datalist of healthy scans of another scanner, each brighter on one side than the one before."""
    folder = tmp_path_factory.mktemp("clinic")
    files = [folder / f"Smith_{i}.nii.gz" for i in range(SCANS)]
    for i, file in enumerate(files):
        save_scan(file, one_sided(10 + i, 200 * i))
    return write_datalist(folder / "datalist.json", {"training": [Entry((str(file),)) for file in files]})


@pytest.fixture(scope="module")
def anew(run: Path, clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that the command makes of these scans."""
    output = tmp_path_factory.mktemp("calibrated") / "anew"
    assert main(command(run, clinic, output)) == 0
    return output


def one_sided(seed: int, brightness: int) -> np.ndarray:
    """Return a brain-like ball (X, Y, Z) with a brighter part on one side."""
    voxels = ball(seed=seed)
    voxels[9:15, 20:28, 14:22] += brightness
    return voxels


def command(model: Path, data: Path, output: Path, *more: str) -> list[str]:
    given = ["--model", str(model), "--data", str(data), "--output", str(output), "--device", "cpu"]
    return ["calibrate", *given, *more]


def hashes(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}


def calibration_in(model: Path) -> Calibration:
    with open_model(model) as run:
        calibration = load_calibration(run, load_model(run, "cpu"))
    assert calibration is not None
    return calibration


def shares_marked(run: Path, data: Path, threshold: float) -> list[float]:
    """Return the share of each healthy scan's brain at or above a threshold, from its map."""
    predictor = open_predictor(run, "cpu")
    cases = [Case("", entry) for entry in read_datalist(data)["training"]]
    scores = [predictor(predictor.read(case)).scores for case in cases]
    return [float(np.mean(each.maps["recommended"][each.mask] >= threshold)) for each in scores]


def test_the_new_model_is_the_former_one_but_for_its_calibration(run: Path, clinic: Path, tmp_path: Path) -> None:
    before = hashes(run)
    recalibrate(run, clinic, tmp_path / "anew", device="cpu")
    assert hashes(run) == before
    made = hashes(tmp_path / "anew")
    assert made.pop("models/calibration.json") != before["models/calibration.json"]
    assert made.items() <= before.items()
    assert {"models/model.pt", "models/trained_on.json", "configs/train.yaml", "configs/inference.yaml"} <= made.keys()
    assert {Path(name).parts[0] for name in made} == {"LICENSE", "configs", "docs", "models"}
    assert [file.name for file in tmp_path.iterdir()] == ["anew"]


def test_its_threshold_and_familiarity_are_those_of_the_new_scans(run: Path, anew: Path, clinic: Path) -> None:
    calibration = calibration_in(anew)
    assert calibration.scans == calibration.familiarity.scans == SCANS
    fpr = open_predictor(run, "cpu").fpr
    marked = np.mean(shares_marked(anew, clinic, calibration.threshold(fpr)))
    assert 0.5 * fpr < marked <= fpr


def test_the_rates_of_both_thresholds_are_those_of_the_maps(run: Path, anew: Path, clinic: Path) -> None:
    former, provenance = calibration_in(run), calibration_in(anew).provenance
    assert provenance is not None
    fpr = provenance.fpr
    marked = shares_marked(run, clinic, former.threshold(fpr))
    assert provenance.by_former == FalsePositives.of(np.asarray(marked))
    assert provenance.by_former.highest > provenance.by_former.mean > 0
    assert (provenance.former, provenance.former_scans) == (former.fingerprint, former.scans)
    assert provenance.by_new is not None
    assert provenance.by_new.scans == SCANS


def test_each_scan_is_left_out_of_the_threshold_that_measures_it(run: Path, clinic: Path, tmp_path: Path) -> None:
    splits = read_datalist(clinic)["training"]
    by_hand = []
    for i, left_out in enumerate(splits):
        others = write_datalist(tmp_path / "d.json", {"training": [*splits[:i], *splits[i + 1 :]]})
        result = recalibrate(run, others, tmp_path / f"without_{i}", device="cpu")
        threshold = calibration_in(result.output).threshold(result.provenance.fpr)
        alone = write_datalist(tmp_path / "alone.json", {"training": [left_out]})
        by_hand += shares_marked(run, alone, threshold)
    whole = recalibrate(run, clinic, tmp_path / "whole", device="cpu").provenance
    assert whole.by_new == FalsePositives.of(np.asarray(by_hand))


def test_the_terminal_shows_both_rates_and_the_worst_scan(
    run: Path, anew: Path, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(run, clinic, tmp_path / "again")) == 0
    shown = capsys.readouterr().out
    provenance = calibration_in(anew).provenance
    assert provenance is not None
    assert provenance.by_former is not None
    assert provenance.by_new is not None
    worst = f"Smith_{SCANS - 1}.nii.gz"  # the brightest
    assert "asked for         0.3 %" in shown
    assert f"former threshold  {provenance.by_former.text} ({worst})" in shown
    assert f"new threshold     {provenance.by_new.text} ({worst}), by leave-one-out" in shown


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.02, 0.03, 0.04], "marks too much here"),  # 0.5 to 5.5 %
        ([0.0001, 0.0002, 0.0003], "marks too little here"),
        ([0.0, 0.0, 0.03], "do not tell whether the former threshold is wrong"),  # 0 to 5.3 %
    ],
)
def test_the_interval_of_the_former_threshold_gives_the_verdict(shares: list[float], verdict: str) -> None:
    found = FalsePositives.of(np.asarray(shares))
    provenance = Provenance("2025-01-31", "1.2.3", "ab", 36, 0.003, found, found)
    summary = Recalibration(Path("anew"), provenance, 3, "worst.nii", "worst.nii", {}).summary()
    assert verdict in summary.splitlines()[-1]


def test_folder_and_zip_predict_alike_and_so_does_a_zip_made_of_a_zip(
    run: Path, anew: Path, clinic: Path, tmp_path: Path
) -> None:
    assert main(command(pack(run, tmp_path / "former.zip"), clinic, tmp_path / "anew.zip")) == 0
    scan = save_scan(tmp_path / "scan.nii.gz", one_sided(99, 500))
    found = {}
    for name, model in {"former": run, "folder": anew, "zip": tmp_path / "anew.zip"}.items():
        (result,) = predict(model, [scan], tmp_path / name, device="cpu")
        assert result.status == "done", result.reason
        found[name] = nib.load(tmp_path / name / "scan" / "scan_surprise.nii.gz").get_fdata()
    np.testing.assert_array_equal(found["folder"], found["zip"])
    assert not np.array_equal(found["folder"], found["former"])
    detector = AnomalyDetector(tmp_path / "anew.zip", device="cpu")
    np.testing.assert_array_equal(detector(scan)["surprise"].get_fdata(), found["zip"])


def test_the_new_model_is_evaluated_at_its_own_threshold(anew: Path, cohort: Path, tmp_path: Path) -> None:
    metrics = evaluate(anew, cohort, tmp_path / "evaluation", device="cpu")
    calibration = calibration_in(anew)
    assert metrics.lesions.threshold == calibration.threshold(open_predictor(anew, "cpu").fpr)


def test_the_card_says_where_the_calibration_comes_from_and_nothing_names_a_scan(
    run: Path, anew: Path, clinic: Path, tmp_path: Path
) -> None:
    pack(anew, tmp_path / "packed.zip")
    recalibrate(run, clinic, tmp_path / "direct.zip", device="cpu")
    assert (tmp_path / "packed.zip").read_bytes() == (tmp_path / "direct.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        card = archive.read("docs/README.md").decode()
        everything = b"".join(archive.read(name) for name in archive.namelist() if not name.endswith(".py"))
    former = calibration_in(run)
    assert f"anew with {SCANS} scans on " in card
    assert f"in place of a calibration with {former.scans} scan (SHA-256 {former.fingerprint})" in card
    assert b"Smith" not in everything
    assert str(clinic.parent).encode() not in everything


def test_a_scan_that_cannot_be_used_is_named_and_the_others_go_on(
    run: Path, clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    entries = read_datalist(clinic)["training"]
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    copy = shutil.copy(entries[0].images[0], tmp_path / "copy.nii.gz")
    save_scan(tmp_path / "lesion.nii.gz", np.ones((40, 48, 36), np.uint8))
    annotated = Entry(
        (str(save_scan(tmp_path / "annotated.nii.gz", ball(seed=5))),), None, str(tmp_path / "lesion.nii.gz")
    )
    more = [Entry((str(tmp_path / "broken.nii.gz"),)), Entry((str(copy),)), annotated]
    data = write_datalist(tmp_path / "d.json", {"training": [*entries[:3], *more]})
    assert main(command(run, data, tmp_path / "anew")) == 1
    assert "anew on 3 of 5 healthy scans" in capsys.readouterr().out
    assert "broken.nii.gz: " in caplog.text
    assert "annotated.nii.gz: all of its slices with brain are annotated" in caplog.text
    assert "copy.nii.gz (as Smith_0.nii.gz)" in caplog.text
    assert calibration_in(tmp_path / "anew").scans == 3


def test_slices_with_annotation_do_not_count(run: Path, tmp_path: Path) -> None:
    label = np.zeros((40, 48, 36), np.uint8)
    label[20, 24, :18] = 1
    save_scan(tmp_path / "label.nii.gz", label)
    scan = Entry((str(save_scan(tmp_path / "scan.nii.gz", ball())),), None, str(tmp_path / "label.nii.gz"))
    recalibrate(run, write_datalist(tmp_path / "d.json", {"training": [scan]}), tmp_path / "anew", device="cpu")
    assert calibration_in(tmp_path / "anew").voxels == np.count_nonzero(ball()[:, :, 18:])


@pytest.mark.parametrize("scans", [1, 2, SCANS])
def test_few_scans_are_warned_of_with_what_can_be_said(
    run: Path, clinic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, scans: int
) -> None:
    data = write_datalist(tmp_path / "d.json", {"training": read_datalist(clinic)["training"][:scans]})
    result = recalibrate(run, data, tmp_path / "anew", device="cpu")
    assert f"{scans} healthy scan" in caplog.text
    assert "give 20 or more" in caplog.text
    assert ("does not check whether a scan is like them" in caplog.text) == (scans < 3)
    if scans == 1:
        assert "how much it marks in other scans is not known" in caplog.text
        assert "not known, because no other scan measures it" in result.summary()
    else:
        assert result.provenance.by_new is not None
        assert f"this may be {result.provenance.by_new.interval_text}" in caplog.text


def test_twenty_scans_are_enough(caplog: pytest.LogCaptureFixture) -> None:
    provenance = Provenance("2025-01-31", "1.2.3", "", 0, 0.003, None, FalsePositives.of(np.asarray([0.1, 0.2])))
    recalibrating._warn_of_few(20, provenance)
    assert not caplog.text
    recalibrating._warn_of_few(19, provenance)
    assert "19 healthy scans are few" in caplog.text


def test_a_scan_unlike_the_former_healthy_ones_is_warned_of(
    anew: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = Entry((str(save_scan(tmp_path / "small.nii.gz", ball(radius=8.0))),))
    recalibrate(anew, write_datalist(tmp_path / "d.json", {"training": [small]}), tmp_path / "again", device="cpu")
    assert f"small.nii.gz: this scan differs from the {SCANS} healthy reference scans" in caplog.text


def test_a_model_without_calibration_gets_one(run: Path, clinic: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("slice_bank")))
    Run(bare).calibration.unlink()
    result = recalibrate(bare, clinic, tmp_path / "anew", device="cpu")
    assert result.provenance.by_former is None
    assert "the model had no calibration" in result.summary()
    assert calibration_in(tmp_path / "anew").provenance == result.provenance


@pytest.mark.parametrize("split", ["test", "tune"])
def test_a_scan_that_results_come_from_is_refused_whatever_its_name(
    run: Path, clinic: Path, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = read_datalist(clinic)["training"]
    copy = Entry((str(shutil.copy(entries[0].images[0], tmp_path / "renamed.nii.gz")),))
    data = write_datalist(tmp_path / "d.json", {"healthy": entries, split: [copy]})
    assert main(command(run, data, tmp_path / "anew", "--split", "healthy")) == 2
    error = capsys.readouterr().err
    assert f"1 scan is in `healthy` and in `{split}`: " in error
    assert "renamed.nii.gz" in error
    assert main(command(run, data, tmp_path / "anew", "--split", split)) == 0  # of its own scans it takes all


def test_a_scan_that_was_learned_is_refused_whatever_its_name(run: Path, cohort: Path, tmp_path: Path) -> None:
    learned = read_training_cohort(cohort, seed=1)["training"][0]
    copy = Entry((str(shutil.copy(learned.images[0], tmp_path / "renamed.nii.gz")),))
    with pytest.raises(UsageError, match=r"the model was trained on .*renamed\.nii\.gz"):
        recalibrate(run, write_datalist(tmp_path / "d.json", {"training": [copy]}), tmp_path / "anew", device="cpu")
    assert not (tmp_path / "anew").exists()


def test_an_output_that_is_there_is_refused(run: Path, clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "model.zip").touch()
    packed = pack(run, tmp_path / "packed.zip")
    for output in (tmp_path / "full", tmp_path / "model.zip", tmp_path / "full" / "mine.txt"):
        with pytest.raises(UsageError, match="it is there already"):
            recalibrate(run, clinic, output, device="cpu")
    for model in (run, packed):
        with pytest.raises(UsageError, match="this is the model itself"):
            recalibrate(model, clinic, model, device="cpu")
    with pytest.raises(UsageError, match="cannot be written"):
        recalibrate(run, clinic, tmp_path / "full" / "mine.txt" / "anew", device="cpu")


def test_an_empty_folder_is_filled(run: Path, clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "anew").mkdir()
    recalibrate(run, clinic, tmp_path / "anew", device="cpu")
    assert calibration_in(tmp_path / "anew").scans == SCANS


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"healthy": []}, "it has no split `training`"),
        ({"training": []}, "it has no scans under `training`"),
        ({"training": [Entry(("broken.nii.gz",))]}, "none of the 1 scans of `training` can be used"),
    ],
)
def test_nothing_to_calibrate_on_is_wrong_usage(
    run: Path, tmp_path: Path, splits: dict[str, list[Entry]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    assert main(command(run, write_datalist(tmp_path / "d.json", splits), tmp_path / "anew")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "anew").exists()


@pytest.mark.parametrize(
    ("output", "stopped_at"), [("anew", "score_healthy"), ("anew", "shutil.copyfile"), ("anew.zip", "pack")]
)
def test_a_command_that_is_stopped_leaves_nothing(
    run: Path, clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, stopped_at: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"pipeline.scoring.recalibrating.{stopped_at}", stop)
    with pytest.raises(KeyboardInterrupt):
        recalibrate(run, clinic, tmp_path / output, device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_leaves_nothing(
    run: Path, clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.scoring.recalibrating.shutil.copyfile", fail)
    with pytest.raises(UsageError, match=r"anew: it cannot be written .*the disk is full"):
        recalibrate(run, clinic, tmp_path / "anew", device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_calibration_file_of_before_provenance_is_read(run: Path, tmp_path: Path) -> None:
    content = json.loads(Run(run).calibration.read_text())
    del content["provenance"]
    file = Run(tmp_path).calibration
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    calibration = load_calibration(tmp_path, load_model(run, "cpu"))
    assert calibration is not None
    assert calibration.provenance is None
