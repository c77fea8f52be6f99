"""Evaluation: a model's scores against annotated lesions, beside baselines without a model.

The story of `evaluate`: each annotated scan is scored once, in two threads, and its voxels are counted into histograms
(metrics.py); the map of `recommended` waits on disk for the threshold that the lesion-wise figures need (lesions.py).
"""

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from tqdm import tqdm

from pipeline.baselines import BASELINES, Baselines
from pipeline.cohort import Entry, read_datalist
from pipeline.configuration import made, parsed
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.evaluation_page import write_page
from pipeline.lesions import lesion_metrics, lesions_of
from pipeline.metrics import ScoreHistograms, dice_of_splits
from pipeline.model import Model, load_model
from pipeline.pictures import upright
from pipeline.scans import check_scan, read_header
from pipeline.scoring import MAPS, ScanScores, score_scan
from transforms import volume_to_slices

logger = logging.getLogger(__name__)

REPLICATES = 200
"""Bootstrap samples of the cases, for the intervals."""
SPLITS = 100
"""Random splits of the cases, for the Dice at a threshold from a fifth of them."""
COARSE_BITS = 14
"""Bits of the scores in the many histograms for intervals and splits."""
ANOMALOUS_PIXELS = 20
"""A slice with more annotated pixels is anomalous, one with none normal (Zimmerer et al. 2019)."""
FEWEST_CASES = 5
"""Below, neither intervals nor splits mean anything."""
SCORES = (*MAPS, *BASELINES)
SLICE_SCORES = ("elbo", "kl", "rec", "max_recommended")
NOT_TRAINED = "not trained: at lambda = 1 nothing trains the variance"


@dataclass(frozen=True)
class Case:
    """What a case contributes, without its maps."""

    name: str
    scores: dict[str, np.ndarray]
    label: np.ndarray
    outside: int
    slices: pd.DataFrame
    mu: np.ndarray
    voxel_ml: float


