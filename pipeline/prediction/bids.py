"""`--layout bids`: the folder of the outputs as a BIDS derivative dataset.

The cases' folders are in `cases`, as they are without this layout; the dataset is a view of them, like the report. It
is made anew with each summary: each map of a case that is done is put under its BIDS name as a hard link, so it takes
no more space, and what is left of cases that are not done is removed.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd

from pipeline.errors import UsageError
from pipeline.files import json_text, remove_remains, write_json, write_text, written_aside
from pipeline.prediction.bids_names import BidsName, bids_names
from pipeline.prediction.bids_sources import DESCRIPTION_FILE, TOOL, Sources, description_of, is_made_here, uri
from pipeline.prediction.bids_tables import (
    CASE_COLUMNS,
    DERIVATIVES,
    cases_table,
    clusters_table,
    descriptions_table,
    sidecar,
)
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.results import Record, Result, read_record
from pipeline.prediction.viewer import VIEWER_FILES
from pipeline.version import __version__

logger = logging.getLogger(__name__)

CASE, BIDS = "case", "bids"
LAYOUTS = (CASE, BIDS)
"""Layouts of the folder of the outputs."""

CASES = "cases"
"""Folder of the dataset with the cases' folders."""

IGNORED = (
    f"/{CASES}", "/report.html", "/summary.csv", "/run.json", "/cases.tsv", "/cases.json", "/*_brain.png",
    "*_statmap.*",
)  # fmt: skip
"""Files that the specification does not know."""

ALL_CASES = """<!doctype html><meta charset="utf-8"><title>All scans</title>
<meta http-equiv="refresh" content="0; url=../report.html"><a href="../report.html">All scans</a>
"""
"""The page that the cases' pages link; the report lies a folder higher."""

README = """# Anomaly maps of brain MRI

Made by {tool} {version}. Research only, not for diagnosis.

- `*_label-lesion_desc-cevae*_mask.nii.gz`: what the threshold marks; `*_dseg.nii.gz`: its connected parts, with their
  table in `*_dseg.tsv`; `*_label-brain_desc-cevae*_mask.nii.gz`: the brain mask that was used.
- `*_statmap.nii.gz`: the scores. The specification has no name for them, so `.bidsignore` lists them.
- `cases.tsv`: all scans, their names here, warnings and failures. `report.html` and `cases` are for the eye.
- If scans of several sequences are here, the sequence follows in each `desc` (`desc-cevaeT1w`).

Maps here and in `cases` are the same files (hard links). If you correct a mask, save it under another name.
"""


