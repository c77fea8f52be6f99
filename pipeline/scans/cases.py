"""Inputs of any kind become named cases: files, folders, BIDS datasets, DICOM series and datalists."""

import logging
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.cohorts import Entry, read_datalist
from pipeline.dicom_files import is_dicom
from pipeline.errors import UsageError
from pipeline.files import to_printable
from pipeline.nifti import SUFFIXES
from pipeline.scans.checks import problem_of
from pipeline.scans.dicom_series import Series, find_series, passed_over
from pipeline.scans.mask_pairing import masks_below
from pipeline.scans.naming import names_of
from pipeline.scans.searching import search

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One scan to predict.

    Attributes:
        name: its name in the outputs.
        entry: its files, as in a datalist; the image of a DICOM series is its folder.
        series: the DICOM series, None if the scan is NIfTI.
        problem: why it cannot be predicted, if this is known before anything is read; empty otherwise.
    """

    name: str
    entry: Entry
    series: Series | None = None
    problem: str = ""

    @property
    def image(self) -> Path:
        """The file of channel 0, or the folder of the DICOM series."""
        return Path(self.entry.images[0])

    @property
    def described(self) -> str:
        """The path or the DICOM series, on one line, for messages."""
        return to_printable(str(self.image) if self.series is None else self.series.described)


@dataclass(frozen=True)
class Cases(Sequence[Case]):
    """The cases of a command, as a sequence.

    Attributes:
        cases: the cases.
        skipped: a line about each kind of files that may be scans and are passed over.
        share: which share of all cases it is, and of how many, such as "3/16"; empty for all of them.
    """

    cases: tuple[Case, ...]
    skipped: tuple[str, ...] = ()
    share: str = ""

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: Any) -> Any:
        return self.cases[index]


def find_cases(
    inputs: Sequence[str | Path],
    masks: Sequence[str | Path] = (),
    output: str | Path | None = None,
    share: tuple[int, int] = (1, 1),
) -> Cases:
    """Return the cases of scans, folders (searched recursively), BIDS datasets, DICOM series and datalists.

    The search skips hidden files, the output, the masks and earlier results of prediction. What else it passes over is
    logged. A scan becomes a case with a `problem` if it cannot be opened or lacks its mask.

    Args:
        inputs: files that end in SUFFIXES, folders, DICOM files (each stands for its series) or datalists.
        masks: brain masks in the order of the scans, or one folder, see `masks_for`.
        output: the folder of the outputs.
        share: which share of the cases is returned, and of how many: (1, 4) to (4, 4). A case has the same name in all.

    Raises:
        UsageError: if no input exists, if no scan is found, if the masks do not fit the scans at all, or if there is
            no such share.
    """
    inputs, masks = list(map(str, inputs)), list(map(str, masks))  # the MONAI bundle gives a number for 2024
    paths = [_absolute(Path(path)) for path in inputs]
    if not any(os.path.exists(path) for path in paths):
        raise UsageError(f"{', '.join(map(str, inputs))}: there is no such file or folder; check the path")
    mask_folder = Path(masks[0]).resolve() if len(masks) == 1 and Path(masks[0]).is_dir() else None
    output = Path(str(output)).resolve() if output is not None else None
    for path in (path.resolve() for path in paths if path.is_dir()):
        if path == output:
            raise UsageError(f"{path}: the output folder is the input folder; give another --output")
        if path == mask_folder:
            raise UsageError(f"{path}: the folder of masks is the input folder; move the masks to another folder")
    left_out = {folder for folder in (mask_folder, output) if folder is not None}
    found = {path: _cases_of(path, left_out) for path in paths if not _is_sidecar(path)}
    skipped = tuple(line for cases in found.values() for line in cases.skipped)
    if not any(found.values()):
        raise UsageError(
            f"no scan found in {', '.join(map(str, inputs))}; "
            + "; ".join(skipped or [f"give files that end in {', '.join(SUFFIXES)}, or DICOM series"])
        )
    for line in skipped:
        logger.warning("%s", line)
    nothing = {path: [Case("", Entry((str(path),)), problem="no scan found in it; check the path")] for path in paths}
    cases = [case for path in paths if path in found for case in found[path] or nothing[path]]
    if masks and mask_folder is None:
        cases = _with_masks_by_position(cases, masks)
    cases = list({_origin(case): case for case in cases}.values())
    names = names_of(
        [Path(case.series.name) if case.series else case.image for case in cases], list(map(_origin, cases))
    )
    cases = [replace(case, name=name) for case, name in zip(cases, names, strict=True)]
    number, shares = share
    if not 1 <= number <= shares:
        raise UsageError(f"there is no share {number} of {shares}; give 1 of {shares} to {shares} of {shares}")
    cases = (cases if mask_folder is None else _with_masks_of(mask_folder, cases))[number - 1 :: shares]
    return Cases(tuple(cases), skipped, f"{number}/{shares}" if shares > 1 else "")


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`, in which links keep their names."""
    if ".." not in path.parts:
        return path.absolute()
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _origin(case: Case) -> str:
    """Return a text that is the same for a case that was given twice."""
    return repr((case.entry.images, case.entry.mask, case.series))


