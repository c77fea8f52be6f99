"""Evaluation: the numbers of metrics.json are those of the written maps."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helpers import save_scan, write_datalist
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.cohorts.datalist import Entry, read_datalist
from pipeline.errors import UsageError
from pipeline.evaluation.page import summary_text
from pipeline.evaluation.results import read_metrics
from pipeline.evaluation.run import evaluate
from pipeline.model.configuration import BUNDLE
from pipeline.prediction.predicting import predict
from pipeline.scoring import open_predictor


def voxels(file: str | Path) -> np.ndarray:
    return np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj)


def test_metrics_are_those_of_the_written_maps_pooled_over_brain_and_label(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    metrics = evaluate(run, cohort, tmp_path / "evaluation", device="cpu")
    entries = read_datalist(cohort)["test"]
    predict(
        run, [entry.images[0] for entry in entries], tmp_path / "maps", [str(e.mask) for e in entries], device="cpu"
    )
    labels, scores = [], []
    for i, entry in enumerate(entries):
        case = f"lesioned_{i:03d}"
        label, mask = voxels(entry.label) > 0, voxels(entry.mask) > 0
        scores.append(voxels(tmp_path / "maps" / case / f"{case}_recommended.nii.gz")[mask | label])
        labels.append(label[mask | label])
    y, s = np.concatenate(labels), np.concatenate(scores)
    assert metrics.cases == 3
    assert metrics.voxels["recommended"].ap == pytest.approx(average_precision_score(y, s), abs=1e-3)
    assert metrics.voxels["recommended"].auroc_brain == pytest.approx(roc_auc_score(y, s), abs=1e-3)
    whole = roc_auc_score(
        np.concatenate([(voxels(entry.label) > 0).ravel() for entry in entries]),
        np.concatenate([voxels(file).ravel() for file in sorted((tmp_path / "maps").glob("*/*_recommended.nii.gz"))]),
    )
    assert metrics.voxels["recommended"].auroc_all == pytest.approx(whole, abs=1e-3)
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text()) == metrics.to_json()
    assert read_metrics(tmp_path / "evaluation" / "metrics.json") == metrics
    assert "recommended" in summary_text(metrics)


def test_scans_without_labels_are_counted_and_left_out(run: Path, cohort: Path, tmp_path: Path) -> None:
    splits = {"test": [*read_datalist(cohort)["test"], *read_datalist(cohort)["validation"]]}
    file = write_datalist(tmp_path / "datalist.json", splits)
    metrics = evaluate(run, file, tmp_path / "evaluation", device="cpu")
    assert (metrics.cases, metrics.without_label) == (3, ["healthy_004"])


def test_a_bad_scan_is_named_and_the_others_go_on(run: Path, cohort: Path, tmp_path: Path) -> None:
    entries = read_datalist(cohort)["test"]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    file = write_datalist(tmp_path / "datalist.json", {"test": [*entries, Entry((str(bad),), label=entries[0].label)]})
    metrics = evaluate(run, file, tmp_path / "evaluation", device="cpu")
    assert metrics.cases == 3
    assert "not a readable NIfTI" in metrics.failed[str(bad)]


def test_a_split_that_is_not_there_is_wrong_usage(run: Path, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one by --split: training, validation, test"):
        evaluate(run, cohort, tmp_path, split="tset")
    with pytest.raises(UsageError, match="has a `label`"):
        evaluate(run, cohort, tmp_path, split="training")


def test_the_contract_of_metrics_json_is_kept(run: Path, cohort: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, cohort, tmp_path, device="cpu").to_json()
    assert {"cohort", "split", "cases", "slices", "pixels", "baselines"} <= metrics.keys()
    assert {"elbo", "kl", "rec", "max_recommended", "kl_q95", "active_latents"} <= metrics["slices"].keys()
    assert 0 <= metrics["slices"]["max_intensity_same_path"]["auroc"] <= 1
    assert set(metrics["pixels"]) == {"combined", "rec", "kl", "recommended"}
    keys = {
        "ap", "auroc_brain", "auroc_all", "best_dice", "dice_20_80", "dice_at_fpr", "ap_ci", "best_dice_ci",
    }  # fmt: skip
    for values in [*metrics["pixels"].values(), *metrics["baselines"].values()]:
        assert keys <= values.keys()
        for key in keys:
            assert values[key] is not None or "reason" in values or f"{key}_reason" in values, key
    assert "fewer than 5" in metrics["pixels"]["rec"]["dice_20_80_reason"]
    differences = metrics["paired"]
    assert {"recommended - intensity_same_path", "recommended - intensity_median"} <= differences.keys()
    for name, values in differences.items():
        assert {"ap", "ap_ci", "best_dice", "best_dice_ci"} <= values.keys()
        ours, theirs = metrics["pixels"]["recommended"], metrics["baselines"][name.removeprefix("recommended - ")]
        assert values["ap"] == ours["ap"] - theirs["ap"]
        assert values["best_dice"] == ours["best_dice"] - theirs["best_dice"]
        assert "fewer than 5" in values["ap_ci_reason"]
    assert "cannot be told" in metrics["verdict"]
    for name in (
        "metrics.csv",
        "cases.csv",
        "slices.csv",
        "evaluation.html",
        "curves.png",
        "gallery.png",
        "scores.png",
    ):
        assert (tmp_path / name).is_file(), name
    assert not list(tmp_path.glob(".*"))


def test_with_enough_cases_there_are_intervals_around_the_value(run: Path, cohort: Path, tmp_path: Path) -> None:
    entries = read_datalist(cohort)["test"]
    others = []
    for i, entry in enumerate(entries):  # copies would be left out
        scan = nib.nifti1.Nifti1Image.from_filename(entry.images[0])
        save_scan(other := tmp_path / f"{i}.nii.gz", np.asarray(scan.dataobj) * 1.01, scan.affine)
        others.append(replace(entry, images=(str(other),)))
    file = write_datalist(tmp_path / "datalist.json", {"test": entries + others})
    values = evaluate(run, file, tmp_path / "evaluation", device="cpu").voxels["recommended"]
    assert values.ap_ci[0] <= values.ap <= values.ap_ci[1]
    assert values.dice_20_80 <= values.best_dice + 0.01
    again = evaluate(run, file, tmp_path / "again", device="cpu").voxels["recommended"]
    assert again == values
    assert read_metrics(tmp_path / "again" / "metrics.json").voxels["recommended"] == values


def test_normal_slices_have_no_annotated_pixel_and_anomalous_ones_more_than_20(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    metrics = evaluate(run, cohort, tmp_path, device="cpu")
    table = pd.read_csv(tmp_path / "slices.csv")
    expected = sum(int((voxels(entry.label) > 0).sum()) for entry in read_datalist(cohort)["test"])
    assert table["annotated_pixels"].sum() == expected
    assert metrics.slices.normal == (table["annotated_pixels"] == 0).sum()
    assert metrics.slices.anomalous == (table["annotated_pixels"] > 20).sum()


def test_lesions_are_counted_at_the_calibrated_threshold_or_at_the_best_one(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    lesions = evaluate(run, cohort, tmp_path / "calibrated", device="cpu").lesions
    assert lesions.threshold == open_predictor(run, "cpu").threshold
    assert "calibration" in lesions.threshold_from
    table = pd.read_csv(tmp_path / "calibrated" / "cases.csv")
    assert table["lesions"].sum() == lesions.all.lesions == sum(group.lesions for group in lesions.by_size.values())
    assert table["lesions_hit"].sum() == pytest.approx(lesions.all.hit * lesions.all.lesions)
    assert table["false_positives"].mean() == lesions.false_positives_per_case
    assert table["false_positive_ml"].mean() == pytest.approx(lesions.false_positive_ml_per_case)
    assert (tmp_path / "calibrated" / "froc.png").is_file()

    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "models" / "calibration.json").unlink()
    metrics = evaluate(bare, cohort, tmp_path / "best", device="cpu")
    assert metrics.lesions.threshold == metrics.voxels["recommended"].best_threshold
    assert "best Dice" in metrics.lesions.threshold_from
    assert metrics.lesions.threshold_from in (tmp_path / "best" / "evaluation.html").read_text(encoding="utf-8")
    assert metrics.lesions.froc == lesions.froc


def test_hostile_names_are_harmless_on_the_page(run: Path, cohort: Path, tmp_path: Path) -> None:
    entry = read_datalist(cohort)["test"][0]
    bad = tmp_path / "<script>alert(1)</script>.nii.gz"
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_bytes(b"no scan")
    file = write_datalist(tmp_path / "datalist.json", {"test": [entry, Entry((str(bad),), label=entry.label)]})
    evaluate(run, file, tmp_path / "evaluation", device="cpu")
    page = (tmp_path / "evaluation" / "evaluation.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in page


def test_the_bundle_command_gives_the_same_numbers(run: Path, cohort: Path, tmp_path: Path) -> None:
    ours = evaluate(run, cohort, tmp_path / "ours", device="cpu")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(run / "configs" / "evaluate.yaml")),
        *("--bundle_root", str(run), "--dataset_dir", str(cohort), "--output_dir", str(tmp_path / "bundle")),
    ]
    subprocess.run(command, check=True, cwd=BUNDLE.parents[1], capture_output=True)
    assert json.loads((tmp_path / "bundle" / "metrics.json").read_text()) == ours.to_json()


def test_scans_without_any_lesion_give_null_with_a_reason(run: Path, cohort: Path, tmp_path: Path) -> None:
    entry = read_datalist(cohort)["test"][0]
    label = nib.nifti1.Nifti1Image.from_filename(entry.label)
    nib.save(nib.nifti1.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), tmp_path / "none.nii.gz")
    file = write_datalist(
        tmp_path / "datalist.json", {"test": [replace(entry, label=str(tmp_path / "none.nii.gz"))] * 6}
    )
    evaluate(run, file, tmp_path / "evaluation", device="cpu")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text(), parse_constant=refuse)
    for key in ("ap", "ap_ci", "dice_20_80", "best_dice"):
        assert metrics["pixels"]["recommended"][key] is None
        assert metrics["pixels"]["recommended"][f"{key}_reason"]


def test_a_bad_training_scan_does_not_stop_the_evaluation(run: Path, cohort: Path, tmp_path: Path) -> None:
    splits = read_datalist(cohort)
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    splits["training"] = [Entry((str(tmp_path / "bad.nii.gz"),)), *splits["training"]]
    write_datalist(tmp_path / "datalist.json", splits)
    metrics = evaluate(run, tmp_path / "datalist.json", tmp_path / "evaluation", device="cpu")
    assert metrics.baselines["voxelwise_z"].ap is not None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixels": 1}'])
def test_what_is_no_metrics_file_is_none(tmp_path: Path, text: str) -> None:
    assert read_metrics(tmp_path / "metrics.json") is None
    (tmp_path / "metrics.json").write_text(text)
    assert read_metrics(tmp_path / "metrics.json") is None
