"""What earlier commands left in the folder of the outputs: a later command keeps it in its summary and report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.prediction.results import RECORD, Record, Result, read_record, read_summary

ANOTHER_MODEL = "made by an earlier command with another model than the last one"
OTHER_SETTINGS = "made by an earlier command with other settings than the last one, such as --fpr"
OTHERWISE = (ANOTHER_MODEL, OTHER_SETTINGS)
"""Warnings that mark a row which was not made as the last command makes it."""


@dataclass(frozen=True)
class MadeWith:
    """SHA-256 of what all outputs of one command depend on: model, calibration and settings."""

    model: str
    calibration: str | None
    settings: str

    def difference(self, record: Record) -> tuple[str, ...]:
        """Return the warning about a record that was made otherwise, or none."""
        if record.hashes.model != self.model:
            return (ANOTHER_MODEL,)
        same = (record.hashes.calibration, record.hashes.settings) == (self.calibration, self.settings)
        return () if same else (OTHER_SETTINGS,)


def with_earlier(results: Sequence[Result], output: Path, cases: Path, made_with: MadeWith) -> list[Result]:
    """Return the results of a command, after those of earlier commands that are still in the folder.

    A case that is done stays as long as its folder is there; one that is not done, until its scan is given again. A
    case can be both: it was done once, and later its scan had changed and failed.

    Args:
        results: the results of the command.
        output: the folder of the outputs.
        cases: the folder of the cases' folders.
        made_with: what the command makes its outputs with.
    """
    new = {result.case for result in results if result.status == "done"}
    records = {folder.name: read_record(folder) for folder in sorted(cases.iterdir()) if folder.name not in new}
    done = [
        replace(record.result, warnings=(*made_with.difference(record), *record.result.warnings))
        for name, record in records.items()
        if record is not None and record.result.case == name
    ]
    # A command that was interrupted may not have come to a case that is there.
    there = {(result.case, result.input) for result in done}
    results = [result for result in results if result.status != "not done" or (result.case, result.input) not in there]
    given = {result.input for result in results}
    undone = [result for result in read_summary(output) if result.status != "done" and result.input not in given]
    later = {result.input for result in done if _is_later(cases / result.case / RECORD, output / "summary.csv")}
    over = {"failed": later, "not done": {result.input for result in done}}
    return [*done, *(result for result in undone if result.input not in over.get(result.status, ())), *results]


def _is_later(record: Path, summary: Path) -> bool:
    """Return whether a case was done after the last summary, by a command that was killed."""
    return summary.exists() and record.stat().st_mtime > summary.stat().st_mtime


def earlier_runs(file: Path) -> list[dict[str, Any]]:
    """Return the facts of the earlier commands that run.json tells of, the first one first."""
    try:
        last = dict(json.loads(file.read_text(encoding="utf-8")))
        return [*map(dict, last.pop("earlier", [])), last]
    except (OSError, ValueError, TypeError):
        return []
