"""The key: which case is which DICOM series. The outputs name no patient; whoever may know can look it up here."""

import csv
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.files import written_aside
from pipeline.prediction.results import without_formula
from pipeline.scans import Case, Series

logger = logging.getLogger(__name__)

COLUMNS = ["case", "study_instance_uid", "series_instance_uid", "folder", "files"]
"""Columns of the key."""

BETWEEN = " | "
"""Separates the values of a cell. Names of files do not contain it on Windows, and hardly elsewhere."""


def write_key(file: Path, cases: Sequence[Case], output: Path) -> None:
    """Write the DICOM series of cases as a table that only its owner can read.

    Rows of other cases that are in the file stay, so that a second command adds to it.

    Args:
        file: where to.
        cases: the cases; those that did not come as DICOM are left out.
        output: the folder of the outputs, for a warning.

    Raises:
        UsageError: if the file is there and is no key, or cannot be written.
    """
    try:
        rows = {row["case"]: row for row in _rows_of(file)}
        series = {case.name: case.series for case in cases if case.series is not None}
        rows |= {name: dict(zip(COLUMNS, [name, *_cells(one)], strict=True)) for name, one in series.items()}
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows({column: without_formula(value) for column, value in row.items()} for row in rows.values())
        _replace(file, text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"--key {file}: the key cannot be read or written ({error.strerror})") from error
    which = f"the DICOM series of {len(series)} case{'s' * (len(series) != 1)}"
    logger.info("--key %s names %s; only you can read it", file, which)
    if file.resolve().is_relative_to(output.resolve()):
        logger.warning("--key %s lies in the folder of the results; take it out before you hand the folder on", file)


def _rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a key that is there."""
    if not file.exists():
        return []
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            csv.field_size_limit(2**31 - 1)  # a series may have thousands of files
            table = csv.DictReader(stream, strict=True)
            rows = list(table)
            if table.fieldnames != COLUMNS or any(None in row or None in row.values() for row in rows):
                raise ValueError("other columns")
    except (ValueError, csv.Error) as error:  # ValueError: it is not UTF-8, too
        raise UsageError(f"--key {file}: it is there already and is no key; give another file") from error
    return rows


def _cells(series: Series) -> list[str]:
    files = BETWEEN.join(os.path.relpath(file, series.folder) for file in series.files)
    return [series.study_uid, BETWEEN.join(series.series_uids), str(series.folder), files]


def _replace(file: Path, content: bytes) -> None:
    """Write a file that nobody else can read at any moment, and replace an older one by it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        written_aside(file) as partial,
        open(partial, "wb", opener=lambda name, _: os.open(name, flags, 0o600)) as stream,
    ):
        stream.write(content)
