"""Comparison: VAE, context encoder and ceVAE over several seeds, as in figure 2 of the paper, beside the baselines.

With a sweep, each of them is trained with several values of settings.
"""

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.cohorts import read_datalist
from pipeline.errors import UsageError
from pipeline.evaluation.comparison_figures import NO_MODEL, compared_figure, swept_figure
from pipeline.evaluation.results import Metrics, SliceScore, VoxelMetrics, read_metrics
from pipeline.evaluation.run import evaluate
from pipeline.model import load_model
from pipeline.scans import fingerprint_of_cohort
from pipeline.scoring import MAPS
from pipeline.training import train

logger = logging.getLogger(__name__)

METRICS = ("ap", "auroc_brain", "best_dice", "dice_20_80", "dice_at_fpr")
NAMES = {0.0: "VAE", 1.0: "CE"}
TITLES = {
    "ap": "AP", "auroc_brain": "AUROC, brain", "best_dice": "best Dice", "dice_20_80": "Dice 20/80",
    "dice_at_fpr": "Dice at fpr", "slice_auroc": "slice AUROC",
}  # fmt: skip
SLICE_TITLES = {"kl_q95": "0.95 quantile of KL, nats", "active_latents": "active latents"}
"""Titles of the columns of the table, by their keys."""


@dataclass(frozen=True)
class Variant:
    """A weight of the CE branch and one value of each setting of a sweep.

    Attributes:
        weight: lambda.
        settings: "key=value" for each setting of the sweep.
    """

    weight: float
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the names of folders."""
        return "_".join([*(_as_file_name(setting) for setting in self.settings), f"lambda-{self.weight:g}"])

    @property
    def model(self) -> str:
        """What a model of its lambda is called."""
        return name_of(self.weight)


def _as_file_name(setting: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in setting)


def compare(
    data: str | Path,
    output: str | Path,
    lambdas: Sequence[float] = (0.0, 0.5, 1.0),
    seeds: int = 3,
    config: str = "train",
    settings: Sequence[str] = (),
    split: str = "test",
    device: str | None = None,
    sweeps: Sequence[str] = (),
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
        sweeps: "key=value,value,..." for each setting that is swept; of several, all combinations are trained.

    Returns:
        The table: a row for each variant, lambda and score, and for each baseline.

    Raises:
        UsageError: where cohort or configuration cannot be used.
    """
    if seeds < 1:
        raise UsageError(f"--seeds is {seeds}, but must be 1 or more")
    folder = Path(output)
    variants = [Variant(weight, chosen) for chosen in _combinations(sweeps) for weight in lambdas]
    results: list[tuple[Variant, Metrics]] = []
    for variant, seed in itertools.product(variants, range(seeds)):
        name = f"{variant.name}_seed-{seed}"
        logger.info("%s (%d of %d)", name, len(results) + 1, len(variants) * seeds)
        chosen = [*settings, *variant.settings, f"lambda={variant.weight:g}"]
        run = train(data, folder / "runs" / name, config, chosen, True, seed, device, folder / "slice_bank")
        results.append((variant, _evaluation(run, data, folder / "evaluations" / name, split, device)))
    table = _table(results)
    table.to_csv(folder / "comparison.csv", index=False)
    (folder / "comparison.json").write_text(table.to_json(orient="records", indent=1), encoding="utf-8")
    (folder / "comparison.md").write_text(markdown(table), encoding="utf-8")
    title = f"{results[0][1].cohort}, {split}: voxels of brain or lesion"
    figure = swept_figure(table, title) if sweeps else compared_figure(table, title)
    figure.savefig(folder / "comparison.png", dpi=110)
    return table


def _combinations(sweeps: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all combinations of the values of a sweep's settings, each setting as "key=value"."""
    swept = []
    for sweep in sweeps:
        key, _, text = sweep.partition("=")
        try:
            values = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError:
            values = None
        if not values:
            raise UsageError(f"--sweep {sweep}: write it as key=value,value,... such as kl_weight=1,10,100")
        swept.append([f"{key.strip()}={value if isinstance(value, str) else json.dumps(value)}" for value in values])
    return list(itertools.product(*swept))


def _evaluation(run: Path, data: str | Path, folder: Path, split: str, device: str | None) -> Metrics:
    """Return the metrics of a run, from its evaluation's file where that is of these weights."""
    known = read_metrics(folder / "metrics.json")
    if known is not None:
        now = (load_model(run, device).fingerprint, fingerprint_of_cohort(read_datalist(data).get(split, [])))
        if (known.model, known.data) == now:
            return known
    return evaluate(run, data, folder, split, device, case_pages=False)  # those of all models would fill the disk


def name_of(weight: float) -> str:
    """Return what a model of a weight lambda is called."""
    return NAMES.get(float(weight), "ceVAE" if weight == 0.5 else f"ceVAE ({weight:g})")


def _table(results: Sequence[tuple[Variant, Metrics]]) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds; those of a baseline are the same in every run."""
    single = []
    for variant, metrics in results:
        for score in MAPS:
            row = {"variant": ", ".join(variant.settings), "model": variant.model, "score": score}
            single.append(row | _numbers(metrics.voxels[score]))
            single[-1] |= {"kl_q95": metrics.slices.kl_q95, "active_latents": metrics.slices.active_latents}
            by = {"rec": "rec", "kl": "kl", "combined": "elbo", "recommended": "max_recommended"}[score]
            single[-1]["slice_auroc"] = metrics.slices.scores[by].auroc
    first = results[0][1]
    for score, values in first.baselines.items():
        slice_auroc = first.slices.scores.get(f"max_{score}", SliceScore()).auroc
        row = {"variant": "", "model": NO_MODEL, "score": score}
        single.append(row | _numbers(values) | {"slice_auroc": slice_auroc})
    rows = pd.DataFrame(single)
    names = ["variant", "model", "score"]
    numbers = [column for column in rows.columns if column not in names]
    rows[numbers] = rows[numbers].astype(float)
    groups = rows.groupby(names, sort=False)[numbers]
    mean, spread, seeds = groups.mean(), groups.std(ddof=0).add_suffix("_sd"), groups.size().rename("runs")
    return pd.concat([mean, spread, seeds], axis=1).reset_index()


def _numbers(values: VoxelMetrics) -> dict[str, float | None]:
    return {key: getattr(values, key) for key in METRICS}


def markdown(table: pd.DataFrame) -> str:
    """Return the comparison as a table for a document; the column of variants is left out where there is no sweep."""

    def cell(row: Mapping[Any, Any], key: str) -> str:
        if pd.isna(row[key]):
            return "-"
        return f"{row[key]:.3f}" if row["runs"] == 1 else f"{row[key]:.3f} ± {row[f'{key}_sd']:.3f}"

    names = ["variant", "model"] if table["variant"].any() else ["model"]

    def part(rows: pd.DataFrame, names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
        lines = [f"| {' | '.join([*names, *columns.values()])} |", "|---" * (len(names) + len(columns)) + "|"]
        for row in rows.to_dict("records"):
            cells = [*(str(row[name]) for name in names), *(cell(row, key) for key in columns)]
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    models = table[table["model"] != NO_MODEL].drop_duplicates(["variant", "model"])
    lines = [*part(table, [*names, "score"], TITLES), "", *part(models, names, SLICE_TITLES)]
    return "\n".join(lines) + "\n"
