"""An evaluation in words and tables: one HTML page that opens offline, and a summary for the terminal."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.evaluation.cases import CaseRow, page_of
from pipeline.evaluation.figures import FOUND, as_png, curves, froc_figure, gallery_figure, slice_histograms
from pipeline.evaluation.gallery import Gallery
from pipeline.evaluation.metrics import ScoreHistograms
from pipeline.evaluation.reasoned import Interval
from pipeline.evaluation.results import Metrics
from pipeline.evaluation.slices import ANOMALOUS_PIXELS, SLICE_SCORES
from pipeline.files import write_text, written_aside
from pipeline.pages import render
from pipeline.prediction import ModelLabel
from pipeline.scan_warnings import kinds_of
from pipeline.scoring import MAPS, percent

COLUMNS = {
    "ap": "AP", "ap_ci": "AP, 95 % interval", "auroc_brain": "AUROC, brain", "auroc_all": "AUROC, all",
    "best_dice": "best Dice", "best_dice_ci": "best Dice, 95 % interval", "dice_20_80": "Dice 20/80",
    "dice_at_fpr": "Dice at fpr",
}  # fmt: skip
"""Columns of the table of voxels."""

MEANINGS = {
    "combined": "rec times kl, (2) of the paper",
    "rec": "distance of the scan from its reconstruction g",
    "kl": "gradient of the KL divergence",
    "recommended": "the score that marks anomalies",
    "intensity": "grey levels alone",
    "intensity_median": "grey levels after a median filter",
    "intensity_same_path": "what `recommended` is if nothing is reconstructed: g = 0",
    "voxelwise_z": "distance from the training scans at the same voxel",
    "voxelwise_z_median": "the same after a median filter",
}
"""What each score is, in words."""

SIGNS = {1: "better", -1: "worse", 0: "cannot be told"}
"""What the sign of a difference says of `recommended`."""

SEEN = ("input", "reconstruction g", "label", "recommended", "surprise", FOUND)
"""Pictures of the cases, of which `surprise` needs a calibration."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        png: the file in base64.
        width: pixels.
    """

    png: str
    width: int


def write_page(
    folder: Path,
    metrics: Metrics,
    label: ModelLabel,
    histograms: Mapping[str, ScoreHistograms],
    slices: pd.DataFrame,
    cases: Sequence[CaseRow],
    gallery: Gallery,
    case_pages: bool = True,
) -> None:
    """Write evaluation.html, and its figures as PNG too.

    Args:
        folder: where to write.
        metrics: all results.
        label: which model it is.
        histograms: the pooled voxels of each score.
        slices: the table of all slices.
        cases: the table of the cases.
        gallery: some cases to look at.
        case_pages: whether each case has its page.
    """
    page = render(
        "evaluation/evaluation.html.j2",
        title=f"Evaluation of {_title(metrics)}",
        label=label,
        fpr=percent(label.fpr),
        metrics=metrics,
        columns=COLUMNS | {"dice_at_fpr": f"Dice at fpr {percent(label.fpr)}"},
        meanings=MEANINGS,
        signs=SIGNS,
        unknown=_unknown(metrics),
        cases=cases,
        failed=kinds_of({name: [reason] for name, reason in metrics.failed.items()}),
        warned=kinds_of({row.name: row.warnings for row in cases}),
        page_of=page_of if case_pages else None,
        gallery=gallery,
        slice_scores=SLICE_SCORES,
        anomalous=ANOMALOUS_PIXELS,
        text=_text,
        pictures=_pictures(folder, metrics, histograms, slices, gallery),
    )
    write_text(folder / "evaluation.html", page)


def _pictures(
    folder: Path, metrics: Metrics, histograms: Mapping[str, ScoreHistograms], slices: pd.DataFrame, gallery: Gallery
) -> dict[str, Picture]:
    """Write the figures as PNG, and return them by the names of their files."""
    known = [name for name, values in (metrics.voxels | metrics.baselines).items() if values.ap is not None]
    figures = {
        "curves": curves({name: histograms[name] for name in known}, metrics.baselines),
        "slices": slice_histograms(slices),
    }
    if metrics.lesions.all.lesions:
        figures["froc"] = froc_figure(metrics.lesions)
    if gallery.rows:
        scores = gallery.rows[0].scores
        figures["gallery"] = gallery_figure(gallery, [name for name in SEEN if name != "surprise" or name in scores])
        figures["scores"] = gallery_figure(gallery, ["input", "label", *(name for name in MAPS if name in scores)])
    pictures = {}
    for name, figure in figures.items():
        png = as_png(figure)
        with written_aside(folder / f"{name}.png") as partial:
            partial.write_bytes(png)
        pictures[name] = Picture(base64.b64encode(png).decode(), int(figure.bbox.width))
    return pictures


def _unknown(metrics: Metrics) -> list[tuple[str, str]]:
    """Return why numbers of the table of voxels are unknown: each reason with its columns."""
    reasons: dict[str, dict[str, None]] = {}
    for values in (metrics.voxels | metrics.baselines).values():
        for key, column in COLUMNS.items():
            if values.ap is not None and getattr(values, key) is None:
                reasons.setdefault(values.why(key), {})[column] = None
    return [(reason, ", ".join(columns)) for reason, columns in reasons.items()]


def _title(metrics: Metrics) -> str:
    return f"{metrics.cohort}, {metrics.split}: {metrics.cases} scans"


def _text(value: float | Interval | None, sign: str = "") -> str:
    """Return a number or an interval to read; with the sign "+" that of a positive number is written too."""
    if value is None:
        return "-"
    numbers = value if isinstance(value, tuple) else (value,)
    return " to ".join(f"{number:{sign}.3f}" for number in numbers)


def summary_text(metrics: Metrics) -> str:
    """Return the metrics as a table for the terminal."""
    rows = metrics.voxels | {f"{name} (no model)": values for name, values in metrics.baselines.items()}
    lines = [_title(metrics)]
    lines.append(f"{'':30} AP     AUROC  best Dice  Dice 20/80  Dice at fpr")
    for name, values in rows.items():
        if values.ap is None:
            lines.append(f"{name:30} {values.why('ap')}")
        else:
            numbers = "  ".join(map(_text, (values.ap, values.auroc_brain, values.best_dice)))
            lines.append(f"{name:30} {numbers}      {_text(values.dice_20_80):<12}{_text(values.dice_at_fpr)}")
    slices = metrics.slices.scores["max_recommended"].auroc
    if slices is not None:
        lines.append(f"slices by max_recommended: AUROC {slices:.3f}")
    return "\n".join([*lines, metrics.learned, metrics.verdict.sentence])
