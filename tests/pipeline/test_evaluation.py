"""Evaluation: the numbers of metrics.json are those of the written maps."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.cohort import read_datalist
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate, summary_text
from pipeline.prediction import predict


def voxels(file: str | Path) -> np.ndarray:
    return np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj)


def test_metrics_are_those_of_the_written_maps_pooled_over_brain_and_label(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    metrics = evaluate(run, cohort, tmp_path / "evaluation", device="cpu")
    entries = read_datalist(cohort)["test"]
    predict(run, [entry["image"] for entry in entries], tmp_path / "maps", [e["mask"] for e in entries], device="cpu")
    labels, scores = [], []
    for i, entry in enumerate(entries):
        case = f"lesioned_{i:03d}"
        label, mask = voxels(entry["label"]) > 0, voxels(entry["mask"]) > 0
        scores.append(voxels(tmp_path / "maps" / case / f"{case}_recommended.nii.gz")[mask | label])
        labels.append(label[mask | label])
    y, s = np.concatenate(labels), np.concatenate(scores)
    assert metrics["cases"] == 3
    assert metrics["pixels"]["recommended"]["ap"] == pytest.approx(average_precision_score(y, s), abs=1e-3)
    assert metrics["pixels"]["recommended"]["auroc_brain"] == pytest.approx(roc_auc_score(y, s), abs=1e-3)
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text()) == metrics
    assert "recommended" in summary_text(metrics)


def test_scans_without_labels_are_counted_and_left_out(run: Path, cohort: Path, tmp_path: Path) -> None:
    splits = {"test": [*read_datalist(cohort)["test"], *read_datalist(cohort)["validation"]]}
    file = tmp_path / "datalist.json"
    file.write_text(json.dumps(splits))
    metrics = evaluate(run, file, tmp_path / "evaluation", device="cpu")
    assert (metrics["cases"], metrics["without_label"]) == (3, 1)


def test_a_bad_scan_is_named_and_the_others_go_on(run: Path, cohort: Path, tmp_path: Path) -> None:
    entries = read_datalist(cohort)["test"]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    file = tmp_path / "datalist.json"
    file.write_text(json.dumps({"test": [*entries, {"image": str(bad), "label": entries[0]["label"]}]}))
    metrics = evaluate(run, file, tmp_path / "evaluation", device="cpu")
    assert metrics["cases"] == 3
    assert "not a readable NIfTI" in metrics["failed"][str(bad)]


def test_a_split_that_is_not_there_is_wrong_usage(run: Path, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its splits are training, validation, test"):
        evaluate(run, cohort, tmp_path, split="tset")
    with pytest.raises(UsageError, match="has a `label`"):
        evaluate(run, cohort, tmp_path, split="training")
