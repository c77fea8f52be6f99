"""The report of a prediction: one HTML page that opens offline, what needs attention first."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipeline.files import written_aside
from pipeline.prediction.preview import thumbnail_of
from pipeline.prediction.results import Result
from pipeline.prediction.run_info import RunInfo

RESEARCH_ONLY = "Research use only, not for diagnosis."

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5a6375; --line: #d9dde5; --paper: #fff; --raised: #f5f6f9;
  --accent: #0b5cad; --bad: #b3261e; --warn: #8a5a00; --bar: #c2571a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --soft: #a2abbc; --line: #353b48; --paper: #14171d;
  --raised: #1d212a; --accent: #86bdf5; --bad: #ff8f86; --warn: #f0bb5b; --bar: #f0935b } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 0 auto; padding: 1.25rem 1.5rem 4rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem }
p { margin: .4rem 0; max-width: 62rem } a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px }
.skip { position: absolute; left: -999px } .skip:focus { left: 1rem; background: var(--paper); padding: .5rem }
.soft { color: var(--soft) } .outcome { font-size: 1.1rem; font-weight: 600; margin-top: .5rem }
.notes { list-style: none; padding: 0; margin: 0; border-left: 4px solid var(--bad); background: var(--raised) }
.notes.warn { border-color: var(--warn) } .notes li { padding: .5rem .9rem; border-bottom: 1px solid var(--line) }
summary { padding: .5rem .9rem; cursor: pointer } @media print { details::details-content { display: block } }
.notes b { overflow-wrap: anywhere } .bad { color: var(--bad) } .warn-mark { color: var(--warn) }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .85rem; vertical-align: bottom }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line) } td { vertical-align: middle }
th.number, td.number { text-align: right; white-space: nowrap } td.name { overflow-wrap: anywhere; min-width: 11rem }
tbody tr:hover { background: var(--raised) } td small { color: var(--soft) }
.cases tbody tr { content-visibility: auto; contain-intrinsic-size: auto 6.5rem }
img { display: block; width: 84px; height: 84px; object-fit: contain; background: #000; border-radius: 4px }
svg { display: block } svg polyline { fill: none; stroke: var(--accent); stroke-width: 1.3 }
svg circle { fill: var(--accent) }
svg .limit { stroke: var(--bar); stroke-dasharray: 4 3 } svg .axis { stroke: var(--line) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0 } dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
@media print { .skip { display: none } body { max-width: none } .cases tbody tr { break-inside: avoid } }
"""

CURVE = (190, 56)
"""Width and height of a slice curve, pixels."""

SHOWN = 8
"""Failures, and warnings, that are not folded."""

POINTS = 100
"""Points of a slice curve, at most."""


def write_report(results: Sequence[Result], run: RunInfo, output: Path) -> None:
    """Write report.html.

    Args:
        results: what became of each case.
        run: what the outputs were made with.
        output: the folder of the outputs, with a folder for each case that is done.
    """
    done = [result for result in results if result.status == "done"]
    done.sort(key=lambda r: (r.max_surprise or 0, r.anomaly_ml or 0), reverse=True)
    failed = [result for result in results if result.status == "failed"]
    undone = [result for result in results if result.status == "not done"]
    warned = [result for result in done if result.warnings]
    title = f"Anomaly maps of {_number(len(results), 'scan')}"
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<a class="skip" href="#cases">To the scans</a><header><h1>{title}</h1><p class="soft">{RESEARCH_ONLY}</p>'
        f'<p class="outcome">{_outcome(len(done), failed, undone, warned)}</p></header><main>'
        + _notes("Failed", "", [(result.input, [result.reason]) for result in failed])
        + _notes("Not done", "", [(result.input, [result.reason]) for result in undone])
        + _notes("Warnings", "warn", [(result.case, list(result.warnings)) for result in warned])
        + _cases(done, run, output)
        + f"<h2>How to read this</h2>{_explanation(run)}<h2>Made with</h2>{_made_with(run)}</main></body></html>"
    )
    with written_aside(output / "report.html") as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")


