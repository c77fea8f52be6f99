"""DICOM series: found in folders by their files' tags, named without their patient, and read as volumes."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.dicom_files import is_dicom
from pipeline.errors import ScanError
from pipeline.files import to_printable
from pipeline.scans.dicom_grouping import Group, groups_of
from pipeline.scans.dicom_slices import OTHER_SCANNERS, Volume, copies_in, read_frames, volume_of
from pipeline.scans.dicom_tags import Tags, numbers, tags_of, without_patient
from pipeline.unread import line_about

logger = logging.getLogger(__name__)

MR_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "4.1", "4.4"))
"""MR images: one slice a file, and the two multi-frame kinds."""
MODALITIES = ("MR", "OT", "", *OTHER_SCANNERS)
"""Modalities of scans. Software that derives or anonymizes series often writes OT (other) or nothing."""
FEWEST = 3
"""Smallest number of slices that are put together if each is a series of its own: two are always evenly spaced."""


@dataclass(frozen=True)
class Series:
    """One DICOM series.

    Args:
        folder: the folder of its files, or the nearest above them if they lie in several.
        files: in slice order, with those that are damaged.
        name: neutral and the same in every run: the series' number, and a hash of the UIDs of series and study.
        described: the folder's path, with *** for the patient's name, id and birth date.
        localizer: whether it only serves to plan others.
        scattered: whether each slice is a series of its own in DICOM, and they were put together.
        contrast_agent: whether its tags name a contrast agent.
        study_uid: the UID of its study; empty if the files do not give it.
        series_uids: the UID of the series; several if they are scattered, none if the files do not give it.
    """

    folder: Path
    files: tuple[Path, ...]
    name: str
    described: str
    localizer: bool
    scattered: bool
    contrast_agent: bool = False
    study_uid: str = field(default="", repr=False)
    series_uids: tuple[str, ...] = field(default=(), repr=False)

    def read(self, warn: Callable[[str], None] = logger.warning) -> nib.nifti1.Nifti1Image:
        """Return the image of `read_volume`."""
        return self.read_volume(warn).image

    def read_volume(self, warn: Callable[[str], None] = logger.warning) -> Volume:
        """Return the volume (X, Y, Z): X along the rows of a slice, Y down its columns, Z from slice to slice.

        This is SimpleITK's order of voxels: Z runs along the cross product of X and Y. The affine is RAS in mm, as
        qform and sform of code 1 (scanner). Integers keep their type. If the series rescales them to fractions, the
        voxels are float32.

        Args:
            warn: what takes a warning about copies of slices, which are left out.

        Raises:
            ScanError: if the files are not all the slices of one volume, or one of them cannot be read.
        """
        parts = []
        for file in self.files:
            try:
                parts.append(read_frames(file))
            except ScanError as error:
                raise ScanError(f"its file {self._without_patient(file.name)} {error}") from None
        copies = copies_in(parts)
        try:
            if self.scattered and len(parts) - len(copies) < FEWEST:
                raise ScanError("they are too few for a scan")
            kept = [number for number in range(len(parts)) if number not in copies]
            volume = volume_of([self.files[number] for number in kept], [parts[number] for number in kept])
        except ScanError as error:
            if not self.scattered:
                raise
            raise ScanError(f"{len(parts)} slices, each a series of its own, were put together: {error}") from None
        if copies:
            example = self._without_patient(self.files[copies[0]].name)
            if len(copies) == 1:
                warn(f"its file {example} repeats another slice and is left out")
            else:
                warn(f"{len(copies)} of its files repeat other slices and are left out, for example {example}")
        return volume

    def _without_patient(self, text: str) -> str:
        return to_printable(without_patient(text, (tags_of(file).patient for file in self.files)))


def find_series(folder: Path) -> list[Series]:
    """Return the DICOM series of a folder and of all folders in it, localizers among them.

    Files that are no scan are passed over: hidden files and folders, secondary captures, reports, contours. A damaged
    file stays in its series, so that reading the series fails. If the series of the file is not known, the file is a
    series of its own.

    Args:
        folder: where to search.
    """
    tags = {file: tags_of(file) for file in _dicom_files(folder)}
    return [_series(group) for group in groups_of({file: own for file, own in tags.items() if _is_slice(own)})]


def passed_over(folder: Path, found: Sequence[Series]) -> list[str]:
    """Return a line about the localizers among series below a folder, if there are any."""
    files = [file for series in found if series.localizer for file in series.files]
    if not files:
        return []
    line = line_about(folder, files, "passed over: a localizer, which only serves to plan other scans")
    return [without_patient(line, (tags_of(file).patient for file in files))]


def _dicom_files(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and place not in seen)
        if place not in seen:  # links may lead in a circle
            seen.add(place)
            yield from filter(is_dicom, (Path(parent, name) for name in sorted(names) if not name.startswith(".")))


def _is_slice(tags: Tags) -> bool:
    if tags.damaged:  # or an object without pixels, such as a report
        return (tags.sop_class or MR_CLASSES[0]) in MR_CLASSES
    # A picture of the screen has no place in space. An MR image without one is a scan that fails, not nothing.
    placed = tags.position and tags.orientation
    return tags.modality in MODALITIES and (bool(placed) or tags.sop_class in MR_CLASSES)


def _series(group: Group) -> Series:
    slices = group.slices
    files = tuple(sorted(slices, key=lambda file: (_along_normal(slices[file]), file)))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    tags = next((slices[file] for file in files if not slices[file].damaged), slices[files[0]])
    identity = (tags.series_uid or str(folder.resolve()), tags.study_uid)
    digest = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    number = re.fullmatch(r"[0-9]{1,9}", tags.series_number)
    name = f"series-{number[0]}_{digest}" if number else f"series_{digest}"
    described = without_patient(str(folder), (tags.patient for tags in slices.values()))
    return Series(
        folder,
        files,
        name,
        described,
        group.localizer,
        group.scattered,
        tags.contrast_agent,
        tags.study_uid,
        tuple(dict.fromkeys(uid for file in files if (uid := slices[file].series_uid))),
    )


def _along_normal(tags: Tags) -> float:
    axes = numbers(tags.orientation, 6)
    return float(np.nan_to_num(np.cross(axes[:3], axes[3:]) @ numbers(tags.position, 3)))
