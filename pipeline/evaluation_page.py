"""The page of an evaluation: tables, curves and a gallery in one HTML file that opens offline."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.metrics import ScoreHistograms

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .75rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #ddd } img { max-width: 100% }
.verdict { border-left: .3rem solid #b36b00; padding: .5rem 1rem; background: #fff6e6 }
"""
COLUMNS = {
    "ap": "AP", "auroc_brain": "AUROC, brain", "auroc_all": "AUROC, all", "best_dice": "best Dice",
    "dice_20_80": "Dice 20/80", "ap_ci": "AP, 95 % interval", "best_dice_ci": "best Dice, 95 % interval",
}  # fmt: skip


def write_page(
    folder: Path,
    metrics: dict[str, Any],
    histograms: dict[str, ScoreHistograms],
    slices: pd.DataFrame,
    gallery: dict[str, dict[str, np.ndarray]],
) -> None:
    """Write evaluation.html, and its figures as PNG too.

    Args:
        folder: where to write.
        metrics: the content of metrics.json.
        histograms: the pooled voxels of each score.
        slices: the table of all slices.
        gallery: for each case, its pictures by name.
    """
    rows = {**metrics["pixels"], **metrics["baselines"]}
    known = [name for name, values in rows.items() if values["ap"] is not None]
    figures = {"curves": _curves({name: histograms[name] for name in known}, metrics), "slices": _slices(slices)}
    if gallery:
        figures["gallery"] = _gallery(gallery, metrics["pixels"]["recommended"]["best_threshold"])
    pictures = {name: _png(figure) for name, figure in figures.items()}
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    titles = {
        "curves": "ROC and precision-recall curves, voxels of brain or lesion",
        "slices": "Slice scores",
        "gallery": "Best, median and worst case",
    }
    images = "".join(
        f"<h2>{titles[name]}</h2>"
        f'<img alt="{titles[name]}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in pictures.items()
    )
    head = escape(f"{metrics['cohort']}, {metrics['split']}: {metrics['cases']} scans")
    failed = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in metrics["failed"].items())
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{head}</title><style>{STYLE}</style>'
        f"<h1>{head}</h1><p>Research use only, not for diagnosis.</p>"
        f'<p class="verdict">{escape(metrics["verdict"])}</p>'
        + (f"<h2>Failed</h2><ul>{failed}</ul>" if failed else "")
        + f"<h2>Voxels</h2>{_table(rows)}<h2>Slices</h2>{_slice_table(metrics['slices'])}"
        + f"<h2>Lesions</h2>{_lesion_table(metrics['lesions'])}{images}</html>"
    )
    partial = folder / ".evaluation.html.partial"
    partial.write_text(page, encoding="utf-8")
    partial.replace(folder / "evaluation.html")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"<td>{value[0]:.3f} to {value[1]:.3f}</td>"
    if isinstance(value, (float, np.floating)):
        return f"<td>{value:.3f}</td>"
    return f"<td>{'-' if value is None else escape(str(value))}</td>"


def _table(rows: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("score", *COLUMNS.values()))
    body = ""
    for name, values in rows.items():
        if values["ap"] is None:
            reason = escape(values.get("reason") or values.get("ap_reason", ""))
            body += f'<tr><td>{name}</td><td colspan="{len(COLUMNS)}">{reason}</td></tr>'
        else:
            body += f"<tr><td>{name}</td>{''.join(_cell(values.get(key)) for key in COLUMNS)}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _slice_table(slices: dict[str, Any]) -> str:
    scores = {name: values for name, values in slices.items() if isinstance(values, dict)}
    body = "".join(
        f"<tr><td>{'-ELBO' if name == 'elbo' else name}</td>{_cell(values['auroc'])}{_cell(values['ap'])}</tr>"
        for name, values in scores.items()
    )
    return (
        f"<p>{slices['normal']} normal slices (no annotated pixel), {slices['anomalous']} anomalous (more than 20). "
        f"0.95 quantile of KL: {_cell(slices['kl_q95'])[4:-5]} nats; active latents: {slices['active_latents']}.</p>"
        f"<table><tr><th>score</th><th>AUROC</th><th>AP</th></tr>{body}</table>"
    )


def _lesion_table(lesions: dict[str, Any]) -> str:
    groups = {"all": lesions["all"], **lesions["by_size"]}
    body = "".join(
        f"<tr><td>{name}</td><td>{group['lesions']}</td>{_cell(group['hit'])}</tr>" for name, group in groups.items()
    )
    return (
        "<p>Connected lesions that `recommended` marks at its best threshold; "
        f"{lesions['false_positives_per_case']:.1f} false positives a case.</p>"
        f"<table><tr><th>size</th><th>lesions</th><th>share hit</th></tr>{body}</table>"
    )


def _curves(histograms: dict[str, ScoreHistograms], metrics: dict[str, Any]) -> Figure:
    figure = _figure(11, 5)
    roc, recall = figure.subplots(1, 2)
    for name, histogram in histograms.items():
        true, false = (np.r_[0, counts[0]] for counts in histogram.above())
        if true[-1] == 0 or false[-1] == 0:
            continue
        # As many points as can be seen.
        shown = np.unique(np.linspace(0, len(true) - 1, 1000).astype(int))
        true, false = true[shown], false[shown]
        style = {"label": name, "linestyle": "-" if name in metrics["pixels"] else "--"}
        roc.plot(false / false[-1], true / true[-1], **style)
        recall.plot(true[1:] / true[-1], true[1:] / (true + false)[1:], **style)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    recall.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1))
    recall.legend(fontsize=8, title="dashed: no model", title_fontsize=8)
    return figure


def _slices(slices: pd.DataFrame) -> Figure:
    names = [name for name in ("elbo", "kl", "rec", "max_recommended") if slices[name].notna().any()]
    figure = _figure(3.2 * len(names), 3)
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        score = -slices[name] if name == "elbo" else slices[name]
        edges = np.linspace(score.min(), score.quantile(0.99), 40)
        for title, chosen in {
            "normal": slices["annotated_pixels"] == 0,
            "anomalous": slices["annotated_pixels"] > 20,
        }.items():
            if chosen.any():
                panel.hist(score[chosen], edges, alpha=0.6, density=True, label=title)
        panel.set(title="-ELBO" if name == "elbo" else name, yticks=[])
        panel.legend(fontsize=8)
    return figure


def _gallery(gallery: dict[str, dict[str, np.ndarray]], threshold: float) -> Figure:
    """Like figure 1b of the paper: input, reconstruction, annotation, the scores, and what the threshold marks."""
    columns = [*next(iter(gallery.values())), "segmentation"]
    figure = _figure(1.9 * len(columns), 2.3 * len(gallery))
    for row, (title, pictures) in zip(
        figure.subplots(len(gallery), len(columns), squeeze=False), gallery.items(), strict=True
    ):
        shown = {**pictures, "segmentation": pictures["recommended"] >= threshold}
        for panel, name in zip(row, columns, strict=True):
            grey = name in ("input", "reconstruction", "annotation", "segmentation")
            panel.imshow(shown[name], cmap="gray" if grey else "inferno")
            panel.set_title(name, fontsize=8)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(title.replace(": ", "\n"), fontsize=7)
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
