"""The images that a SEG is made of: highdicom takes them only if they are the slices of one series, a file each.

So it gets stand-ins: a slice in a file of several frames, or one that is a series of its own, looks like all others.
Afterwards the SEG refers to the true images.
"""

import uuid
from typing import Any

from pydicom import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from pipeline.scans import Slices, SourceImage, Study


def derived_uid(*identity: str) -> str:
    """Return a UID that follows from texts alone: no time, no machine."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(10).join(identity)).int}"


def _stand_in_uid(z: int) -> str:
    return f"2.25.{z + 1}"


def stand_ins(study: Study, slices: Slices, shape: tuple[int, ...], thickness: float) -> list[Dataset]:
    """Return an image for each slice that highdicom takes for the scan's: its place, and of its tags those of `Study`.

    Slices of several frames, or of a series each, look like those of one series, the only kind that highdicom joins.
    `refer_to` names the true images.
    """
    images = []
    for z, one in enumerate(slices.of_z):
        image = Dataset()
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = _stand_in_uid(z)
        image.SeriesInstanceUID = _stand_in_uid(len(slices.of_z))
        image.StudyInstanceUID = study.uid
        image.FrameOfReferenceUID = study.frame_of_reference_uid or derived_uid("space", study.images[0].series_uid)
        image.PatientID = study.patient_id
        image.StudyDate, image.StudyTime = study.date, study.time
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(image, keyword, "")
        image.Modality = "MR"
        image.Columns, image.Rows = shape[:2]
        image.SliceThickness = _decimal(thickness)
        image.PixelSpacing = [_decimal(mm) for mm in slices.spacing]
        image.ImageOrientationPatient = [_decimal(cosine) for cosine in slices.orientation]
        image.ImagePositionPatient = [_decimal(mm) for mm in one.position]
        images.append(image)
    return images


def _decimal(value: float) -> Any:
    return DSfloat(value, auto_format=True)


def refer_to(study: Study, segmentation: Dataset) -> None:
    """Let a SEG that was made of stand-ins refer to the images of the study."""
    true = {_stand_in_uid(z): image for z, image in enumerate(study.images)}
    series: dict[str, dict[str, Dataset]] = {}
    for image in study.images:
        series.setdefault(image.series_uid, {})[image.instance_uid] = _reference(image)
    segmentation.SourceImageSequence = [one for images in series.values() for one in images.values()]
    segmentation.ReferencedSeriesSequence = []
    for uid, images in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = list(images.values())
        segmentation.ReferencedSeriesSequence.append(item)
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        for item in frame.DerivationImageSequence:
            item.SourceImageSequence = [
                _of_frame(one, true[one.ReferencedSOPInstanceUID]) for one in item.SourceImageSequence
            ]


def _of_frame(stand_in: Dataset, image: SourceImage) -> Dataset:
    """Return the reference of a frame to a true image; highdicom gives frames of one place the same reference."""
    reference = Dataset()
    reference.update(stand_in)
    reference.update(_reference(image))
    if image.frame is not None:
        reference.ReferencedFrameNumber = image.frame
    return reference


def _reference(image: SourceImage) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.sop_class
    reference.ReferencedSOPInstanceUID = image.instance_uid
    return reference
