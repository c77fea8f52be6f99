"""An evaluation in words and tables: one HTML page that opens offline, and a summary for the terminal."""

import base64
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.evaluation.figures import as_png, curves, froc_figure, gallery_figure, slice_histograms
from pipeline.evaluation.gallery import Gallery
from pipeline.evaluation.metrics import ScoreHistograms
from pipeline.evaluation.reasoned import Interval
from pipeline.evaluation.results import Metrics
from pipeline.evaluation.slices import ANOMALOUS_PIXELS, SLICE_SCORES
from pipeline.files import written_aside
from pipeline.pages import render

COLUMNS = {
    "ap": "AP", "auroc_brain": "AUROC, brain", "auroc_all": "AUROC, all", "best_dice": "best Dice",
    "dice_20_80": "Dice 20/80", "dice_at_fpr": "Dice at fpr", "ap_ci": "AP, 95 % interval",
    "best_dice_ci": "best Dice, 95 % interval",
}  # fmt: skip
"""Columns of the table of voxels."""

FIGURES = {
    "curves": "ROC and precision-recall curves, voxels of brain or lesion",
    "froc": "FROC curves: lesions found against false clusters",
    "slices": "Slice scores",
    "gallery": "Best, median and worst case",
}
"""Titles of the figures, by the name of each one's file."""


def write_page(
    folder: Path,
    metrics: Metrics,
    histograms: Mapping[str, ScoreHistograms],
    slices: pd.DataFrame,
    gallery: Gallery,
) -> None:
    """Write evaluation.html, and its figures as PNG too.

    Args:
        folder: where to write.
        metrics: all results.
        histograms: the pooled voxels of each score.
        slices: the table of all slices.
        gallery: some cases to look at.
    """
    known = [name for name, values in (metrics.voxels | metrics.baselines).items() if values.ap is not None]
    figures = {
        "curves": curves({name: histograms[name] for name in known}, metrics.baselines),
    }
    if metrics.lesions.all.lesions:
        figures["froc"] = froc_figure(metrics.lesions)
    figures["slices"] = slice_histograms(slices)
    if gallery.rows:
        figures["gallery"] = gallery_figure(gallery)
    pictures = {name: as_png(figure) for name, figure in figures.items()}
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    page = render(
        "evaluation/evaluation.html.j2",
        title=_title(metrics),
        metrics=metrics,
        columns=COLUMNS,
        slice_scores=SLICE_SCORES,
        anomalous=ANOMALOUS_PIXELS,
        text=_text,
        figures=[(FIGURES[name], base64.b64encode(png).decode()) for name, png in pictures.items()],
    )
    with written_aside(folder / "evaluation.html") as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")


def _title(metrics: Metrics) -> str:
    return f"{metrics.cohort}, {metrics.split}: {metrics.cases} scans"


def _text(value: float | Interval | None) -> str:
    """Return a number or an interval to read."""
    if value is None:
        return "-"
    return f"{value[0]:.3f} to {value[1]:.3f}" if isinstance(value, tuple) else f"{value:.3f}"


def summary_text(metrics: Metrics) -> str:
    """Return the metrics as a table for the terminal."""
    rows = metrics.voxels | {f"{name} (no model)": values for name, values in metrics.baselines.items()}
    lines = [_title(metrics)]
    lines.append(f"{'':30} AP     AUROC  best Dice  Dice 20/80")
    for name, values in rows.items():
        if values.ap is None:
            lines.append(f"{name:30} {values.why('ap')}")
        else:
            numbers = "  ".join(map(_text, (values.ap, values.auroc_brain, values.best_dice)))
            lines.append(f"{name:30} {numbers}      {_text(values.dice_20_80)}")
    slices = metrics.slices.scores["max_recommended"].auroc
    if slices is not None:
        lines.append(f"slices by max_recommended: AUROC {slices:.3f}")
    return "\n".join([*lines, metrics.learned, metrics.verdict.sentence])
