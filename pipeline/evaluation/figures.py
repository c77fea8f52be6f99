"""The figures of an evaluation: curves, FROC curves, slice scores, and a gallery like figure 1b of the paper."""

import io
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import binary_erosion

from pipeline.evaluation.gallery import Gallery, GalleryRow
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


def gallery_figure(gallery: Gallery, columns: Sequence[str]) -> Figure:
    """Return slices of some cases, a row for each, on black as in a viewer.

    A score has one scale for all cases, with a colour bar below it, and the outlines of the brain and of the lesions.

    Args:
        gallery: the cases.
        columns: names of the pictures: keys of `DRAWN`, or names of scores.
    """
    rows = len(gallery.rows)
    figure = _blank(1.9 * len(columns), 2.3 * rows + 0.8)
    figure.set_facecolor("black")
    *panels, bars = figure.subplots(rows + 1, len(columns), squeeze=False, height_ratios=[*[1.0] * rows, 0.05])
    for row, line in zip(gallery.rows, panels, strict=True):
        title = f"{row.role}, AP {row.ap:.2f}\n{_wrapped(row.case)}\n{row.place}"
        line[0].set_ylabel(title, fontsize=8, color="white")
        for panel, name in zip(line, columns, strict=True):
            if name in DRAWN:
                panel.imshow(DRAWN[name](row), vmin=0, vmax=1, cmap="gray", aspect=row.aspect)
            else:
                low, high = gallery.range_of(name)
                panel.imshow(row.scores[name], vmin=low, vmax=high, cmap="inferno", aspect=row.aspect)
                panel.imshow(_outlines(row), aspect=row.aspect)
            panel.set_title(name, fontsize=9, color="white")
            panel.set(xticks=[], yticks=[])
            for x, letter, side in ((0.02, row.sides[0], "left"), (0.98, row.sides[1], "right")):
                panel.text(x, 0.5, letter, color="white", fontsize=8, ha=side, va="center", transform=panel.transAxes,
                           path_effects=[withStroke(linewidth=2, foreground="black")])  # fmt: skip
    for name, place, panel in zip(columns, bars, panels[-1], strict=True):
        if name in DRAWN:
            place.set_axis_off()
            continue
        bar = figure.colorbar(panel.images[0], cax=place, orientation="horizontal")
        bar.ax.tick_params(labelsize=7, colors="white")
        bar.locator = MaxNLocator(3)
        if name == "recommended":
            bar.ax.axvline(gallery.threshold, color="deepskyblue", linewidth=2)
    if FOUND in columns:
        patches = [Patch(color=colour, label=name) for name, colour in (*OUTCOMES.items(), ("label", LESION))]
        figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8, frameon=False,
                      labelcolor="white")  # fmt: skip
    return figure


def _outlines(row: GalleryRow) -> np.ndarray:
    """Return the outlines of the brain and of the lesions on nothing, (rows, columns, 4)."""
    picture = np.zeros((*row.brain.shape, 4))
    for area, colour in ((row.brain, "0.4"), (row.label, LESION)):
        picture[area & ~binary_erosion(area)] = to_rgba(colour)
    return picture


def _with_label(row: GalleryRow) -> np.ndarray:
    """Return a scan with the outline of its lesions, (rows, columns, 3)."""
    edge = row.label & ~binary_erosion(row.label)
    return _tinted(row.scan, {LESION: edge}, 1.0)


def _with_outcomes(row: GalleryRow) -> np.ndarray:
    """Return a scan under what is found, missed and falsely marked, (rows, columns, 3)."""
    areas = (row.label & row.marked, row.label & ~row.marked, row.marked & ~row.label)
    return _tinted(row.scan, dict(zip(OUTCOMES.values(), areas, strict=True)), 0.7)


def _tinted(grey: np.ndarray, areas: Mapping[str, np.ndarray], opacity: float) -> np.ndarray:
    picture = np.repeat(grey[..., None], 3, axis=2)
    for colour, area in areas.items():
        picture[area] = (1 - opacity) * picture[area] + opacity * np.asarray(to_rgb(colour))
    return picture


def _wrapped(name: str) -> str:
    """Return a name on lines short enough for the side of a picture, without what matplotlib takes for formulas."""
    return "\n".join(textwrap.wrap(name, 26)[:2]).replace("$", r"\$")


LESION = "#e85aff"
"""The colour of annotated lesions, as in the viewer."""

OUTCOMES = {"found": "#2fbf71", "missed": "#3d9bff", "falsely marked": "#ff8c1a"}
"""What becomes of annotated and of marked voxels, and the colours of it."""

FOUND = "found and missed"
"""Name of the picture with the outcomes."""

DRAWN: Mapping[str, Callable[[GalleryRow], np.ndarray]] = {
    "input": lambda row: row.scan,
    "reconstruction g": lambda row: row.reconstruction,
    "label": _with_label,
    FOUND: _with_outcomes,
}
"""The pictures that are no score, by name."""


def _blank(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
