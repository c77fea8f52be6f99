"""The figures of a comparison: bars of models and scores, and lines over the values of a sweep."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.scoring import MAPS

NO_MODEL = "no model"
"""What stands in place of the model in the rows of baselines."""

STYLES = ("--", "-.", ":", (0, (1, 3)), (0, (5, 1)))
"""Lines of the baselines."""

LINES = {"VAE": "--", "ceVAE": "-", "CE": ":"}
"""Lines of the models; those of other lambdas are dash-dotted."""


def compared_figure(table: pd.DataFrame, title: str) -> Figure:
    """Return AP and best Dice of each model and score as bars, with the baselines as lines."""
    figure = _figure(title, 11, 4.2)
    models = [model for model in table["model"].unique() if model != NO_MODEL]
    places = np.arange(len(models))
    for panel, key, name in zip(figure.subplots(1, 2), ("ap", "best_dice"), ("AP", "best Dice"), strict=True):
        for i, score in enumerate(MAPS):
            rows = table[table["score"] == score].set_index("model").reindex(models)
            panel.bar(places + 0.2 * (i - 1.5), rows[key], 0.2, yerr=rows[f"{key}_sd"], label=score, capsize=2)
        baselines = table[table["model"] == NO_MODEL].dropna(subset=key)
        for style, (_, row) in zip(STYLES, baselines.iterrows(), strict=False):
            panel.axhline(row[key], color="black", linewidth=0.8, linestyle=style, label=f"{row['score']} (no model)")
        panel.set(xticks=places, xticklabels=models, title=name)
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def swept_figure(table: pd.DataFrame, title: str) -> Figure:
    """Return AP of `rec`, `kl` and `combined`, slice AUROC, KL quantile and active latents over a sweep's variants."""
    figure = _figure(title, 15, 3.4)
    panels = figure.subplots(1, 4)
    variants = [variant for variant in table["variant"].unique() if variant]
    ticks = _shortened(variants)
    models = table[table["model"] != NO_MODEL]
    for model, rows in models.groupby("model", sort=False):
        for i, score in enumerate(("rec", "kl", "combined")):
            _line(panels[0], rows[rows["score"] == score], "ap", variants, f"{model}, {score}", f"C{i}", str(model))
        row = rows[rows["score"] == "combined"]
        for panel, key in zip(panels[1:], ("slice_auroc", "kl_q95", "active_latents"), strict=True):
            _line(panel, row, key, variants, str(model), "black", str(model))
    names = ("AP", "slice AUROC of -ELBO", "0.95 quantile of KL, nats", "active latents")
    for panel, name in zip(panels, names, strict=True):
        panel.set(title=name, xticks=range(len(variants)), xticklabels=ticks)
        panel.tick_params(axis="x", rotation=90 if max(map(len, ticks), default=0) > 4 else 0)
    smallest = models["kl_q95"].where(models["kl_q95"] > 0).min()
    if not np.isnan(smallest):  # a log scale would drop a quantile of 0
        panels[2].set_yscale("symlog", linthresh=smallest)
        panels[2].set_ylim(0, 2 * models["kl_q95"].max())
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    key = variants[0].partition("=")[0] if ticks != variants else ""
    figure.supxlabel(key, fontsize=9)
    return figure


def _shortened(variants: list[str]) -> list[str]:
    """Return variants without the key if all have one and the same."""
    keys = {variant.partition("=")[0] for variant in variants}
    one = len(keys) == 1 and not any(", " in variant for variant in variants)
    return [variant.partition("=")[2] for variant in variants] if one else variants


def _line(panel: Any, rows: pd.DataFrame, key: str, variants: list[str], label: str, color: str, model: str) -> None:
    """Draw the mean and the standard deviation over the seeds, unless all are missing."""
    by_variant = rows.set_index("variant").reindex(variants)
    mean, spread = by_variant[key].to_numpy(float), by_variant[f"{key}_sd"].to_numpy(float)
    if not np.isnan(mean).all():
        style = LINES.get(model, "-.")
        panel.errorbar(range(len(variants)), mean, spread, label=label, color=color, linestyle=style, capsize=2)


def _figure(title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    return figure