def _number(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _outcome(done: int, failed: Sequence[Result], undone: Sequence[Result], warned: Sequence[Result]) -> str:
    parts = [f"{_number(done, 'scan')} done"]
    parts += [f'<span class="bad">{len(failed)} failed</span>'] if failed else []
    parts += [f'<span class="bad">{len(undone)} not done: the run was interrupted</span>'] if undone else []
    parts += [f'<span class="warn-mark">{len(warned)} with warnings</span>'] if warned else []
    return ", ".join(parts)


def _notes(title: str, kind: str, notes: Iterable[tuple[str, list[str]]]) -> str:
    """Return a list of what is to be said of each file or case, a long one folded; nothing where there is nothing."""
    items = [
        f"<li><b>{escape(name)}</b>{''.join(f'<br>{escape(text)}' for text in texts)}</li>" for name, texts in notes
    ]
    if not items:
        return ""
    shown, folded = (f'<ul class="notes {kind}">{"".join(part)}</ul>' for part in (items[:SHOWN], items[SHOWN:]))
    more = f"<details><summary>{len(items) - SHOWN} more</summary>{folded}</details>" if len(items) > SHOWN else ""
    return f"<section><h2>{title}</h2>{shown}{more}</section>"


def _cases(done: Sequence[Result], run: RunInfo, output: Path) -> str:
    if not done:
        return '<section id="cases"><h2>Scans</h2><p>None is done.</p></section>'
    tables = [_slices(output / result.case / f"{result.case}_slices.csv") for result in done]
    highest = max((float(table["max_recommended"].max()) for table in tables if len(table)), default=1.0) or 1.0
    calibration = run.calibration
    expected = f"<br><small>healthy: {calibration.false_alarm_ml:.3g} ml</small>" if calibration else ""
    head = (
        '<tr><th scope="col">Picture</th><th scope="col">Scan</th>'
        '<th scope="col" class="number">Highest<br>surprise</th>'
        f'<th scope="col" class="number">Marked{expected}</th><th scope="col">Largest cluster</th>'
        '<th scope="col">Score of each slice<br><small>feet to head, back to front, or left to right</small></th>'
        '<th scope="col">Files</th></tr>'
    )
    rows = "".join(
        _row(result, output, _curve(table, highest, run.threshold)) for result, table in zip(done, tables, strict=True)
    )
    return (
        '<section id="cases"><h2>Scans, the most surprising first</h2><div class="table"><table class="cases">'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(result: Result, output: Path, curve: str) -> str:
    name, folder = escape(result.case), quote(result.case)

    def link(suffix: str, words: str) -> str:
        there = (output / result.case / f"{result.case}{suffix}").exists()
        return f'<a href="{folder}/{folder}{quote(suffix)}">{words}</a>' if there else ""

    marked = "-" if result.anomaly_ml is None else _ml(result.anomaly_ml)
    parts = f"<br><small>in {_number(result.clusters, 'part')}</small>" if result.clusters else ""
    largest = _ml(result.largest_cluster_ml) if result.largest_cluster_ml else "-"
    warned = '<br><small class="warn-mark">see the warning</small>' if result.warnings else ""
    links = [link("_preview.png", "preview"), link(".itksnap", "ITK-SNAP"), link("_slices.csv", "slices")]
    return (
        f"<tr><td>{link('_preview.png', _thumbnail(output / result.case / f'{result.case}_preview.png', result.case))}"
        f'</td><td class="name"><b>{name}</b>{warned}<br><small>{result.seconds:.1f} s</small></td>'
        f'<td class="number">{"-" if result.max_surprise is None else f"{result.max_surprise:.1f}"}</td>'
        f'<td class="number">{marked}{parts}</td>'
        f"<td>{largest}<br><small>{_place(result.largest_cluster_ras_mm)}</small></td>"
        f"<td>{curve}</td><td>{'<br>'.join(filter(None, links))}</td></tr>"
    )


def _ml(volume: float) -> str:
    return f"{volume:.1f} ml" if volume >= 1 else f"{volume:.2g} ml"


def _thumbnail(preview: Path, case: str) -> str:
    try:
        encoded = base64.b64encode(thumbnail_of(preview)).decode()
    except Exception:  # a picture that was lost or damaged since is no reason to have no report
        return "no picture"
    return f'<img loading="lazy" alt="Preview of {escape(case)}" src="data:image/jpeg;base64,{encoded}">'


def _place(ras_mm: str) -> str:
    """Return "34 mm right, 12 mm back, 40 mm up" for a place "34.0 -12.0 40.0"."""
    words = (("right", "left"), ("front", "back"), ("up", "down"))
    return ", ".join(
        f"{abs(float(value)):.0f}&nbsp;mm&nbsp;{positive if float(value) >= 0 else negative}"
        for value, (positive, negative) in zip(ras_mm.split(), words, strict=False)
    )


def _slices(file: Path) -> pd.DataFrame:
    """Return where slices are and how high they score, an empty table where the file is lost or damaged."""
    columns = ["position_mm", "max_recommended"]
    try:
        return pd.read_csv(file, usecols=columns).astype(float).sort_values("position_mm")
    except (OSError, ValueError):
        return pd.DataFrame(columns=columns)


def _curve(table: pd.DataFrame, highest: float, threshold: float | None) -> str:
    """Return the highest score of each slice as a picture; its height is the same score in all of them."""
    if table.empty:
        return "-"
    width, height = CURVE
    # Of neighbouring slices the higher one is drawn, so that no peak is lost.
    groups = np.array_split(table.to_numpy(), min(len(table), POINTS))
    position, score = np.asarray([(group[:, 0].mean(), group[:, 1].max()) for group in groups]).T
    x = (position - position[0]) / (np.ptp(position) or 1) * (width - 4) + 2
    y = height - 2 - score / highest * (height - 6)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    shape = f'<polyline points="{points}"/>' if len(x) > 1 else f'<circle cx="8" cy="{y[0]:.1f}" r="2.5"/>'
    limit = ""
    if threshold is not None and threshold <= highest:
        level = height - 2 - threshold / highest * (height - 6)
        limit = f'<line class="limit" x1="0" x2="{width}" y1="{level:.1f}" y2="{level:.1f}"/>'
    label = f"Highest score of each slice, {position[0]:.0f} to {position[-1]:.0f} mm; the highest is {score.max():.2g}"
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{label}"><title>{label}</title>'
        f'<line class="axis" x1="0" x2="{width}" y1="{height - 1}" y2="{height - 1}"/>{limit}{shape}</svg>'
    )


def _explanation(run: RunInfo) -> str:
    calibration = run.calibration
    dark = "<p>A map that is dark does not mean healthy: lesions as bright as the tissue around them are not found.</p>"
    if not calibration:
        return f"<p>The model carries no calibration, so there is no surprise and nothing is marked.</p>{dark}"
    return (
        "<p><b>Surprise</b> 2 means that one voxel in a hundred of a healthy brain scores as high, 3 one in a "
        "thousand. It is for looking: it ends at a cap, so two scans at the cap are not alike.</p>"
        f"<p><b>Marked</b> is what scores as high as {run.fpr:.3g} of a healthy brain's voxels or fewer: "
        f"{calibration.false_alarm_ml:.3g} ml of false alarm are to be expected in a healthy brain "
        f"({calibration.brain_ml:.0f} ml), in small patches all over. The dashed line in the curves is this "
        "threshold.</p>"
        f"<p>Both rest on <b>{_number(calibration.scans, 'healthy scan')}</b>. Their number, not that of their "
        "voxels, limits what may be claimed, and it holds for their scanner, sequence and age group.</p>" + dark
    )


def _made_with(run: RunInfo) -> str:
    words = {
        "model": "model", "fingerprint": "its weights (SHA-256)", "version": "version", "torch": "torch",
        "monai": "MONAI", "device": "device", "fpr": "fpr", "minimum_cluster_ml": "smallest cluster, ml",
        "started": "started", "seconds": "seconds",
    }  # fmt: skip
    items = "".join(
        f"<dt>{label}</dt><dd>{escape(str(getattr(run, key)))}</dd>"
        for key, label in words.items()
        if getattr(run, key) is not None
    )
    return f"<dl>{items}</dl>"
