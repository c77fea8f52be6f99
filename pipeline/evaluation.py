"""Evaluation: a model's scores against annotated lesions, beside an intensity threshold."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.cohort import Entry, read_datalist
from pipeline.configuration import parsed
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.metrics import ScoreHistogram
from pipeline.model import Model, load_model
from pipeline.scans import check_scan, read_header
from pipeline.scoring import MAPS, score_scan

logger = logging.getLogger(__name__)


def evaluate(
    model: str | Path, data: str | Path, output: str | Path, split: str = "test", device: str | None = None
) -> dict[str, Any]:
    """Score the annotated scans of a split and return the metrics, which are written to metrics.json too.

    Args:
        model: the directory that training wrote.
        data: the datalist.
        output: folder of metrics.json.
        split: the split whose scans are scored; those without `label` are left out.
        device: where to compute; the GPU where there is one when None.

    Raises:
        UsageError: where the model or the split cannot be used.
    """
    splits = read_datalist(data)
    if split not in splits:
        raise UsageError(f"{data}: it has no split `{split}`; its splits are {', '.join(splits)}")
    entries = [entry for entry in splits[split] if "label" in entry]
    unlabelled = [entry for entry in splits[split] if "label" not in entry]
    if not entries:
        raise UsageError(f"{data}: no scan of `{split}` has a `label` to compare with")
    trained = load_model(model, device)
    inferer = parsed(Path(model) / "configs" / "inference.yaml", bundle_root=str(model)).get_parsed_content("inferer")
    histograms = {name: ScoreHistogram() for name in (*MAPS, "intensity")}
    failed: dict[str, str] = {}
    for entry in tqdm(entries, desc="evaluating", unit="scan", disable=None):
        try:
            _add_case(histograms, entry, trained, inferer)
        except Exception as error:  # whatever is wrong with one scan, the others go on
            failed[str(entry["image"])] = reason_of(error)
            logger.error("failed: %s: %s", entry["image"], reason_of(error))
    metrics: dict[str, Any] = {
        "cohort": Path(data).absolute().parent.name,
        "split": split,
        "cases": len(entries) - len(failed),
        "without_label": len(unlabelled),
        "failed": failed,
        "pixels": {name: _pixel_metrics(histograms[name]) for name in MAPS},
        "baselines": {"intensity": _pixel_metrics(histograms["intensity"])},
    }
    if not trained.kl_is_trained:
        for name in ("kl", "combined"):
            metrics["pixels"][name] = {"ap": None, "reason": "not trained: at lambda = 1 nothing trains the variance"}
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".metrics.json.partial"
    partial.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    partial.replace(folder / "metrics.json")
    return metrics


def _add_case(histograms: dict[str, ScoreHistogram], entry: Entry, model: Model, inferer: Any) -> None:
    """Add the voxels of the brain or the label of one scan, on its own grid."""
    check_scan(entry)
    item = model.preprocessing({key: value for key, value in entry.items() if key != "label"})
    scores = score_scan(model, item, inferer)
    label_image = read_header(entry["label"])
    label = np.asanyarray(label_image.dataobj).reshape(label_image.shape[:3]) > 0
    if label.shape != scores.mask.shape:
        raise ScanError(f"its label has the shape {label.shape}, but the scan {scores.mask.shape}")
    counted = scores.mask | label
    for name, volume in scores.maps.items():
        histograms[name].add(volume[counted], label[counted])
    image = item["scan"][0].numpy()
    inside = image[scores.mask]
    histograms["intensity"].add(((image - inside.mean()) / inside.std())[counted], label[counted])


def _pixel_metrics(histogram: ScoreHistogram) -> dict[str, Any]:
    return {
        "ap": histogram.average_precision(),
        "auroc_brain": histogram.auroc(),
        "best_dice": histogram.best_dice(),
    }


def summary_text(metrics: dict[str, Any]) -> str:
    """Return the metrics as a table for the terminal."""
    lines = [f"{metrics['cohort']}, {metrics['split']}: {metrics['cases']} scans", f"{'':24} AP     AUROC  best Dice"]
    rows = {**metrics["pixels"], **{f"{name} (no model)": values for name, values in metrics["baselines"].items()}}
    for name, values in rows.items():
        if values["ap"] is None:
            lines.append(f"{name:24} {values['reason']}")
        else:
            lines.append(f"{name:24} {values['ap']:.3f}  {values['auroc_brain']:.3f}  {values['best_dice']:.3f}")
    return "\n".join(lines)
