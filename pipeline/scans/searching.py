"""The search of a folder: its scans and DICOM series, and a line about each kind of files that is passed over."""

import logging
import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from pipeline.nifti import SUFFIXES
from pipeline.scans.dicom_series import Series, find_series, passed_over
from pipeline.unread import line_about, named_as_labels, not_read

logger = logging.getLogger(__name__)

BIDS_SCAN = re.compile(r"sub-.*/anat/[^/]*_(T1w|T2w|PDw|T2starw|FLAIR|UNIT1|inplaneT1|inplaneT2)\.[^/]*")
"""Path of an anatomical image in a BIDS dataset."""

DESCRIPTION_FILE = "dataset_description.json"
"""The file at the root of each BIDS dataset."""

BIDS_RESULTS = {DESCRIPTION_FILE, "run.json"}
"""Files of a folder that holds results of prediction as a BIDS dataset."""

PASSED_OVER = "passed over, because the name is that of a mask or label; give the file itself as input if it is a scan"
"""What is said of such files beside scans."""


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        files: the files of scans; dangling links and closed folders among them, so that they are named.
        series: the DICOM series.
        skipped: a line about each kind of files that may be scans and are passed over.
    """

    files: tuple[Path, ...]
    series: tuple[Series, ...]
    skipped: tuple[str, ...]


def search(folder: Path, left_out: Set[Path]) -> Found:
    """Return the scans of a folder and all folders in it; of a BIDS dataset, only its anatomical images.

    Args:
        folder: where to search.
        left_out: folders that are not searched.
    """
    dataset = dataset_of(folder)
    files = list(_files_below(folder, left_out))
    if dataset is not None:
        logger.info("%s: a BIDS dataset; its anatomical images are used", folder)
        files = [file for file in files if BIDS_SCAN.fullmatch(file.relative_to(dataset).as_posix())]
        found = []
    else:
        found = [series for series in find_series(folder) if not _is_left_out(series.folder, folder, left_out)]
    slices = {file for series in found for file in series.files}
    scans = [file for file in files if (ends_as_scan(file) or file.is_dir()) and file not in slices]
    unread = not_read(folder, (file for file in files if not ends_as_scan(file) and file not in slices))
    labels = named_as_labels(scans)
    passed = [line_about(folder, labels, PASSED_OVER)] if labels else []
    skipped = (*unread, *passed, *passed_over(folder, found))
    series = tuple(series for series in found if not series.localizer)
    return Found(tuple(file for file in scans if file not in set(labels)), series, skipped)


def ends_as_scan(path: Path) -> bool:
    """Return whether a name ends as that of a file that is read."""
    return path.name.lower().endswith(SUFFIXES)


def dataset_of(path: Path) -> Path | None:
    """Return the root of the BIDS dataset that a file or a folder lies in, or is; None if it lies in none."""
    above = [parent for parent in path.parents if path.relative_to(parent).parts[0].startswith("sub-")]
    return next((place for place in (path, *above) if (place / DESCRIPTION_FILE).is_file()), None)


def _files_below(folder: Path, left_out: Set[Path]) -> Iterator[Path]:
    """Yield the files below a folder, empty folders that are named as a scan, and unreadable folders."""
    closed: list[Path] = []
    seen: set[Path] = set()
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)), followlinks=True)
    for place, folders, files in walk:
        here = Path(place)
        real = here.resolve()
        # a circle of links, or results of prediction
        if real in seen or real in left_out or "case.json" in files or set(files) >= BIDS_RESULTS:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [here / name for name in sorted(files) if not name.startswith(".")]
        yield from shown
        if ends_as_scan(here) and not files and not folders:
            yield here
    yield from closed


def _is_left_out(folder: Path, top: Path, left_out: Set[Path]) -> bool:
    below = [place for place in (folder, *folder.parents) if top in place.parents]
    return any(place.name.startswith(".") or place.resolve() in left_out for place in below)
