"""The report of a prediction: one HTML page that opens offline, what needs attention first."""

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.files import write_text
from pipeline.pages import render
from pipeline.prediction.earlier import OTHERWISE
from pipeline.prediction.results import Result, read_record
from pipeline.prediction.run_info import RunInfo
from pipeline.prediction.viewer import LINKED as LINKED_BY_PAGE
from pipeline.scan_warnings import kinds_of

WIDTH, HEIGHT = 190, 56
"""Size of a slice curve, pixels."""

UNFOLDED = 8
"""Kinds of failures and warnings, and scans of a kind, that are shown at once; the others are folded."""

POINTS = 100
"""Points of a slice curve, at most."""

LINKED = {"_viewer.html": "viewer"} | LINKED_BY_PAGE
"""Endings of the files of a case that the report links, with the words of the links."""

DIRECTIONS = (("right", "left"), ("anterior", "posterior"), ("superior", "inferior"))
"""Words for the positive and the negative direction of each RAS axis."""

MADE_WITH = {
    "model": "model", "fingerprint": "its weights (SHA-256)", "version": "version", "torch": "torch",
    "monai": "MONAI", "device": "device", "fpr": "fpr", "minimum_cluster_ml": "smallest cluster, ml",
    "started": "started", "seconds": "seconds",
}  # fmt: skip
"""Values of a run that the report shows, with their labels."""


@dataclass(frozen=True)
class Curve:
    """The highest score of each slice as a drawing.

    Attributes:
        points: x and y of each point, pixels from the upper left corner.
        limit: y of the threshold, None if it is not in the picture.
        first_mm, last_mm: positions of the first and the last slice.
        highest: the highest score.
        width, height: size of the drawing, pixels.
    """

    points: list[tuple[float, float]]
    limit: float | None
    first_mm: float
    last_mm: float
    highest: float
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Row:
    """A case in the table of the report.

    Attributes:
        result: what became of it.
        files: endings of the files that the report can link; none if it is not done, like all that follows.
        thumbnail: the small picture as JPEG in base64; empty if it is lost.
        place: where the largest cluster lies, in words.
        curve: None if the slice table is lost.
        above_ml: marked volume minus what is to be expected in a healthy brain of its size, ml; None if unknown.
    """

    result: Result
    files: list[str]
    thumbnail: str
    place: list[str]
    curve: Curve | None
    above_ml: float | None = None


def write_report(results: Sequence[Result], run: RunInfo, output: Path, folder: str = "") -> None:
    """Write report.html.

    Args:
        results: what became of each case.
        run: what the outputs were made with.
        output: the folder of the outputs, with a folder for each case that is done.
        folder: where in it the cases' folders are; if empty, in itself.
    """
    cases = output / folder
    done = [result for result in results if result.status == "done"]
    rows = sorted(_rows(results, run, cases), key=_attention)
    page = render(
        "prediction/report.html.j2",
        title=f"Anomaly maps of {len(results)} scan{'' if len(results) == 1 else 's'}",
        label=run.label,
        rows=rows,
        folder=f"{folder}/" if folder else "",
        failed=kinds_of({result.input: [result.reason] for result in results if result.status == "failed"}),
        undone=kinds_of({result.input: [result.reason] for result in results if result.status == "not done"}),
        warned=kinds_of({result.case: result.warnings for result in done}),
        statuses=Counter(result.status for result in results),
        viewers={row.result.case for row in rows if "_viewer.html" in row.files},
        with_warnings=sum(bool(result.warnings) for result in done),
        otherwise=OTHERWISE,
        unfolded=UNFOLDED,
        links=LINKED,
        ml=_ml,
        false_alarm=_about(run.calibration.false_alarm_ml) if run.calibration else "",
        run=run,
        made_with=[(label, getattr(run, key)) for key, label in MADE_WITH.items() if getattr(run, key) is not None],
    )
    write_text(output / "report.html", page)


def _attention(row: Row) -> tuple[bool, bool, float, float]:
    """Return the place of a row: failed, warned, then by volume; surprise ends at a cap, which many scans reach."""
    result = row.result
    above = row.above_ml if row.above_ml is not None else result.anomaly_ml
    return result.status == "done", not result.warnings, -(above or 0), -(result.max_surprise or 0)


