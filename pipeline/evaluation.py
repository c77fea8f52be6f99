"""Evaluation: a model's scores against annotated lesions, beside baselines without a model.

The story of `evaluate`: each annotated scan is scored once, in two threads, and its voxels are counted into histograms
(metrics.py); the map of `recommended` waits on disk for the threshold that the lesion-wise figures need (lesions.py).
"""

import json
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pipeline.baselines import BASELINES, Baselines
from pipeline.calibration import load_calibration
from pipeline.cohort import Entry, fingerprint_of_cohort, read_datalist
from pipeline.configuration import parsed
from pipeline.errors import UsageError, reason_of
from pipeline.evaluation_page import verdict, write_page
from pipeline.evaluation_totals import Case, Totals, baseline_metrics, model_metrics, slice_metrics
from pipeline.files import written_aside
from pipeline.lesions import lesion_metrics, lesions_of
from pipeline.metrics import count
from pipeline.model import Model, load_model
from pipeline.pictures import upright
from pipeline.scoring import MAPS, ScanScores, read_label, scan_scorer
from pipeline.unpacking import opened
from transforms import volume_to_slices

logger = logging.getLogger(__name__)


def evaluate(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    split: str = "test",
    device: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the annotated scans of a split, and write metrics.json, the tables, the figures and evaluation.html.

    Args:
        model: the directory that training wrote, or a zip of `pack`.
        data: the datalist; its training scans serve the voxelwise baseline.
        output: folder of what is written.
        split: the split whose scans are scored; those without `label` are left out and named.
        device: where to compute; the GPU where there is one when None.
        seed: of the bootstrap and of the splits.

    Returns:
        The content of metrics.json.

    Raises:
        UsageError: where the model or the split cannot be used.
    """
    splits = read_datalist(data)
    if split not in splits:
        raise UsageError(f"{data}: it has no split `{split}`; its splits are {', '.join(splits)}")
    entries = [entry for entry in splits[split] if "label" in entry]
    unlabelled = [_name(entry) for entry in splits[split] if "label" not in entry]
    if not entries:
        raise UsageError(f"{data}: no scan of `{split}` has a `label` to compare with")
    if unlabelled:
        logger.warning("left out, for they have no label: %s", ", ".join(unlabelled))
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the output folder cannot be made ({error.strerror})") from error
    with opened(model) as run:
        trained = load_model(run, device)
        scan_scores, threshold = scan_scorer(trained, run), _threshold(trained, run)
    baselines = Baselines(splits.get("training", []), trained)
    totals, rows, slices, failed = Totals(len(entries), seed, threshold), [], [], {}

    with tempfile.TemporaryDirectory(dir=folder, prefix=".maps-") as maps:

        def work(number: int) -> Case | str:
            try:
                return _case(entries[number], trained, scan_scores, baselines, Path(maps) / f"{number}.npz")
            except Exception as error:  # whatever is wrong with one scan, the others go on
                return reason_of(error)

        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            cases = _few_ahead(pool, work, len(entries))
            for number, case in enumerate(tqdm(cases, "evaluating", len(entries), unit="scan", disable=None)):
                if isinstance(case, str):
                    failed[str(entries[number]["image"])] = case
                    logger.error("failed: %s: %s", entries[number]["image"], case)
                    continue
                rows.append({"number": number, **totals.add(number, case)})
                slices.append(case.slices)
        if not rows:
            raise UsageError(f"{data}: none of the {len(entries)} scans of `{split}` could be scored")
        table = pd.DataFrame(rows)
        lesions = _lesion_wise(totals.pooled["recommended"].best_threshold(), table, Path(maps))

    table.drop(columns=["number", "voxel_ml"]).to_csv(folder / "cases.csv", index=False)
    slice_table = pd.concat(slices, ignore_index=True)
    slice_table.to_csv(folder / "slices.csv", index=False)
    metrics: dict[str, Any] = {
        "cohort": Path(data).absolute().parent.name,
        "split": split,
        "model": trained.fingerprint,
        "data": fingerprint_of_cohort(splits[split]),
        "cases": len(rows),
        "without_label": unlabelled,
        "failed": failed,
        "slices": slice_metrics(slice_table, totals, trained.kl_is_trained),
        "pixels": {name: model_metrics(totals, name, trained.kl_is_trained) for name in MAPS},
        "baselines": {name: baseline_metrics(totals, name, baselines) for name in BASELINES},
        "lesions": lesions,
    }
    metrics["verdict"] = verdict(metrics)
    flat = {**metrics["pixels"], **metrics["baselines"]}
    pd.DataFrame.from_dict(flat, orient="index").rename_axis("score").to_csv(folder / "metrics.csv")
    write_page(folder, metrics, totals.pooled, slice_table, _gallery(entries, table, trained, scan_scores))
    with written_aside(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    return metrics


def _few_ahead(pool: ThreadPoolExecutor, work: Callable[[int], Case | str], number: int) -> Iterator[Case | str]:
    """Yield the results of work(0), work(1), ... in order, with no more than a few under way or waiting."""
    waiting: deque[Future[Case | str]] = deque()
    for i in range(number):
        waiting.append(pool.submit(work, i))
        if len(waiting) > 4:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


Scorer = Callable[[Entry], tuple[dict[str, Any], ScanScores]]


def _threshold(model: Model, run: Path) -> float | None:
    """Return the threshold of `recommended` at the run's own fpr, None without calibration."""
    calibration = load_calibration(run, model)
    return calibration.threshold(parsed(Path(run) / "configs" / "inference.yaml")["fpr"]) if calibration else None


def _name(entry: Entry) -> str:
    image = entry["image"]
    return Path(image[0] if isinstance(image, list) else image).name.removesuffix(".gz").removesuffix(".nii")


def _case(entry: Entry, model: Model, scan_scores: Scorer, baselines: Baselines, file: Path) -> Case:
    """Score one scan, and leave its `recommended` and label, cut to the brain, in a file."""
    item, scores = scan_scores(entry)
    label = read_label(entry, scores.mask.shape)
    counted = scores.mask | label
    maps = {**scores.maps, **baselines(item)}
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(counted))
    np.savez(file, scores=scores.maps["recommended"][box], label=label[box])

    voxel_ml = float(abs(np.linalg.det(item["scan"].affine.numpy()[:3, :3]))) / 1000
    in_slice = tuple(axis for axis in range(3) if axis != scores.scan_axis)
    by_slice = {
        "annotated_pixels": label.sum(in_slice)[scores.slices["index"]],
        "max_intensity_same_path": maps["intensity_same_path"].max(in_slice)[scores.slices["index"]],
    }
    images = volume_to_slices(item["image"].as_tensor(), model.settings["slice_axis"])
    brain = volume_to_slices(item["mask"].as_tensor(), model.settings["slice_axis"]).flatten(1).any(1)
    with torch.no_grad():
        mu = torch.cat([model.network.encode(x.to(model.device))[0].cpu() for x in images[brain].split(32)])
    return Case(
        name=_name(entry),
        counts={name: count(volume[counted], label[counted]) for name, volume in maps.items()},
        lesion_ml=float(label.sum() * voxel_ml),
        outside=int(counted.size - counted.sum()),
        slices=scores.slices.assign(case=_name(entry), **by_slice),
        mu=mu.flatten(1).numpy().astype(np.float64),
        voxel_ml=voxel_ml,
    )


