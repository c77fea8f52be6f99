"""The figures of an evaluation: curves, FROC curves, slice scores, and a gallery like figure 1b of the paper."""

import io
from collections.abc import Container, Mapping

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from pipeline.evaluation.gallery import Gallery
from pipeline.evaluation.lesion_results import LesionMetrics
from pipeline.evaluation.metrics import ScoreHistograms
from pipeline.evaluation.slices import SLICE_SCORES, is_anomalous, is_normal, slice_scores


def curves(histograms: Mapping[str, ScoreHistograms], baselines: Container[str]) -> Figure:
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
        style = {"label": name, "linestyle": "--" if name in baselines else "-"}
        roc.plot(false / false[-1], true / true[-1], **style)
        recall.plot(true[1:] / true[-1], true[1:] / (true + false)[1:], **style)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    recall.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1))
    if recall.lines:
        recall.legend(fontsize=8, title="dashed: no model", title_fontsize=8)
    return figure


def froc_figure(lesions: LesionMetrics) -> Figure:
    """Return the FROC curves of all lesions and of each size, those of the path without a model dashed.

    False clusters are shown linearly up to one, and by their logarithm above.
    """
    groups = {None: lesions.all} | {size: group for size, group in lesions.by_size.items() if group.lesions}
    figure = _blank(2.6 * len(groups) + 0.4, 3.1)
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (size, group) in zip(panels, groups.items(), strict=True):
        for name, curve, style in (("recommended", lesions.froc, "-"), ("no model", lesions.froc_same_path, "--")):
            # Above all scores nothing is marked.
            false = np.asarray([0.0, *(point.false_clusters_per_case for point in curve)])
            found = np.asarray([0.0, *(point.found_of(size) for point in curve)])
            shown = false >= np.maximum.accumulate(false)  # where clusters grow together, there are fewer of them
            panel.plot(false[shown], found[shown], style, label=name)
        panel.plot(lesions.false_positives_per_case, group.hit, "o", color="C0", label="at the threshold")
        panel.axvline(1, color="0.7", linewidth=0.8, zorder=0)
        panel.set_title(f"{size or 'all'}: {group.lesions} lesion{'s' * (group.lesions != 1)}", fontsize=9)
        panel.set_xscale("symlog", linthresh=1)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel("false clusters a scan", fontsize=8)
    panels[0].set_ylabel("share of lesions found", fontsize=8)
    panels[0].legend(fontsize=8)
    return figure


def slice_histograms(table: pd.DataFrame) -> Figure:
    """Return histograms of the slice scores of normal and anomalous slices."""
    scores = slice_scores(table)
    names = [name for name in ("elbo", "kl", "rec", "max_recommended") if scores[name].notna().any()]
    figure = _blank(3.2 * len(names), 3)
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        score = scores[name]
        edges = np.linspace(score.min(), score.quantile(0.99), 40)
        for title, chosen in {"normal": is_normal(table), "anomalous": is_anomalous(table)}.items():
            if chosen.any():
                panel.hist(score[chosen], edges, alpha=0.6, density=True, label=title)
        panel.set(title=SLICE_SCORES[name], yticks=[])
        panel.legend(fontsize=8)
    return figure


def gallery_figure(gallery: Gallery) -> Figure:
    """Return a figure like 1b of the paper: input, reconstruction, annotation, the scores, and what is marked.

    A score has one scale for all cases, with a colour bar below it.
    """
    grey = ("input", "reconstruction", "annotation", "marked")
    scores = list(gallery.rows[0].scores)
    columns = [*grey[:3], *scores, grey[3]]
    figure = _blank(1.9 * len(columns), 2.2 * len(gallery.rows) + 0.7)
    panels = figure.subplots(len(gallery.rows), len(columns), squeeze=False)
    for row, line in zip(gallery.rows, panels, strict=True):
        shown = {**row.pictures, **row.scores, "marked": row.scores["recommended"] >= gallery.threshold}
        line[0].set_ylabel(row.title.replace(": ", "\n"), fontsize=8)
        for panel, name in zip(line, columns, strict=True):
            limits = {} if name in grey else dict(zip(("vmin", "vmax"), gallery.range_of(name), strict=True))
            panel.imshow(shown[name], cmap="gray" if name in grey else "inferno", aspect=row.aspect, **limits)
            panel.set_title(name, fontsize=8)
            panel.set(xticks=[], yticks=[])
            for x, letter, side in ((0.02, row.sides[0], "left"), (0.98, row.sides[1], "right")):
                panel.text(x, 0.5, letter, color="white", fontsize=8, ha=side, va="center", transform=panel.transAxes,
                           path_effects=[withStroke(linewidth=2, foreground="black")])  # fmt: skip
    for name in scores:
        column = panels[:, columns.index(name)]
        bar = figure.colorbar(column[-1].images[0], ax=column, location="bottom", aspect=12, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        bar.locator = MaxNLocator(3)
    return figure


def _blank(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
