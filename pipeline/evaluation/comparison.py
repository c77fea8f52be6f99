"""Comparison: VAE, context encoder and ceVAE over several seeds, as in figure 2 of the paper, beside the baselines."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.cohorts import read_datalist
from pipeline.errors import UsageError
from pipeline.evaluation.results import Metrics, SliceScore, VoxelMetrics, read_metrics
from pipeline.evaluation.run import evaluate
from pipeline.model import load_model
from pipeline.scans import fingerprint_of_cohort
from pipeline.scoring import MAPS
from pipeline.training import train

logger = logging.getLogger(__name__)

METRICS = ("ap", "auroc_brain", "best_dice", "dice_20_80", "dice_at_fpr")
NAMES = {0.0: "VAE", 1.0: "CE"}
STYLES = ("--", "-.", ":", (0, (1, 3)), (0, (5, 1)))
"""Lines of the baselines."""


def compare(
    data: str | Path,
    output: str | Path,
    lambdas: Sequence[float] = (0.0, 0.5, 1.0),
    seeds: int = 3,
    config: str = "train",
    settings: Sequence[str] = (),
    split: str = "test",
    device: str | None = None,
) -> pd.DataFrame:
    """Train and evaluate each lambda with each seed, and write comparison.csv, .json, .md and .png.

    What is done already is not done again: the same command goes on where it was stopped.

    Args:
        data: the datalist.
        output: folder of the runs, their evaluations and the comparison.
        lambdas: weights of the CE branch.
        seeds: number of seeds, from 0 on.
        config: as that of `train`.
        settings: as those of `train`.
        split: the split that is evaluated.
        device: where to compute; the GPU where there is one when None.

    Returns:
        The table: a row for each lambda and score, and for each baseline.

    Raises:
        UsageError: where cohort or configuration cannot be used.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}, but must be 1 or more")
    folder = Path(output)
    results: list[tuple[float, Metrics]] = []
    for weight in lambdas:
        for seed in range(seeds):
            name = f"lambda-{weight:g}_seed-{seed}"
            logger.info("%s (%d of %d)", name, len(results) + 1, len(lambdas) * seeds)
            chosen = [*settings, f"lambda={weight:g}"]
            run = train(data, folder / "runs" / name, config, chosen, True, seed, device, folder / "slice_bank")
            results.append((weight, _evaluation(run, data, folder / "evaluations" / name, split, device)))
    table = _table(results)
    table.to_csv(folder / "comparison.csv", index=False)
    (folder / "comparison.json").write_text(table.to_json(orient="records", indent=1), encoding="utf-8")
    (folder / "comparison.md").write_text(markdown(table), encoding="utf-8")
    _figure(table, results[0][1]).savefig(folder / "comparison.png", dpi=110)
    return table


def _evaluation(run: Path, data: str | Path, folder: Path, split: str, device: str | None) -> Metrics:
    """Return the metrics of a run, from its evaluation's file where that is of these weights."""
    known = read_metrics(folder / "metrics.json")
    if known is not None:
        now = (load_model(run, device).fingerprint, fingerprint_of_cohort(read_datalist(data).get(split, [])))
        if (known.model, known.data) == now:
            return known
    return evaluate(run, data, folder, split, device)


def name_of(weight: float) -> str:
    """Return what a model of a weight lambda is called."""
    return NAMES.get(float(weight), "ceVAE" if weight == 0.5 else f"ceVAE ({weight:g})")


def _table(results: Sequence[tuple[float, Metrics]]) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds; those of a baseline are the same in every run."""
    single = []
    for weight, metrics in results:
        for score in MAPS:
            single.append({"model": name_of(weight), "score": score, **_numbers(metrics.voxels[score])})
            single[-1] |= {"kl_q95": metrics.slices.kl_q95, "active_latents": metrics.slices.active_latents}
            by = {"rec": "rec", "kl": "kl", "combined": "elbo", "recommended": "max_recommended"}[score]
            single[-1]["slice_auroc"] = metrics.slices.scores[by].auroc
    first = results[0][1]
    for score, values in first.baselines.items():
        slice_auroc = first.slices.scores.get(f"max_{score}", SliceScore()).auroc
        single.append({"model": "no model", "score": score, **_numbers(values), "slice_auroc": slice_auroc})
    rows = pd.DataFrame(single)
    numbers = [column for column in rows.columns if column not in ("model", "score")]
    rows[numbers] = rows[numbers].astype(float)
    groups = rows.groupby(["model", "score"], sort=False)[numbers]
    mean, spread, seeds = groups.mean(), groups.std(ddof=0).add_suffix("_sd"), groups.size().rename("runs")
    return pd.concat([mean, spread, seeds], axis=1).reset_index()


def _numbers(values: VoxelMetrics) -> dict[str, float | None]:
    return {key: getattr(values, key) for key in METRICS}


def markdown(table: pd.DataFrame) -> str:
    """Return the comparison as a table for a document."""

    def cell(row: Mapping[Any, Any], key: str) -> str:
        if pd.isna(row[key]):
            return "-"
        return f"{row[key]:.3f}" if row["runs"] == 1 else f"{row[key]:.3f} ± {row[f'{key}_sd']:.3f}"

    keys = (*METRICS, "slice_auroc")
    lines = [
        "| model | score | AP | AUROC, brain | best Dice | Dice 20/80 | Dice at fpr | slice AUROC |",
        "|---" * 8 + "|",
    ]
    for row in table.to_dict("records"):
        lines.append(f"| {row['model']} | {row['score']} | {' | '.join(cell(row, key) for key in keys)} |")
    lines += ["", "| model | 0.95 quantile of KL, nats | active latents |", "|---|---|---|"]
    for row in table.drop_duplicates("model").to_dict("records"):
        if row["model"] != "no model":
            lines.append(f"| {row['model']} | {cell(row, 'kl_q95')} | {cell(row, 'active_latents')} |")
    return "\n".join(lines) + "\n"


def _figure(table: pd.DataFrame, metrics: Metrics) -> Figure:
    """Return AP and best Dice of each model and score as bars, with the best baseline as a line."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    models = [model for model in table["model"].unique() if model != "no model"]
    places = np.arange(len(models))
    for panel, key, title in zip(figure.subplots(1, 2), ("ap", "best_dice"), ("AP", "best Dice"), strict=True):
        for i, score in enumerate(MAPS):
            rows = table[table["score"] == score].set_index("model").reindex(models)
            panel.bar(places + 0.2 * (i - 1.5), rows[key], 0.2, yerr=rows[f"{key}_sd"], label=score, capsize=2)
        baselines = table[table["model"] == "no model"].dropna(subset=key)
        for style, (_, row) in zip(STYLES, baselines.iterrows(), strict=False):
            panel.axhline(row[key], color="black", linewidth=0.8, linestyle=style, label=f"{row['score']} (no model)")
        panel.set(xticks=places, xticklabels=models, title=title)
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.suptitle(f"{metrics.cohort}, {metrics.split}: voxels of brain or lesion", fontsize=10)
    return figure
