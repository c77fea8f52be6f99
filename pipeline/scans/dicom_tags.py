"""DICOM tags: what a file says about itself and its patient, and text without that patient."""

import logging
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_partial
from pydicom.tag import Tag

# pydicom's warnings quote values, and so patients. Scans are read in threads, where `catch_warnings` is not safe.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

CODECS = ("utf-8", "latin-1", "iso8859-2", "iso8859-5", "iso8859-7", "shift_jis", "iso2022_jp", "gb18030", "euc_kr")
"""Codecs that patients' names are written in if the file names none, or the wrong one."""
NAME_DELIMITERS = set(b"^=\\")
"""Characters that end a part of a name, and with it the character set that the part chose."""
SWITCH = re.compile(r"\x1b[ -/]*[0-~]")
"""Sequences that switch the character set inside a name (ISO 2022); codecs leave those that they do not know."""
SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae"})


@dataclass(frozen=True)
class Patient:
    """What must not reach any output: names and ids as they stand in the file, undecoded."""

    names: tuple[bytes, ...]
    ids: tuple[bytes, ...]
    birth_date: str
    character_set: str


@dataclass(frozen=True)
class Tags:
    """What a file says about itself; a text is empty if the file does not give it.

    Args:
        damaged: the tags end before those of an image: the file is damaged, or holds no image, such as a report.
        size: of the slice, as it stands in the file; only good for telling whether two files agree.
    """

    damaged: bool
    sop_class: str
    instance_uid: str
    study_uid: str
    series_uid: str
    series_number: str
    series_description: str
    image_type: str
    modality: str
    position: str
    orientation: str
    spacing: str
    size: str
    contrast_agent: bool
    patient: Patient


def tags_of(file: Path) -> Tags:
    """Return the tags of a file, as far as they can be read."""
    dataset = read_dataset(file, last="PixelSpacing")
    return Tags(
        damaged="Rows" not in dataset,
        sop_class=text_of(dataset, "SOPClassUID") or of_meta(dataset, "MediaStorageSOPClassUID"),
        instance_uid=text_of(dataset, "SOPInstanceUID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"),
        series_number=text_of(dataset, "SeriesNumber"),
        series_description=text_of(dataset, "SeriesDescription"),
        image_type=text_of(dataset, "ImageType"),
        modality=text_of(dataset, "Modality"),
        position=text_of(dataset, "ImagePositionPatient"),
        orientation=text_of(dataset, "ImageOrientationPatient"),
        spacing=text_of(dataset, "PixelSpacing"),
        size="\\".join(repr(text_of(dataset, keyword)) for keyword in ("Rows", "Columns")),
        contrast_agent=text_of(dataset, "ContrastBolusAgent").lower() not in ("", "none", "no"),
        patient=Patient(
            names=(_bytes_of(dataset, "PatientName"), _bytes_of(dataset, "OtherPatientNames")),
            ids=(_bytes_of(dataset, "PatientID"), _bytes_of(dataset, "OtherPatientIDs")),
            birth_date=text_of(dataset, "PatientBirthDate"),
            character_set=text_of(dataset, "SpecificCharacterSet"),
        ),
    )


def read_dataset(file: Path, last: str) -> Dataset:
    """Return the tags of a file up to the one of this keyword; none if the file is not DICOM or cannot be opened.

    Reading stops there, so that damage further on does not matter.
    """
    end = Tag(last)
    try:
        with open(file, "rb") as stream:
            if not any(stream.read(132)):  # zeros alone, which pydicom would read as millions of empty tags
                return Dataset()
            stream.seek(0)
            return read_partial(stream, lambda tag, kind, length: not 0 < tag <= end, force=True)
    except Exception:  # pydicom raises errors of many types for what is not DICOM
        return Dataset()


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return a tag's value as text, empty if it is missing or cut short."""
    return _bytes_of(dataset, keyword).decode("utf-8", "surrogateescape")


def of_meta(dataset: Dataset, keyword: str) -> str:
    """Return the text of a tag from the file's first part, which tells how to read the rest."""
    return text_of(getattr(dataset, "file_meta", Dataset()), keyword)


def _bytes_of(dataset: Dataset, keyword: str) -> bytes:
    element = dataset.get_item(keyword)
    if not isinstance(element, RawDataElement):
        value = str((element and element.value) or "").encode("utf-8", "surrogateescape")
    elif element.value is None or len(element.value) < element.length:
        value = b""
    else:
        value = element.value
    return value.strip(b" \0")


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none if it is missing or damaged."""
    try:
        return [item for item in dataset.get(keyword) or () if isinstance(item, Dataset)]
    except Exception:  # pydicom reads a sequence when asked for it, and raises errors of many types
        return []


def numbers(text: str, count: int) -> np.ndarray:
    """Return the numbers of a tag's value, all NaN if they are not `count`."""
    try:
        found = np.array(text.split("\\"), dtype=float)
    except ValueError:
        found = np.empty(0)
    return found if len(found) == count else np.full(count, np.nan)


HIDDEN = "***"
"""Stands for what identifies a patient in the path of a DICOM file."""


def without_patient(text: str, patients: Iterable[Patient]) -> str:
    """Return a path or a file's name with `HIDDEN` for what identifies these patients."""
    hidden: set[str] = set()
    for patient in set(patients):
        parts = {part for name in patient.names for part in _parts(name, patient.character_set, r"[\^=\\\s]+")}
        parts |= {part for given in patient.ids for part in _parts(given, patient.character_set, r"\\")}
        parts |= {unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode() for part in parts}
        parts |= {part.lower().translate(SPELT_OUT) for part in parts}
        hidden |= {re.escape(part) for part in parts if len(part) > 1}
        if date := re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", patient.birth_date):
            year, month, day = date.groups()
            hidden |= {r"[-._ ]?".join(order) for order in ((year, month, day), (day, month, year), (month, day, year))}
    text = unicodedata.normalize("NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    either = "|".join(sorted(hidden, key=len, reverse=True))
    return re.sub(either, HIDDEN, text, flags=re.IGNORECASE) if hidden else text


def _parts(value: bytes, character_set: str, between: str) -> set[str]:
    """Return the parts of a value, decoded as the file says and in every other way that files use."""
    decoded = {value.decode(codec, "ignore") for codec in CODECS}
    decoded.add(decode_bytes(value, convert_encodings(character_set.split("\\")), NAME_DELIMITERS))
    whole = (unicodedata.normalize("NFC", SWITCH.sub("", text)) for text in decoded)
    return {part.strip() for text in whole for part in re.split(between, text)}
