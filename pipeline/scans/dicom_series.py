"""DICOM series: found in folders by their files' tags, named without their patient, and read as volumes."""

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.errors import ScanError
from pipeline.scans import dicom_slices as dicom
from pipeline.scans.dicom_slices import DAMAGED, Tags, numbers, read_slices, tags_of, volume_of

MR_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "4.1", "4.4"))
"""MR images: one slice a file, and the two multi-frame kinds."""
MODALITIES = ("MR", "OT", "", *dicom.OTHER_SCANNERS)
"""Of scans. Software that derives or anonymizes series often writes OT (other) or nothing."""
LOCALIZER = re.compile("locali[sz]er|scout|survey|pilot", re.IGNORECASE)
"""What localizers are called."""
CODECS = ("utf-8", "latin-1", "iso8859-2", "iso8859-5", "iso8859-7", "shift_jis", "iso2022_jp", "gb18030", "euc_kr")
"""What a patient's name may be written in."""
SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae"})


@dataclass(frozen=True)
class Series:
    """One DICOM series.

    Args:
        folder: the folder of its files, or the nearest above them where they lie in several.
        files: in slice order, damaged ones among them.
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
        qform and sform of code 1 (scanner). Integers keep their type, unless a factor of the series makes fractions of
        them: then the voxels are float32.

        Raises:
            ScanError: where the files are not all the slices of one volume, or one cannot be read.
        """
        parts = []
        for file in self.files:
            try:
                parts.append(read_slices(file))
            except ScanError as error:
                name = _without_patient(file.name, map(tags_of, self.files))
                raise ScanError(f"its file {name} {error}") from None
        return volume_of(parts)


def find_series(folder: Path) -> list[Series]:
    """Return the DICOM series of a folder and of all folders in it.

    What is no scan is passed over: hidden files and folders, localizers, secondary captures, reports, contours. A
    damaged file goes with its series, so that reading fails, or is one of its own where that cannot be told.

    Args:
        folder: where to search.
    """
    groups: dict[str, dict[Path, Tags]] = defaultdict(dict)
    for file in _dicom_files(folder):
        tags = tags_of(file)
        if _is_slice(tags):
            groups[tags.get(dicom.SERIES_UID) or str(file.parent)][file] = tags
    _take_in_damaged(groups)
    return [_series(part) for group in groups.values() if not _is_localizer(group) for part in _parts(group)]


def _dicom_files(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and place not in seen)
        if place not in seen:  # links may lead in a circle
            seen.add(place)
            yield from filter(_is_dicom, (Path(parent, name) for name in sorted(names) if not name.startswith(".")))


def _is_dicom(file: Path) -> bool:
    """Tell by a few bytes, so that folders of NIfTI cost nothing, or by the suffix, which a damaged file keeps."""
    if not file.is_file() or file.suffix.lower() in (".dcm", ".ima"):
        return file.is_file()
    try:
        with open(file, "rb") as stream:
            stream.seek(128)
            return stream.read(4) == b"DICM"
    except OSError:
        return False


def _is_slice(tags: Tags) -> bool:
    if DAMAGED in tags:  # or an object without pixels, such as a report
        return tags.get(dicom.MEDIA_SOP_CLASS, tags.get(dicom.SOP_CLASS, MR_CLASSES[0])) in MR_CLASSES
    # A picture of the screen has no place in space. An MR image without one is a scan that fails, not nothing.
    placed = dicom.POSITION in tags and dicom.ORIENTATION in tags
    return tags.get(dicom.MODALITY, "") in MODALITIES and (placed or tags.get(dicom.SOP_CLASS) in MR_CLASSES)


def _take_in_damaged(groups: dict[str, dict[Path, Tags]]) -> None:
    """Put damaged files that do not tell their series with the only one of their folder, where there is but one."""
    for key in [key for key, group in groups.items() if all(DAMAGED in tags for tags in group.values())]:
        beside = [group for other, group in groups.items() if other != key and any(str(f.parent) == key for f in group)]
        if len(beside) == 1:
            beside[0].update(groups.pop(key))


def _is_localizer(group: dict[Path, Tags]) -> bool:
    """Tell whether a series only serves to plan others: it says so, or has few slices along each of three axes."""
    if any("LOCALIZER" in tags.get(dicom.IMAGE_TYPE, "").upper() for tags in group.values()):
        return True
    given = [tags[dicom.ORIENTATION] for tags in group.values() if dicom.ORIENTATION in tags]
    axes = [tuple(np.round(numbers(orientation, 6), 1)) for orientation in given]
    few = max(map(axes.count, axes), default=0) < 10
    named = any(LOCALIZER.search(tags.get(dicom.SERIES_DESCRIPTION, "")) for tags in group.values())
    return few and (named or len(set(axes)) > 2)


def _parts(group: dict[Path, Tags]) -> list[dict[Path, Tags]]:
    """Return a series whole where its slices lie in several folders, but a copy of them as a series of its own."""
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
    """Tell whether no slice is in both, and both are of one patient, as far as their tags tell."""
    instances = [{tags.get(dicom.INSTANCE_UID, str(file)) for file, tags in part.items()} for part in (one, other)]
    read = [tags for part in (one, other) for tags in part.values() if DAMAGED not in tags]
    return instances[0].isdisjoint(instances[1]) and len({tuple(map(tags.get, dicom.PATIENT)) for tags in read}) <= 1


def _series(group: dict[Path, Tags]) -> Series:
    files = tuple(sorted(group, key=lambda file: (_along_normal(group[file]), file)))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    tags = next((tags for tags in group.values() if DAMAGED not in tags), group[files[0]])
    identity = (tags.get(dicom.SERIES_UID) or str(folder.resolve()), tags.get(dicom.STUDY_UID, ""))
    digest = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    number = re.fullmatch(r"[0-9]{1,9}", tags.get(dicom.SERIES_NUMBER, ""))
    name = f"series-{number[0]}_{digest}" if number else f"series_{digest}"
    return Series(folder, files, name, _without_patient(str(folder), group.values()))


def _along_normal(tags: Tags) -> float:
    axes = numbers(tags.get(dicom.ORIENTATION, ""), 6)
    return float(np.nan_to_num(np.cross(axes[:3], axes[3:]) @ numbers(tags.get(dicom.POSITION, ""), 3)))


def _without_patient(text: str, group: Iterable[Tags]) -> str:
    """Return a path or a file's name with *** for what identifies the patient of these tags."""
    hidden: set[str] = set()
    for tags in {tuple(tags.get(tag, "") for tag in dicom.PATIENT): tags for tags in group}.values():
        for tag in (*dicom.PATIENT_NAMES, *dicom.PATIENT_IDS):
            given = tags.get(tag, "").encode("utf-8", "surrogateescape")
            values = {unicodedata.normalize("NFC", given.decode(codec, "ignore")) for codec in CODECS}
            between = r"[\^=\\\s]+" if tag in dicom.PATIENT_NAMES else r"\\"
            parts = {part.strip() for value in values for part in re.split(between, value)}
            parts |= {unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode() for part in parts}
            parts |= {part.lower().translate(SPELT_OUT) for part in parts}
            hidden |= {re.escape(part) for part in parts if len(part) > 1}
        if date := re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", tags.get(dicom.BIRTH_DATE, "")):
            year, month, day = date.groups()
            hidden |= {r"[-._ ]?".join(order) for order in ((year, month, day), (day, month, year), (month, day, year))}
    text = unicodedata.normalize("NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    either = "|".join(sorted(hidden, key=len, reverse=True))
    return re.sub(either, "***", text, flags=re.IGNORECASE) if hidden else text
