"""Inputs of any kind become named cases: files, folders, BIDS datasets, DICOM series and datalists."""

import logging
import os
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cohorts import Entry, read_datalist
from pipeline.errors import UsageError
from pipeline.nifti import SUFFIXES
from pipeline.scans.checks import problem_of
from pipeline.scans.dicom_series import Series, find_series
from pipeline.scans.mask_pairing import masks_for
from pipeline.scans.naming import names_of, to_printable

logger = logging.getLogger(__name__)

BIDS_SCAN = re.compile(r"sub-.*/anat/[^/]*_(T1w|T2w|PDw|T2starw|FLAIR|UNIT1|inplaneT1|inplaneT2)\.nii(\.gz)?")
"""Path of an anatomical image in a BIDS dataset."""


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


def find_cases(
    inputs: Sequence[str | Path], masks: Sequence[str | Path] = (), output: str | Path | None = None
) -> list[Case]:
    """Return the cases of scans, folders (searched recursively), BIDS datasets, DICOM series and datalists.

    The search skips hidden files, the output, the masks and earlier results of prediction. A scan becomes a case with a
    `problem` if it cannot be opened or lacks its mask.

    Args:
        inputs: NIfTI files, folders, DICOM files (each stands for its series) or datalists.
        masks: brain masks in the order of the scans, or one folder, see `masks_for`.
        output: the folder of the outputs.

    Raises:
        UsageError: if no input exists, if no scan is found, or if the masks do not fit the scans at all.
    """
    paths = [_absolute(Path(path)) for path in inputs]
    if not any(os.path.exists(path) for path in paths):
        raise UsageError(f"{', '.join(map(str, inputs))}: there is no such file or folder; check the path")
    mask_folder = Path(masks[0]).resolve() if len(masks) == 1 and Path(masks[0]).is_dir() else None
    output = Path(output).resolve() if output is not None else None
    for path in (path.resolve() for path in paths if path.is_dir()):
        if path == output:
            raise UsageError(f"{path}: the output folder is the input folder; give another --output")
        if path == mask_folder:
            raise UsageError(f"{path}: the folder of masks is the input folder; move the masks to another folder")
    left_out = {folder for folder in (mask_folder, output) if folder is not None}
    found = {path: list(_cases_of(path, left_out)) for path in paths if not _is_sidecar(path)}
    if not any(found.values()):
        raise UsageError(
            f"no scan found in {', '.join(map(str, inputs))}; give files that end in {' or '.join(SUFFIXES)}, "
            "or DICOM series"
        )
    nothing = {path: [Case("", Entry((str(path),)), problem="no scan found in it; check the path")] for path in paths}
    cases = [case for path in paths if path in found for case in found[path] or nothing[path]]
    if masks and mask_folder is None:
        cases = _with_masks_by_position(cases, masks)
    cases = list({_origin(case): case for case in cases}.values())
    names = names_of(
        [Path(case.series.name) if case.series else case.image for case in cases], list(map(_origin, cases))
    )
    cases = [replace(case, name=name) for case, name in zip(cases, names, strict=True)]
    return cases if mask_folder is None else _with_masks_of(mask_folder, cases)


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`, in which links keep their names."""
    if ".." not in path.parts:
        return path.absolute()
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _origin(case: Case) -> str:
    """Return a text that is the same for a case that was given twice."""
    return repr((case.entry.images, case.entry.mask, case.series))


def _cases_of(path: Path, left_out: Set[Path]) -> Iterator[Case]:
    """Yield the cases of one input, still without names."""
    if path.is_dir():
        in_dataset = _dataset_of(path)
        files = list(_files_below(path, left_out))
        if in_dataset is not None:
            files = [file for file in files if BIDS_SCAN.fullmatch(file.relative_to(in_dataset).as_posix())]
            logger.info("%s: a BIDS dataset; its anatomical images are used", path)
            yield from map(_case_of, files)
            return
        found = [series for series in find_series(path) if not _is_left_out(series.folder, path, left_out)]
        slices = {file for series in found for file in series.files}
        yield from (_case_of(file) for file in files if file not in slices)
        yield from map(_case_of_series, found)
    elif path.suffix.lower() == ".json" and path.is_file():
        for entries in read_datalist(path, must_exist=False).values():
            for entry in entries:
                yield Case("", entry, problem=_problem_of(replace(entry, label=None).files))
    elif path.is_file() and _is_dicom(path):
        found = [series for series in find_series(path.parent) if path in series.files or path.name == "DICOMDIR"]
        yield from map(_case_of_series, found)
        if not found:
            yield _case_of(path)
    else:
        yield _case_of(path)


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


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".ima"):  # also if it is damaged
        return True
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _dataset_of(folder: Path) -> Path | None:
    """Return the BIDS dataset of a folder that is a dataset, a subject or a session; None for any other folder."""
    above = [parent for parent in folder.parents if folder.relative_to(parent).parts[0].startswith("sub-")]
    return next((place for place in (folder, *above) if (place / "dataset_description.json").is_file()), None)


def _files_below(folder: Path, left_out: Set[Path]) -> Iterator[Path]:
    """Yield the NIfTI files below a folder, dangling links and folders of such a name, and unreadable folders."""
    closed: list[Path] = []
    seen: set[Path] = set()
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)), followlinks=True)
    for place, folders, files in walk:
        here = Path(place)
        real = here.resolve()
        if real in seen or real in left_out or "case.json" in files:  # a circle of links, or results of prediction
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [here / name for name in sorted(files) if not name.startswith(".")]
        yield from filter(_ends_as_scan, shown)
        for file in shown:
            if not file.suffix and not file.exists():
                logger.warning("%s is skipped: it is a dangling link", to_printable(str(file)))
        if _ends_as_scan(here) and not files and not folders:
            yield here
    yield from closed


def _ends_as_scan(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _is_left_out(folder: Path, top: Path, left_out: Set[Path]) -> bool:
    below = [place for place in (folder, *folder.parents) if top in place.parents]
    return any(place.name.startswith(".") or place.resolve() in left_out for place in below)


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
    files = sorted(file for file in folder.iterdir() if _ends_as_scan(file) and not file.name.startswith("."))
    masks, problems = masks_for([case.name for case in cases], files)
    if not masks:
        raise UsageError(f"{folder}: no scan has a mask in this folder; the first problem: {problems[cases[0].name]}")
    return [
        replace(case, entry=replace(case.entry, mask=str(masks[case.name])))
        if case.name in masks
        else replace(case, problem=case.problem or problems[case.name])
        for case in cases
    ]