def folder_of_cases(output: Path, layout: str) -> Path:
    """Return the folder of the cases' folders.

    Raises:
        UsageError: if there is no such layout.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"the layout `{layout}` is unknown; give {' or '.join(LAYOUTS)}")
    return output / CASES if layout == BIDS else output


def check_output(output: Path, layout: str) -> None:
    """Check that the folder of the outputs is not a dataset that this layout would spoil.

    Raises:
        UsageError: if it is.
    """
    if not (output / DESCRIPTION_FILE).exists():
        return
    if not is_made_here(description_of(output)):
        other = output / "derivatives" / TOOL
        raise UsageError(f"{output} is a BIDS dataset, not made by predict; give another --output, such as {other}")
    if layout == CASE:
        raise UsageError(f"{output} holds results of --layout bids; give --layout bids too, or another --output")


def adopt_cases(output: Path) -> None:
    """Move what a command without this layout left in the folder to where this layout has it, and remove remains."""
    (output / CASES).mkdir(exist_ok=True)
    for place in output.glob("sub-*/**/"):
        remove_remains(place)
    for folder in list(output.iterdir()):
        record, new = read_record(folder), output / CASES / folder.name
        if record is not None and record.result.case == folder.name and not new.exists():
            with suppress(FileNotFoundError):  # another process of the same command was first
                folder.rename(new)
    shutil.rmtree(output / VIEWER_FILES, ignore_errors=True)


def write_dataset(results: Sequence[Result], output: Path, label: ModelLabel) -> None:
    """Make the dataset agree with the cases' folders.

    Args:
        results: what became of each case.
        output: the root of the dataset.
        label: the model of the last command.
    """
    results = list({result.case: result for result in sorted(results, key=lambda one: one.status == "done")}.values())
    # A scan that has failed since it was done keeps its files, as it keeps its folder.
    placed = {
        result.case: record
        for result in results
        if (record := read_record(output / CASES / result.case)) is not None and record.result.input == result.input
    }
    names = bids_names({result.case: result.input for result in results})
    sources = Sources(output, [result.input for result in results])
    uris = {result.case: sources.uri_of(result.input, _copy_of(result.case)) for result in results}
    sources.write_description(output, label)
    write_text(output / ".bidsignore", _with_lines(output / ".bidsignore", IGNORED))
    write_text(output / CASES / "report.html", ALL_CASES)
    if not (output / "README.md").exists():
        write_text(output / "README.md", README.format(tool=TOOL, version=__version__))
    write_text(output / "descriptions.tsv", descriptions_table(names[case] for case in placed))
    write_json(output / "descriptions.json", {"Description": "What each value of the entity desc stands for"})
    write_json(output / "cases.json", CASE_COLUMNS)
    # The table is written before the files, so that what a killed command leaves is known, and removed if need be.
    before, kept = _names_in_table(output / "cases.tsv"), {names[case] for case in placed}
    _remove(output, before - kept)
    write_text(output / "cases.tsv", cases_table(results, placed, names, uris))
    for case, record in placed.items():
        with suppress(FileNotFoundError):  # another process replaces the case's folder: the next summary comes
            _place_case(output, case, record, names[case], uris[case])


def _place_case(output: Path, case: str, record: Record, name: BidsName, source: str) -> None:
    """Put the maps of a case into place, each after its sidecar; what is there already stays."""
    folder = output / CASES / case
    (output / name.folder).mkdir(parents=True, exist_ok=True)
    for key, derivative in DERIVATIVES.items():
        map_file, image = folder / f"{case}_{key}.nii.gz", output / derivative.file(name)
        beside = [output / derivative.file(name, ".json")]
        if derivative.suffix == "dseg":
            beside.append(output / derivative.file(name, ".tsv"))
        if not map_file.exists():  # the model has no such map
            _unlink([image, *beside])
            continue
        content = sidecar(derivative, name, record, source, _copy_of(case))
        if not _is_same(map_file, image):
            image.unlink(missing_ok=True)  # an older map must not lie beside a new sidecar
        elif all(file.exists() for file in beside) and beside[0].read_text(encoding="utf-8") == json_text(content):
            continue
        write_json(beside[0], content)
        if derivative.suffix == "dseg":
            write_text(beside[1], clusters_table(folder / f"{case}_clusters.csv"))
        with written_aside(image) as partial:
            try:
                os.link(map_file, partial)
            except FileNotFoundError:  # the folder is being replaced
                raise
            except OSError:  # not every file system has hard links
                _warn_of_copies(output)
                shutil.copy2(map_file, partial)


def _copy_of(case: str) -> str:
    """Return the BIDS URI of the copy of a scan."""
    return uri("", f"{CASES}/{case}/{case}_image.nii.gz")


def _is_same(map_file: Path, image: Path) -> bool:
    """Return whether an image is a link to a map or a copy of it."""
    try:
        ours, theirs = map_file.stat(), image.stat()
    except OSError:
        return False
    return os.path.samestat(ours, theirs) or (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


@cache
def _warn_of_copies(output: Path) -> None:
    logger.warning(
        "%s: its file system has no hard links, so the BIDS files are copies and take their space twice", output
    )


def _remove(output: Path, names: set[BidsName]) -> None:
    """Remove the files of cases that are no longer done, and the folders that are empty then."""
    for name in names:
        files = [output / map_.file(name, end) for map_ in DERIVATIVES.values() for end in (".nii.gz", ".json", ".tsv")]
        _unlink(files)
        for folder in [output / name.folder, *(output / name.folder).parents][: len(Path(name.folder).parts)]:
            with suppress(OSError):  # other files are in it, or it is gone
                folder.rmdir()


def _unlink(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _names_in_table(file: Path) -> set[BidsName]:
    """Return the names of the cases that have files in the dataset, by the table of the last summary."""
    columns = ["folder", "start", "sequence"]
    try:
        table = pd.read_csv(file, sep="\t", usecols=columns, dtype=str, keep_default_na=False, quoting=3)
    except (OSError, ValueError):
        return set()
    rows = table[columns].itertuples(index=False, name=None)
    names = {BidsName(folder, start, sequence.replace("n/a", "")) for folder, start, sequence in rows}
    return {name for name in names if name.is_safe()}


def _with_lines(file: Path, lines: Sequence[str]) -> str:
    """Return the text of a file with lines added that it lacks."""
    there = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return "\n".join([*there, *(line for line in lines if line not in there)]) + "\n"