def _lesion_wise(threshold: float, table: pd.DataFrame, maps: Path) -> dict[str, Any]:
    """Return the lesion-wise metrics at a threshold, and add each case's to the table."""
    lesions, false_positives = [], []
    for row in table.to_dict("records"):
        with np.load(maps / f"{row['number']}.npz") as kept:
            found, false = lesions_of(kept["scores"], kept["label"], threshold, row["voxel_ml"])
        lesions.append(found)
        false_positives.append(false)
    table["lesions"] = [len(found) for found in lesions]
    table["lesions_hit"] = [int(found["hit"].sum()) for found in lesions]
    table["false_positives"] = false_positives
    return lesion_metrics(pd.concat(lesions, ignore_index=True), false_positives, threshold)


def _gallery(
    entries: Sequence[Entry], table: pd.DataFrame, model: Model, scan_scores: Scorer
) -> dict[str, dict[str, Any]]:
    """Return, for the best, median and worst case, a slice with its reconstruction, label and scores."""
    ranked = (
        table.dropna(subset="recommended_ap").sort_values("recommended_ap") if "recommended_ap" in table else table[:0]
    )
    chosen = {"best": -1, "median": len(ranked) // 2, "worst": 0} if len(ranked) else {}
    rows = {}
    for title, position in chosen.items():
        row = ranked.iloc[position]
        item, scores = scan_scores(entries[int(row["number"])])
        label = read_label(entries[int(row["number"])], scores.mask.shape)
        index = int(np.moveaxis(label, scores.scan_axis, 0).sum((1, 2)).argmax())
        volumes = {
            "input": item["scan"][0].numpy(),
            "reconstruction": np.where(scores.mask, scores.reconstruction, scores.reconstruction[scores.mask].min()),
            "annotation": label,
            **scores.maps,
        }
        rows[f"{title}: {row['case']} (AP {row['recommended_ap']:.2f})"] = {
            name: upright(volume, item["scan"].affine.numpy(), scores.scan_axis, index)
            for name, volume in volumes.items()
        }
    return rows
