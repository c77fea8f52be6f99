"""The figures of an evaluation: curves, slice scores, and a gallery like figure 1b of the paper."""

import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import ScoreHistograms


def curves(histograms: dict[str, ScoreHistograms], metrics: dict[str, Any]) -> Figure:
    """Return ROC and precision-recall curves of all scores, those of the baselines dashed."""
    figure = _blank(11, 5)
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
    if recall.lines:
        recall.legend(fontsize=8, title="dashed: no model", title_fontsize=8)
    return figure


def slice_histograms(slices: pd.DataFrame) -> Figure:
    """Return histograms of the slice scores of normal and anomalous slices."""
    names = [name for name in ("elbo", "kl", "rec", "max_recommended") if slices[name].notna().any()]
    figure = _blank(3.2 * len(names), 3)
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


def gallery_figure(gallery: dict[str, dict[str, np.ndarray]], threshold: float) -> Figure:
    """Like figure 1b of the paper: input, reconstruction, annotation, the scores, and what the threshold marks."""
    columns = [*next(iter(gallery.values())), "segmentation"]
    figure = _blank(1.9 * len(columns), 2.3 * len(gallery))
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


def _blank(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