def _cases_of(path: Path, left_out: Set[Path]) -> Cases:
    """Return the cases of one input, still without names."""
    if path.is_dir():
        found = search(path, left_out)
        return Cases((*map(_case_of, found.files), *map(_case_of_series, found.series)), found.skipped)
    if path.suffix.lower() == ".json" and path.is_file():
        entries = [entry for entries in read_datalist(path, must_exist=False).values() for entry in entries]
        return Cases(tuple(Case("", entry, problem=_problem_of(replace(entry, label=None).files)) for entry in entries))
    if is_dicom(path):
        series = [series for series in find_series(path.parent) if path in series.files or path.name == "DICOMDIR"]
        if series:
            scans = [one for one in series if not one.localizer]
            return Cases(tuple(map(_case_of_series, scans)), tuple(passed_over(path.parent, series)))
    return Cases((_case_of(path),))


def _case_of(file: Path) -> Case:
    return Case("", Entry((str(file),)), problem=problem_of(file))


def _case_of_series(series: Series) -> Case:
    return Case("", Entry((str(series.folder),)), series)


def _problem_of(files: Sequence[str]) -> str:
    """Return the first problem of files, with the file's name; empty if there is none."""
    return next((f"{to_printable(Path(file).name)}: {problem_of(file)}" for file in files if problem_of(file)), "")


def _is_sidecar(path: Path) -> bool:
    """Return whether a JSON file only describes the scan beside it, like those that dcm2niix writes."""
    return path.suffix.lower() == ".json" and any(path.with_suffix(suffix).exists() for suffix in SUFFIXES)


def _with_masks_by_position(cases: Sequence[Case], masks: Sequence[str | Path]) -> list[Case]:
    files = [_absolute(Path(mask)) for mask in masks]
    if not any(file.exists() for file in files):
        raise UsageError(f"{', '.join(map(str, masks))}: there is no such mask or folder of masks; check the path")
    if len(files) != len(cases):
        raise UsageError(f"--mask gives {len(files)} masks for {len(cases)} scans; give one for each, or a folder")
    return [
        replace(case, entry=replace(case.entry, mask=str(file)), problem=case.problem or _problem_of([str(file)]))
        for case, file in zip(cases, files, strict=True)
    ]


def _with_masks_of(folder: Path, cases: Sequence[Case]) -> list[Case]:
    places = {case.name: case.image if case.series is None else case.series.folder / case.name for case in cases}
    masks, problems = masks_below(folder, places)
    if not masks:
        raise UsageError(f"{folder}: no scan has a mask in this folder; the first problem: {problems[cases[0].name]}")
    return [
        replace(case, entry=replace(case.entry, mask=str(masks[case.name])))
        if case.name in masks
        else replace(case, problem=case.problem or problems[case.name])
        for case in cases
    ]
