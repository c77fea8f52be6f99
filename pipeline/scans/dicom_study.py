"""The study of a DICOM scan: what an object that joins it must repeat, and nothing else that the scan's files say.

Only the tags that are named here are taken over, each if its value is valid. So no other tag of a scan, whoever it
names and whatever it holds, can reach an object that is made of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes, python_encoding

from pipeline.errors import ScanError
from pipeline.scans.dicom_slices import Slice, Slices
from pipeline.scans.dicom_tags import NAME_DELIMITERS, of_meta, read_dataset, text_of

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Form of a UID. Zeros before a number are not allowed, but some scanners write them."""

TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
"""Form of a time of day."""

LONGEST = 64
"""Characters that a UID, and a patient's id, have at most."""

NO_ID = "the patient's id of the scan is not valid in DICOM, so CASE_seg.dcm and CASE_preview.dcm have none"
"""The warning about a patient's id that is left out: a part of it could be the id of another patient."""


@dataclass(frozen=True)
class SourceImage:
    """The place of a slice in its study.

    Attributes:
        sop_class, instance_uid: of its file.
        series_uid: of its series.
        frame: its number in a file of several frames, from 1; None if it is the only one.
    """

    sop_class: str
    instance_uid: str
    series_uid: str
    frame: int | None


@dataclass(frozen=True)
class Study:
    """What an object that joins the study of a scan must repeat; a text is empty if the scan does not give it.

    Attributes:
        uid: of the study.
        patient_id: the id by which the patient is found.
        date: of the study, YYYYMMDD.
        time: of the study, HHMMSS.
        frame_of_reference_uid: of the space that the slices lie in; empty if they do not agree about it.
        series_number: of the scan, None if it is not given.
        images: the slices in their order along Z.
        warnings: what could not be taken over, each a sentence.
    """

    uid: str
    patient_id: str
    date: str
    time: str
    frame_of_reference_uid: str
    series_number: int | None
    images: tuple[SourceImage, ...]
    warnings: tuple[str, ...] = ()


def study_of(slices: Slices) -> Study:
    """Return the study of slices.

    Raises:
        ScanError: if they do not name one study, or have no valid UIDs.
    """
    files = list(dict.fromkeys(one.file for one in slices.of_z))
    tags = {file: read_dataset(file, last="FrameOfReferenceUID") for file in files}
    everything = list(tags.values())
    uid = _uid_of(everything, "StudyInstanceUID")
    if not uid:
        raise ScanError("its files do not name one study by a valid UID")
    patient_ids = {_patient_id(one) for one in everything}
    patient_id = patient_ids.pop() if len(patient_ids) == 1 else None
    number = _agreed(everything, "SeriesNumber")
    return Study(
        uid=uid,
        patient_id=patient_id or "",
        date=_date(_agreed(everything, "StudyDate")),
        time=_time(_agreed(everything, "StudyTime")),
        frame_of_reference_uid=_uid_of(everything, "FrameOfReferenceUID"),
        series_number=int(number) if re.fullmatch("[0-9]{1,9}", number) else None,
        images=tuple(_image(one, tags[one.file]) for one in slices.of_z),
        warnings=(NO_ID,) if patient_id is None else (),
    )


def _image(one: Slice, tags: Dataset) -> SourceImage:
    sop_class = text_of(tags, "SOPClassUID") or of_meta(tags, "MediaStorageSOPClassUID")
    image = SourceImage(sop_class, text_of(tags, "SOPInstanceUID"), text_of(tags, "SeriesInstanceUID"), one.frame)
    if not all(map(_is_uid, (image.sop_class, image.instance_uid, image.series_uid))):
        raise ScanError("its files have no valid UIDs of class, image and series")
    return image


def _agreed(everything: Sequence[Dataset], keyword: str) -> str:
    """Return a tag's value, empty if files do not agree about it."""
    values = {text_of(tags, keyword) for tags in everything}
    return values.pop() if len(values) == 1 else ""


def _uid_of(everything: Sequence[Dataset], keyword: str) -> str:
    value = _agreed(everything, keyword)
    return value if _is_uid(value) else ""


def _is_uid(value: str) -> bool:
    return len(value) <= LONGEST and UID.fullmatch(value) is not None


def _patient_id(tags: Dataset) -> str | None:
    """Return the patient's id, None if it is not valid: too long, or undecodable by the character set of its file."""
    value = text_of(tags, "PatientID").encode("utf-8", "surrogateescape")
    character_sets = text_of(tags, "SpecificCharacterSet").split("\\")
    if not value.isascii() and not ({*character_sets} - {""} and {*character_sets} <= python_encoding.keys()):
        return None
    text = decode_bytes(value, convert_encodings(character_sets), NAME_DELIMITERS)
    valid = len(text) <= LONGEST and text.isprintable() and not {"\\", "\ufffd"} & set(text)
    return text if valid else None


def _date(value: str) -> str:
    try:
        return datetime.strptime(value, "%Y%m%d").strftime("%Y%m%d") if re.fullmatch("[0-9]{8}", value) else ""
    except ValueError:
        return ""


def _time(value: str) -> str:
    return value if TIME.fullmatch(value) else ""
