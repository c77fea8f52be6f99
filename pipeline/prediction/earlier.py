"""What earlier commands left in the folder of the outputs: a later command keeps it in its summary and report."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.prediction.results import RECORD, Record, Result, read_record, read_summary
from pipeline.scans import HIDDEN

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
    """Return the results of a command, after those of earlier commands that are still in the folder: one of each scan.

    A case that is done stays as long as its folder is there; one that is not done, as long as its scan is there and
    until it is given again. If a scan was done once and has failed since, the failure is told.

    Args:
        results: the results of the command.
        output: the folder of the outputs.
        cases: the folder of the cases' folders.
        made_with: what the command makes its outputs with.
    """
    new = {result.case for result in results if result.status == "done"}
    records = {folder.name: read_record(folder) for folder in sorted(cases.iterdir()) if folder.name not in new}
    done = {
        (name, record.result.input): replace(
            record.result, warnings=(*made_with.difference(record), *record.result.warnings)
        )
        for name, record in records.items()
        if record is not None and record.result.case == name
    }
    # A command that was interrupted may not have come to a case that is there.
    results = [result for result in results if result.status != "not done" or _key(result) not in done]
    given = {result.input for result in results}
    before = [
        result
        for result in read_summary(output)
        if result.status != "done" and result.input not in given and _is_there(result.input)
    ]
    later = {key for key in done if _is_later(cases / key[0] / RECORD, output / "summary.csv")}
    over = {"failed": later, "not done": done.keys()}
    before = [result for result in before if _key(result) not in over.get(result.status, ())]
    failed = {_key(result) for result in (*before, *results) if result.status == "failed"}
    return [*(result for key, result in done.items() if key not in failed), *before, *results]


def _key(result: Result) -> tuple[str, str]:
    """Return what tells a scan from others: two of one name share the name of the case."""
    return result.case, result.input


def _is_there(scan: str) -> bool:
    """Return whether a scan may still be there: that is not known of one whose path hides a patient's name."""
    return HIDDEN in scan or os.path.lexists(scan)


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
