"""DICOM series: found in folders by their files' tags, named without their patient, and read as volumes."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.dicom_files import is_dicom
from pipeline.errors import ScanError
from pipeline.scans.dicom_slices import OTHER_SCANNERS, read_frames, volume_of
from pipeline.scans.dicom_tags import Tags, numbers, tags_of, without_patient

MR_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "4.1", "4.4"))
"""MR images: one slice a file, and the two multi-frame kinds."""
MODALITIES = ("MR", "OT", "", *OTHER_SCANNERS)
"""Modalities of scans. Software that derives or anonymizes series often writes OT (other) or nothing."""
LOCALIZER = re.compile("locali[sz]er|scout|survey|pilot", re.IGNORECASE)
"""Words in the descriptions of localizers."""


@dataclass(frozen=True)
class Series:
    """One DICOM series.

    Args:
        folder: the folder of its files, or the nearest above them if they lie in several.
        files: in slice order, with those that are damaged.
        name: neutral and the same in every run: the series' number, and a hash of the UIDs of series and study.
        described: the folder's path, with *** for the patient's name, id and birth date.
    """

    folder: Path
    files: tuple[Path, ...]
    name: str
    described: str

    def read(self) -> nib.nifti1.Nifti1Image:
        """Return the volume (X, Y, Z): X along the rows of a slice, Y down its columns, Z from slice to slice.

        This is SimpleITK's order of voxels: Z runs along the cross product of X and Y. The affine is RAS in mm, as
        qform and sform of code 1 (scanner). Integers keep their type. If the series rescales them to fractions, the
        voxels are float32.

        Raises:
            ScanError: if the files are not all the slices of one volume, or one of them cannot be read.
        """
        parts = []
        for file in self.files:
            try:
                parts.append(read_frames(file))
            except ScanError as error:
                name = without_patient(file.name, (tags_of(file).patient for file in self.files))
                raise ScanError(f"its file {name} {error}") from None
        return volume_of(parts)


def find_series(folder: Path) -> list[Series]:
    """Return the DICOM series of a folder and of all folders in it.

    Files that are no scan are passed over: hidden files and folders, localizers, secondary captures, reports, contours.
    A damaged file stays in its series, so that reading the series fails. If the series of the file is not known, the
    file is a series of its own.

    Args:
        folder: where to search.
    """
    groups: dict[str, dict[Path, Tags]] = defaultdict(dict)
    for file in _dicom_files(folder):
        tags = tags_of(file)
        if _is_slice(tags):
            groups[tags.series_uid or str(file.parent)][file] = tags
    _take_in_damaged(groups)
    return [_series(part) for group in groups.values() if not _is_localizer(group) for part in _parts(group)]


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


def _take_in_damaged(groups: dict[str, dict[Path, Tags]]) -> None:
    """Add damaged files that do not name their series to the series of their folder, if there is only one."""
    for key in [key for key, group in groups.items() if all(tags.damaged for tags in group.values())]:
        beside = [group for other, group in groups.items() if other != key and any(str(f.parent) == key for f in group)]
        if len(beside) == 1:
            beside[0].update(groups.pop(key))


def _is_localizer(group: dict[Path, Tags]) -> bool:
    """Tell whether a series only serves to plan others: it says so, or has few slices along each of three axes."""
    if any("LOCALIZER" in tags.image_type.upper() for tags in group.values()):
        return True
    given = [tags.orientation for tags in group.values() if tags.orientation]
    axes = [tuple(np.round(numbers(orientation, 6), 1)) for orientation in given]
    few = max(map(axes.count, axes), default=0) < 10
    named = any(LOCALIZER.search(tags.series_description) for tags in group.values())
    return few and (named or len(set(axes)) > 2)


def _parts(group: dict[Path, Tags]) -> list[dict[Path, Tags]]:
    """Return a series as one part if its slices lie in several folders, but each copy of them as a part of its own."""
    folders: dict[Path, dict[Path, Tags]] = defaultdict(dict)
    for file, tags in group.items():
        folders[file.parent][file] = tags
    parts: list[dict[Path, Tags]] = []
    for slices in folders.values():
        whole = next((part for part in parts if _complement(part, slices)), None)
        if whole is None:
            parts.append(slices)
        else:
            whole.update(slices)
    return parts


def _complement(one: dict[Path, Tags], other: dict[Path, Tags]) -> bool:
    """Tell whether no slice is in both, and both show one patient, as far as their tags tell."""
    instances = [{tags.instance_uid or str(file) for file, tags in part.items()} for part in (one, other)]
    patients = {tags.patient for part in (one, other) for tags in part.values() if not tags.damaged}
    return instances[0].isdisjoint(instances[1]) and len(patients) <= 1


def _series(group: dict[Path, Tags]) -> Series:
    files = tuple(sorted(group, key=lambda file: (_along_normal(group[file]), file)))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    tags = next((tags for tags in group.values() if not tags.damaged), group[files[0]])
    identity = (tags.series_uid or str(folder.resolve()), tags.study_uid)
    digest = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    number = re.fullmatch(r"[0-9]{1,9}", tags.series_number)
    name = f"series-{number[0]}_{digest}" if number else f"series_{digest}"
    return Series(folder, files, name, without_patient(str(folder), (tags.patient for tags in group.values())))


def _along_normal(tags: Tags) -> float:
    axes = numbers(tags.orientation, 6)
    return float(np.nan_to_num(np.cross(axes[:3], axes[3:]) @ numbers(tags.position, 3)))
