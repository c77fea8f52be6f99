"""Prediction: the outputs, bad scans beside good ones, and running twice."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dicom_series import write_series
from helpers import ball, save_scan

from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE
from pipeline.model.trained import load_model
from pipeline.prediction.predicting import predict
from pipeline.scoring.calibration import load_calibration

NAMES = ("image", "combined", "rec", "kl", "recommended", "surprise", "anomalies", "clusters")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    save_scan(folder / "one.nii.gz", ball(seed=1))
    save_scan(folder / "two.nii.gz", ball((30, 30, 30), 12, seed=2), np.diag([-5.0, 4.0, 4.0, 1.0]))
    return folder


def voxels(file: Path) -> np.ndarray:
    return np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj)


def test_each_case_has_its_files_on_its_own_grid(run: Path, scans: Path, tmp_path: Path) -> None:
    results = predict(run, [scans], tmp_path / "out", device="cpu")
    assert [(result.case, result.status) for result in results] == [("one", "done"), ("two", "done")]
    for case in ("one", "two"):
        scan = nib.nifti1.Nifti1Image.from_filename(scans / f"{case}.nii.gz")
        for name in NAMES:
            image = nib.nifti1.Nifti1Image.from_filename(tmp_path / "out" / case / f"{case}_{name}.nii.gz")
            assert image.shape == scan.shape
            assert np.array_equal(image.affine, scan.affine)
        assert np.array_equal(voxels(tmp_path / "out" / case / f"{case}_image.nii.gz"), np.asarray(scan.dataobj))
        table = pd.read_csv(tmp_path / "out" / case / f"{case}_slices.csv")
        assert table.columns.tolist() == [
            "index", "position_mm", "brain_share", "outside_training_range", "kl", "rec", "elbo", "max_recommended",
        ]  # fmt: skip
        assert (tmp_path / "out" / case / f"{case}_preview.png").read_bytes().startswith(b"\x89PNG")
        assert json.loads((tmp_path / "out" / case / "case.json").read_text())["case"] == case
    assert not list((tmp_path / "out").rglob("*partial*"))


def test_a_number_sign_in_a_path_is_kept(run: Path, tmp_path: Path) -> None:
    model = shutil.copytree(run, tmp_path / "model #1")
    save_scan(tmp_path / "head #2.nii.gz", ball(seed=1))
    (result,) = predict(model, [tmp_path / "head #2.nii.gz"], tmp_path / "out #3", device="cpu")
    assert result.status == "done", result.reason
    assert (tmp_path / "out #3" / "head #2" / "head #2_recommended.nii.gz").exists()


def test_combined_is_the_product_on_the_networks_grid_and_no_map_is_negative(
    run: Path, scans: Path, tmp_path: Path
) -> None:
    predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu")
    for name in NAMES[1:6]:
        volume = voxels(tmp_path / "out" / "one" / f"one_{name}.nii.gz")
        assert volume.dtype == np.float32
        assert volume.min() >= 0


def test_a_bad_scan_is_named_and_the_others_go_on(run: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "bad.nii.gz").write_bytes(b"not a scan")
    save_scan(scans / "nan.nii.gz", np.where(ball() > 0, np.nan, 0).astype(np.float32))
    results = predict(run, [scans], tmp_path / "out", device="cpu")
    table = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False).set_index("case")
    assert {result.case: result.status for result in results} == {
        "bad": "failed", "nan": "failed", "one": "done", "two": "done",
    }  # fmt: skip
    assert "not a readable NIfTI file" in table.loc["bad", "reason"]
    assert "not finite" in table.loc["nan", "reason"]
    folders = {folder.name for folder in (tmp_path / "out").iterdir() if folder.is_dir()}
    assert folders == {"one", "two", "viewer_files"}


def test_a_second_run_does_nothing_again(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans], tmp_path / "out", device="cpu")
    file = tmp_path / "out" / "one" / "one_rec.nii.gz"
    before = file.stat().st_mtime_ns
    assert [r.status for r in predict(run, [scans], tmp_path / "out", device="cpu")] == ["done"] * 2
    assert file.stat().st_mtime_ns == before


def test_a_second_run_sums_up_as_the_first(run: Path, scans: Path, tmp_path: Path) -> None:
    first = predict(run, [scans], tmp_path / "out", device="cpu")
    summary = (tmp_path / "out" / "summary.csv").read_text()
    assert predict(run, [scans], tmp_path / "out", device="cpu") == first
    assert (tmp_path / "out" / "summary.csv").read_text() == summary


def test_a_case_that_lost_a_file_is_made_anew(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans], tmp_path / "out", device="cpu")
    file = tmp_path / "out" / "one" / "one_kl.nii.gz"
    before = voxels(file)
    file.unlink()
    predict(run, [scans], tmp_path / "out", device="cpu")
    assert np.array_equal(voxels(file), before)


def test_surprise_and_anomalies_follow_the_calibration(run: Path, scans: Path, tmp_path: Path) -> None:
    (result,) = predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu", fpr=0.05)
    maps = {name: voxels(tmp_path / "out" / "one" / f"one_{name}.nii.gz") for name in NAMES}
    calibration = load_calibration(run, load_model(run, "cpu"))
    assert calibration is not None
    brain = maps["image"] > 0
    marked = brain & (maps["recommended"] >= calibration.threshold(0.05))
    assert maps["anomalies"].dtype == np.uint8
    assert np.array_equal(maps["anomalies"] > 0, marked)
    assert np.allclose(maps["surprise"], np.where(brain, calibration.surprise(maps["recommended"]), 0))
    assert result.anomaly_ml == pytest.approx(marked.sum() * 0.064)
    assert result.max_surprise == pytest.approx(maps["surprise"].max())


def test_another_fpr_is_another_result(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu")
    (result,) = predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu", fpr=0.2)
    assert "--fpr" in result.reason
    with pytest.raises(UsageError, match="between 0 and 1"):
        predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu", fpr=1.5)


def test_without_calibration_there_is_no_surprise(run: Path, scans: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "models" / "calibration.json").unlink()
    (result,) = predict(bare, [scans / "one.nii.gz"], tmp_path / "out", device="cpu")
    assert result.status == "done"
    assert result.max_surprise is None
    assert not (tmp_path / "out" / "one" / "one_surprise.nii.gz").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["calibration"] is None


def test_a_dicom_series_goes_the_whole_way_under_a_neutral_name(run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "export", ball().astype(np.int16))
    (result,) = predict(run, [tmp_path / "export"], tmp_path / "out", device="cpu")
    assert (result.status, result.case[:6]) == ("done", "series")
    image = nib.nifti1.Nifti1Image.from_filename(tmp_path / "out" / result.case / f"{result.case}_image.nii.gz")
    assert sorted(np.unique(np.asarray(image.dataobj))) == sorted(np.unique(ball()))
    assert predict(run, [tmp_path / "export"], tmp_path / "out", device="cpu") == [result]


def test_results_of_another_scan_are_not_taken_for_this_one(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans], tmp_path / "out", device="cpu")
    save_scan(scans / "one.nii.gz", ball(seed=77))
    results = predict(run, [scans], tmp_path / "out", device="cpu")
    assert [r.status for r in results] == ["failed", "done"]
    assert "--overwrite" in results[0].reason
    results = predict(run, [scans], tmp_path / "out", device="cpu", overwrite=True)
    assert [r.status for r in results] == ["done", "done"]
    assert np.array_equal(voxels(tmp_path / "out" / "one" / "one_image.nii.gz"), ball(seed=77))


def test_a_half_written_case_does_not_pass_for_a_complete_one(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu")
    (tmp_path / "out" / "one" / "case.json").unlink()
    assert predict(run, [scans / "one.nii.gz"], tmp_path / "out", device="cpu")[0].status == "failed"


def test_a_scan_with_its_skull_is_warned_of(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voxels = ball().astype(np.float32)
    shell = np.linalg.norm(np.indices(voxels.shape) - np.array([19.5, 23.5, 17.5])[:, None, None, None], axis=0)
    voxels = np.where(shell > 12, rng.uniform(1, 20, voxels.shape), voxels)  # bone, air and noise
    voxels[(shell > 15) & (shell < 17)] = 700  # scalp
    save_scan(tmp_path / "head.nii.gz", voxels)
    (result,) = predict(run, [tmp_path / "head.nii.gz"], tmp_path / "out", device="cpu")
    assert result.status == "done"
    assert "skull" in result.warnings[0]
    assert "skull" in pd.read_csv(tmp_path / "out" / "summary.csv")["warnings"][0]


def test_a_mask_decides_where_scores_are(run: Path, scans: Path, tmp_path: Path) -> None:
    mask = np.zeros((40, 48, 36), np.uint8)
    mask[12:28, 12:36, 10:26] = 1
    save_scan(tmp_path / "mask.nii.gz", mask)
    predict(run, [scans / "one.nii.gz"], tmp_path / "out", [tmp_path / "mask.nii.gz"], device="cpu")
    rec = voxels(tmp_path / "out" / "one" / "one_rec.nii.gz")
    assert (rec[mask == 0] == 0).all()
    assert (rec[mask == 1] > 0).mean() > 0.9


def test_the_bundle_command_writes_the_same_voxels(run: Path, scans: Path, tmp_path: Path) -> None:
    predict(run, [scans], tmp_path / "ours", device="cpu")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run"),
        *("--config_file", "11/configs/inference.yaml"),
        *("--bundle_root", "11", "--dataset_dir", "2024", "--output_dir", "7"),  # which Fire makes numbers of
    ]
    scans.rename(tmp_path / "2024")
    shutil.copytree(run, tmp_path / "11", ignore=shutil.ignore_patterns("slice_bank", "checkpoints"))
    environment = {**os.environ, "PYTHONPATH": str(BUNDLE.parents[1])}
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, env=environment)
    for case in ("one", "two"):
        for name in NAMES:
            file = Path(case) / f"{case}_{name}.nii.gz"
            assert np.array_equal(voxels(tmp_path / "ours" / file), voxels(tmp_path / "7" / file)), file


def test_what_is_passed_over_stands_in_the_report_and_in_run_json(
    run: Path, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.img", "a.hdr", "x/b.nii.bz2", "two_seg.nii.gz"):
        (scans / name).parent.mkdir(exist_ok=True)
        (scans / name).touch()
    assert len(predict(run, [scans], tmp_path / "out", device="cpu")) == 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    lines = json.loads((tmp_path / "out" / "run.json").read_text())["skipped"]
    assert len(lines) == 3
    assert all(line in page and line in caplog.messages for line in lines)
    for text in ("a.hdr and a.img are not read", "x/b.nii.bz2 is not read", "two_seg.nii.gz is passed over"):
        assert text in page


def test_a_model_that_is_none_is_wrong_usage(run: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a model"):
        predict(tmp_path, [scans], tmp_path / "out")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "models" / "model.pt").unlink()
    with pytest.raises(UsageError, match="no weights yet"):
        predict(unfinished, [scans], tmp_path / "out")
    (unfinished / "models" / "model.pt").write_bytes(b"something else")
    with pytest.raises(UsageError, match="not the weights of this model"):
        predict(unfinished, [scans], tmp_path / "out")


def test_a_folder_that_prediction_did_not_make_is_never_removed(run: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "one").mkdir(parents=True)
    save_scan(study / "one" / "one.nii.gz", ball())
    (study / "one" / "notes.txt").write_text("mine")
    (result,) = predict(run, [study / "one"], study, device="cpu", overwrite=True)
    assert result.status == "failed"
    assert "is not a result of predict" in result.reason
    assert (study / "one" / "one.nii.gz").exists()
    assert (study / "one" / "notes.txt").read_text() == "mine"


def test_maps_written_inside_the_input_folder_are_no_scans(run: Path, scans: Path) -> None:
    for _ in range(2):
        assert len(predict(run, [scans], scans / "out", device="cpu")) == 2


def test_a_second_run_keeps_the_warnings_of_the_first(run: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "wide.nii.gz", ball((72, 72, 20), 34))
    first, second = (predict(run, [tmp_path / "wide.nii.gz"], tmp_path / "out", device="cpu")[0] for _ in range(2))
    assert first.warnings == second.warnings != []


def test_too_many_channels_are_named(run: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(
        json.dumps({"test": [{"image": [str(scans / "one.nii.gz"), str(scans / "one.nii.gz")]}]})
    )
    (result,) = predict(run, [tmp_path / "two.json"], tmp_path / "out", device="cpu")
    assert "2 channels, but the model needs 1" in result.reason


def test_a_corrupt_mask_is_named(run: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(b"no mask")
    (result,) = predict(run, [scans / "one.nii.gz"], tmp_path / "out", [tmp_path / "mask.nii.gz"], device="cpu")
    assert result.reason.startswith("mask.nii.gz: not a readable NIfTI file")


def test_weights_trained_with_other_settings_are_refused(run: Path, scans: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(run, changed)
    file = changed / "configs" / "train.yaml"
    file.write_text(file.read_text().replace("field_of_view: 192", "field_of_view: 160"))
    with pytest.raises(UsageError, match="trained with field_of_view = 192"):
        predict(changed, [scans], tmp_path / "out")