class Totals:
    """The histograms that all cases are counted into."""

    def __init__(self, cases: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        # A fifth of the cases chooses the threshold, in each of the splits another fifth.
        self.chooses = np.argsort(self.random.random((SPLITS, cases)), 1) < max(1, round(cases / 5))
        self.pooled = {name: ScoreHistograms() for name in SCORES}
        self.bootstrap = {name: ScoreHistograms(REPLICATES, COARSE_BITS) for name in SCORES}
        self.choosing = {name: ScoreHistograms(SPLITS, COARSE_BITS) for name in SCORES}
        self.measuring = {name: ScoreHistograms(SPLITS, COARSE_BITS) for name in SCORES}
        self.outside = self.cases = 0
        self.mu_number, self.mu_sum, self.mu_squares = 0, np.zeros(1), np.zeros(1)

    def add(self, number: int, case: Case) -> dict[str, Any]:
        """Count a case, and return its own metrics."""
        weights = self.random.poisson(1, REPLICATES)  # the bootstrap of a stream
        chooses = self.chooses[:, number]
        row: dict[str, Any] = {
            "case": case.name,
            "voxel_ml": case.voxel_ml,
            "lesion_ml": float(case.label.sum() * case.voxel_ml),
        }
        for name, scores in case.scores.items():
            self.pooled[name].add(scores, case.label)
            self.bootstrap[name].add(scores, case.label, weights)
            self.choosing[name].add(scores, case.label, chooses)
            self.measuring[name].add(scores, case.label, ~chooses)
            if case.label.any():
                own = ScoreHistograms().add(scores, case.label)
                row |= {f"{name}_ap": own.average_precision()[0], f"{name}_best_dice": own.best_dice()[0]}
        self.outside += case.outside
        self.cases += 1
        self.mu_number += len(case.mu)
        self.mu_sum = self.mu_sum + case.mu.sum(0)
        self.mu_squares = self.mu_squares + np.square(case.mu).sum(0)
        return row

    def pixels(self, name: str) -> dict[str, Any]:
        """Return the voxel-wise metrics of a score, what cannot be said as null with the reason beside it."""
        pooled = self.pooled[name]
        metrics: dict[str, Any] = {
            "ap": pooled.average_precision()[0],
            "auroc_brain": pooled.auroc()[0],
            "auroc_all": pooled.with_outside(self.outside).auroc()[0],
            "best_dice": pooled.best_dice()[0],
            "best_threshold": pooled.best_threshold(),
            "dice_at_fpr": None,
            "dice_at_fpr_reason": "the model carries no calibration",
        }
        few = f"{self.cases} cases are fewer than {FEWEST_CASES}"
        if self.cases < FEWEST_CASES:
            for key in ("dice_20_80", "ap_ci", "best_dice_ci"):
                metrics |= {key: None, f"{key}_reason": few}
        else:
            split = dice_of_splits(self.choosing[name], self.measuring[name])
            metrics |= {"dice_20_80": float(split.mean()), "dice_20_80_sd": float(split.std())}
            for key, values in (
                ("ap_ci", self.bootstrap[name].average_precision()),
                ("best_dice_ci", self.bootstrap[name].best_dice()),
            ):
                metrics[key] = np.nanquantile(values, (0.025, 0.975)).tolist()
        return _without_nan(metrics, "there are no annotated voxels, or no others")

    def active_latents(self) -> int:
        """Return the number of latents whose mean varies: Var_x(mu(x)) > 0.01 (Burda et al. 2016)."""
        variance = self.mu_squares / self.mu_number - np.square(self.mu_sum / self.mu_number)
        return int((variance > 0.01).sum())


def _without_nan(metrics: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return metrics with null and a reason where a number is NaN."""
    for key in [key for key, value in metrics.items() if isinstance(value, float) and np.isnan(value)]:
        metrics |= {key: None, f"{key}_reason": reason}
    return {key: float(value) if isinstance(value, np.floating) else value for key, value in metrics.items()}


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
        model: the directory that training wrote.
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
    folder.mkdir(parents=True, exist_ok=True)
    trained = load_model(model, device)
    scan_scores = _scorer(trained, model)
    sign = -1.0 if trained.settings["polarity"] == "dark" else 1.0
    baselines = Baselines(splits.get("training", []), trained.preprocessing, trained.settings["slice_axis"], sign)
    totals, rows, slices, failed = Totals(len(entries), seed), [], [], {}

    with tempfile.TemporaryDirectory(dir=folder, prefix=".maps-") as maps:

        def work(number: int) -> Case | str:
            try:
                return _case(entries[number], trained, scan_scores, baselines, Path(maps) / f"{number}.npz")
            except Exception as error:  # whatever is wrong with one scan, the others go on
                return reason_of(error)

        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            cases = tqdm(pool.map(work, range(len(entries))), "evaluating", len(entries), unit="scan", disable=None)
            for number, case in enumerate(cases):
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
        "cases": len(rows),
        "without_label": unlabelled,
        "failed": failed,
        "slices": _slice_metrics(slice_table, totals, trained.kl_is_trained),
        "pixels": {name: _model_metrics(totals, name, trained.kl_is_trained) for name in MAPS},
        "baselines": {name: _baseline_metrics(totals, name, baselines) for name in BASELINES},
        "lesions": lesions,
    }
    metrics["verdict"] = verdict(metrics)
    flat = {**metrics["pixels"], **metrics["baselines"]}
    pd.DataFrame.from_dict(flat, orient="index").rename_axis("score").to_csv(folder / "metrics.csv")
    write_page(folder, metrics, totals.pooled, slice_table, _gallery(entries, table, trained, scan_scores))
    partial = folder / ".metrics.json.partial"
    partial.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    partial.replace(folder / "metrics.json")
    return metrics


Scorer = Callable[[Entry], tuple[dict[str, Any], ScanScores]]


def _scorer(model: Model, run: str | Path) -> Scorer:
    """Return how a scan is scored: by the inference configuration that the run carries."""
    inferer = made(parsed(Path(run) / "configs" / "inference.yaml", bundle_root=str(run)), "inferer")

    def score(entry: Entry) -> tuple[dict[str, Any], ScanScores]:
        check_scan(entry)
        item = model.preprocessing({key: entry[key] for key in ("image", "mask") if key in entry})
        return item, score_scan(model, item, inferer)

    return score


def _name(entry: Entry) -> str:
    image = entry["image"]
    return Path(image[0] if isinstance(image, list) else image).name.removesuffix(".gz").removesuffix(".nii")


def read_label(entry: Entry, shape: tuple[int, ...]) -> np.ndarray:
    """Return the boolean label (X, Y, Z) of an entry whose scan has a shape."""
    image = read_header(entry["label"])
    if image.shape[:3] != shape:
        raise ScanError(f"its label has the shape {image.shape[:3]}, but the scan {shape}; give the scan's own label")
    return np.asanyarray(image.dataobj).reshape(shape) > 0


def _case(entry: Entry, model: Model, scan_scores: Scorer, baselines: Baselines, file: Path) -> Case:
    """Score one scan, and leave its `recommended` and label, cut to the brain, in a file."""
    item, scores = scan_scores(entry)
    label = read_label(entry, scores.mask.shape)
    counted = scores.mask | label
    maps = {**scores.maps, **baselines(item)}
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(counted))
    np.savez(file, scores=scores.maps["recommended"][box], label=label[box])

    spacing = np.linalg.norm(item["scan"].affine.numpy()[:3, :3], axis=0)
    annotated = np.moveaxis(label, scores.scan_axis, 0).sum((1, 2))[scores.slices["index"]]
    images = volume_to_slices(item["image"].as_tensor(), model.settings["slice_axis"])
    brain = volume_to_slices(item["mask"].as_tensor(), model.settings["slice_axis"]).flatten(1).any(1)
    with torch.no_grad():
        mu = torch.cat([model.network.encode(x.to(model.device))[0].cpu() for x in images[brain].split(32)])
    return Case(
        name=_name(entry),
        scores={name: volume[counted] for name, volume in maps.items()},
        label=label[counted],
        outside=int(counted.size - counted.sum()),
        slices=scores.slices.assign(case=_name(entry), annotated_pixels=annotated),
        mu=mu.flatten(1).numpy().astype(np.float64),
        voxel_ml=float(np.prod(spacing)) / 1000,
    )


def _unknown(reason: str) -> dict[str, Any]:
    keys = ("ap", "auroc_brain", "auroc_all", "best_dice", "dice_20_80", "dice_at_fpr", "ap_ci", "best_dice_ci")
    return {**dict.fromkeys(keys), "reason": reason}


def _model_metrics(totals: Totals, name: str, kl_is_trained: bool) -> dict[str, Any]:
    if name in ("kl", "combined") and not kl_is_trained:
        return dict.fromkeys(("ap", "auroc_brain", "auroc_all", "best_dice", "dice_20_80"), None) | {
            "reason": NOT_TRAINED
        }
    return totals.pixels(name)


def _baseline_metrics(totals: Totals, name: str, baselines: Baselines) -> dict[str, Any]:
    if name.startswith("voxelwise") and baselines.reason is not None:
        return _unknown(baselines.reason)
    return totals.pixels(name)


def _slice_metrics(table: pd.DataFrame, totals: Totals, kl_is_trained: bool) -> dict[str, Any]:
    """Return how well slice scores tell anomalous slices (more than 20 annotated pixels) from normal ones (none)."""
    clear = table[(table["annotated_pixels"] == 0) | (table["annotated_pixels"] > ANOMALOUS_PIXELS)]
    anomalous = clear["annotated_pixels"] > 0
    metrics: dict[str, Any] = {"normal": int((~anomalous).sum()), "anomalous": int(anomalous.sum())}
    for name in SLICE_SCORES:
        if name in ("elbo", "kl") and not kl_is_trained:
            metrics[name] = {"auroc": None, "ap": None, "reason": NOT_TRAINED}
        elif anomalous.nunique() < 2:
            metrics[name] = {"auroc": None, "ap": None, "reason": "all slices are normal, or all anomalous"}
        else:
            score = -clear[name] if name == "elbo" else clear[name]  # the score is -ELBO
            metrics[name] = {
                "auroc": float(roc_auc_score(anomalous, score)),
                "ap": float(average_precision_score(anomalous, score)),
            }
    metrics["kl_q95"] = float(table["kl"].quantile(0.95)) if kl_is_trained else None
    metrics["active_latents"] = totals.active_latents()
    return metrics


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


def verdict(metrics: dict[str, Any]) -> str:
    """Return in words whether the model is worth anything: `recommended` against the best baseline."""
    known = {name: values["ap"] for name, values in metrics["baselines"].items() if values["ap"] is not None}
    ap = metrics["pixels"]["recommended"]["ap"]
    if ap is None or not known:
        return "Nothing can be said: there are no annotated voxels."
    best = max(known, key=lambda name: known[name])
    if ap > known[best]:
        return (
            f"`recommended` (AP {ap:.3f}) is better than the best baseline without a model, {best} ({known[best]:.3f})."
        )
    return (
        f"`recommended` (AP {ap:.3f}) does NOT beat the baseline {best} (AP {known[best]:.3f}), which needs no model: "
        "as it is, this model is of no use on this cohort."
    )


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


def summary_text(metrics: dict[str, Any]) -> str:
    """Return the metrics as a table for the terminal."""
    rows = {**metrics["pixels"], **{f"{name} (no model)": values for name, values in metrics["baselines"].items()}}
    lines = [f"{metrics['cohort']}, {metrics['split']}: {metrics['cases']} scans"]
    lines.append(f"{'':30} AP     AUROC  best Dice  Dice 20/80")
    for name, values in rows.items():
        if values["ap"] is None:
            lines.append(f"{name:30} {values.get('reason') or values.get('ap_reason')}")
        else:
            split = "-" if values["dice_20_80"] is None else f"{values['dice_20_80']:.3f}"
            lines.append(
                f"{name:30} {values['ap']:.3f}  {values['auroc_brain']:.3f}  {values['best_dice']:.3f}      {split}"
            )
    slices = metrics["slices"]["max_recommended"]["auroc"]
    if slices is not None:
        lines.append(f"slices by max_recommended: AUROC {slices:.3f}")
    return "\n".join([*lines, metrics["verdict"]])