def _rows(results: Sequence[Result], run: RunInfo, output: Path) -> list[Row]:
    """Return the rows of results; those that are not done have no files, whatever is in a folder of their name."""
    tables = {
        result.case: _slices(output / result.case / f"{result.case}_slices.csv")
        for result in results
        if result.status == "done"
    }
    highest = (
        max((float(table["max_recommended"].max()) for table in tables.values() if len(table)), default=1.0) or 1.0
    )
    rows = []
    for result in results:
        if result.status != "done":
            rows.append(Row(result, [], "", [], None))
            continue
        start = str(output / result.case / result.case)
        threshold = None if set(OTHERWISE) & set(result.warnings) else run.threshold
        rows.append(
            Row(
                result,
                [ending for ending in LINKED if os.path.exists(start + ending)],
                _thumbnail(Path(f"{start}_thumbnail.jpg")),
                _place(result.largest_cluster_ras_mm),
                _curve(tables[result.case], highest, threshold),
                _above(result, run, output / result.case),
            )
        )
    return rows


def _above(result: Result, run: RunInfo, folder: Path) -> float | None:
    """Return what is marked minus what is to be expected in a healthy brain of its size, ml; None if unknown."""
    if result.anomaly_ml is None or run.calibration is None:
        return None
    record = read_record(folder)
    # A former version wrote the record without the brain, or it is lost.
    brain_ml = record.brain.ml if record is not None and record.brain is not None else run.calibration.brain_ml
    fpr = record.marking.fpr if record is not None and record.marking is not None else run.fpr
    return result.anomaly_ml - fpr * brain_ml


def _ml(volume: float | None) -> str:
    if volume is None:
        return "-"
    return f"{volume:.1f} ml" if volume >= 1 else f"{volume:.2g} ml"


def _about(volume: float) -> str:
    """Return an expected volume, which is never known to more than two digits and is never 0."""
    if volume < 0.1:
        return "less than 0.1 ml"
    return f"{volume:.0f} ml" if volume >= 10 else f"{volume:.2g} ml"


def _thumbnail(file: Path) -> str:
    try:
        return base64.b64encode(file.read_bytes()).decode()
    except OSError:  # a picture that was lost since is no reason to have no report
        return ""


def _place(ras_mm: str) -> list[str]:
    """Return "34 mm right", "12 mm posterior", "40 mm superior" for a place "34.0 -12.0 40.0"."""
    return [
        f"{abs(float(value)):.0f} mm {positive if float(value) >= 0 else negative}"
        for value, (positive, negative) in zip(ras_mm.split(), DIRECTIONS, strict=False)
    ]


def _slices(file: Path) -> pd.DataFrame:
    """Return the positions and the highest scores of slices; the table is empty if the file is lost or damaged."""
    columns = ["position_mm", "max_recommended"]
    try:
        return pd.read_csv(file, usecols=columns).astype(float).sort_values("position_mm")
    except (OSError, ValueError):
        return pd.DataFrame(columns=columns)


def _curve(table: pd.DataFrame, highest: float, threshold: float | None) -> Curve | None:
    """Return the curve of a slice table; its full height is the score `highest`, the same for all cases."""
    if table.empty:
        return None
    # The higher one of neighbouring slices is drawn, so that no peak is lost.
    groups = np.array_split(table.to_numpy(), min(len(table), POINTS))
    position, score = np.asarray([(group[:, 0].mean(), group[:, 1].max()) for group in groups]).T
    x = (position - position[0]) / (np.ptp(position) or 1) * (WIDTH - 4) + 2

    def level(value: np.ndarray | float) -> np.ndarray:
        return np.asarray(HEIGHT - 2 - value / highest * (HEIGHT - 6))

    limit = float(level(threshold)) if threshold is not None and threshold <= highest else None
    points = list(zip(x.tolist(), level(score).tolist(), strict=True))
    return Curve(points, limit, float(position[0]), float(position[-1]), float(score.max()))
