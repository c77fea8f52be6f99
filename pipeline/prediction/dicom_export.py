"""DICOM in the study of a scan that came as DICOM: its clusters (SEG), and its preview (Secondary Capture).

Both are made from the files in a case's folder, so a case that is done already gets them without being scored again.
They repeat of the scan what `Study` names, and nothing else of it. Their UIDs follow from those of the scan and from
the model, its settings and the version: the same command gives the same UIDs, so that an archive can tell that it has
them.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image
from pydicom import Dataset

from pipeline.errors import ScanError, reason_of
from pipeline.files import to_printable, written_aside
from pipeline.installation import DISTRIBUTION
from pipeline.prediction.cluster_labels import cluster_colour, cluster_label
from pipeline.prediction.dicom_sources import derived_uid, refer_to, stand_ins
from pipeline.prediction.results import Hashes, Result, add_to_record, read_record
from pipeline.scans import Case, Slices, Study, study_of
from pipeline.version import __version__

logger = logging.getLogger(__name__)

MOST_SEGMENTS = 100
"""Clusters that the SEG holds, the largest first: viewers list each segment by its name."""

PURPOSE = "research, not for diagnosis"
"""What the descriptions of both series say."""

DERIVED_SERIES = {"seg": 1, "preview": 2}
"""What is added to a thousand times the number of the scan's series, so that it stands beside its scan."""

UNNUMBERED = 9
"""Stands for the number of a series that has none, or one that is too large to be multiplied."""

LONGEST = 64
"""Length of a text in DICOM (LO) at most, bytes."""

NOT_DICOM = "it did not come as DICOM, so it has no CASE_seg.dcm and no CASE_preview.dcm"
NO_CLUSTER = "it has no cluster, and so no CASE_seg.dcm, only CASE_preview.dcm"
UNCALIBRATED = "the model has no calibration and finds no clusters, so there is no CASE_seg.dcm, only CASE_preview.dcm"
MANY = "it has {} clusters; CASE_seg.dcm holds the " + str(MOST_SEGMENTS) + " largest"


@dataclass(frozen=True)
class DicomExport:
    """What writes CASE_seg.dcm and CASE_preview.dcm.

    Attributes:
        model: name of the model.
        fingerprint: SHA-256 of its weights.
    """

    model: str
    fingerprint: str

    def require(self) -> None:
        """Import what it needs, so that a missing package is told before the first scan.

        Raises:
            ModuleNotFoundError: if highdicom is not installed.
        """
        import highdicom  # noqa: F401

    def write(self, folder: Path, case: str, slices: Slices, hashes: Hashes) -> tuple[str, ...]:
        """Write both files into the folder of a case, and return warnings about them.

        A scan that no DICOM object can be made of is no failure: its maps are good. The warning says why.

        Args:
            folder: the folder, with the case's image, clusters, table of clusters and preview.
            case: the start of the files' names.
            slices: the slices of the scan.
            hashes: the hashes of what the case was made with.
        """
        try:
            study = study_of(slices)
            made = {"preview": self._preview(folder, case, study, hashes)}
            if (segmentation := self._segmentation(folder, case, slices, study, hashes)) is not None:
                made["seg"] = segmentation
        except OSError:
            raise
        except Exception as error:  # any value that highdicom or pydicom rejects; their messages may quote it
            reason = (
                reason_of(error) if isinstance(error, ScanError) else f"they cannot be made ({type(error).__name__})"
            )
            return (f"there are no CASE_seg.dcm and CASE_preview.dcm: {reason}",)
        for name, dataset in made.items():
            with written_aside(folder / f"{case}_{name}.dcm") as partial:
                dataset.save_as(partial, enforce_file_format=True)
        return study.warnings

    def add(self, folder: Path, case: Case, hashes: Hashes, result: Result) -> Result:
        """Write both files for a case that is done, unless it has them, and return its result with their warnings."""
        record = read_record(folder)
        if case.series is None or record is None or f"{case.name}_preview.dcm" in record.files:
            return result
        _, slices = case.series.read_volume(lambda warning: None)
        warnings = self.write(folder, case.name, slices, hashes)
        result = replace(result, warnings=tuple(dict.fromkeys((*result.warnings, *warnings))))
        add_to_record(folder, result.warnings)
        return result

    def _segmentation(self, folder: Path, case: str, slices: Slices, study: Study, hashes: Hashes) -> Dataset | None:
        """Return the clusters as a SEG on the slices of the scan, a segment each; None if there is no cluster."""
        from highdicom.seg import Segmentation

        if not (folder / f"{case}_clusters.csv").is_file():
            return None
        table = pd.read_csv(folder / f"{case}_clusters.csv")
        if not len(table):
            return None
        shown = table[:MOST_SEGMENTS]
        image = nib.nifti1.Nifti1Image.from_filename(folder / f"{case}_clusters.nii.gz")
        numbers = np.asanyarray(image.dataobj)
        numbers = np.where(numbers > len(shown), 0, numbers).astype(np.uint16)
        names = [cluster_label(*row) for row in shown[["cluster", "volume_ml", "side"]].itertuples(index=False)]
        what = f"{len(shown)} largest of {len(table)} clusters" if len(shown) < len(table) else "clusters"
        thickness = float(np.linalg.norm(image.affine[:3, 2]))
        segmentation = Segmentation(
            source_images=stand_ins(study, slices, numbers.shape, thickness),
            pixel_array=numbers.transpose(2, 1, 0),
            segmentation_type="BINARY",
            segment_descriptions=[self._segment(number, name) for number, name in enumerate(names, start=1)],
            omit_empty_frames=True,
            content_label="ANOMALIES",
            content_description=f"{what}; {PURPOSE}",
            specific_character_set="ISO_IR 192",
            manufacturer_model_name=self._equipment,
            device_serial_number=self.fingerprint[:LONGEST],
            **self._series("seg", "ceVAE anomalies", study, hashes),
        )
        segmentation.BurnedInAnnotation = "NO"
        segmentation.BodyPartExamined = "BRAIN"
        refer_to(study, segmentation)
        organization = derived_uid("organization", segmentation.SOPInstanceUID)
        for item in (*segmentation.DimensionIndexSequence, *segmentation.DimensionOrganizationSequence):
            item.DimensionOrganizationUID = organization
        return _without_times_of_others(segmentation)

    def _segment(self, number: int, name: str) -> Any:
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.color import CIELabColor
        from highdicom.seg import SegmentDescription
        from pydicom.sr.codedict import codes

        algorithm = AlgorithmIdentificationSequence(
            name=self._equipment,
            family=codes.cid7162.ArtificialIntelligence,
            version=f"{__version__}, weights {self.fingerprint[:8]}",
        )
        return SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            anatomic_regions=[codes.SCT.Brain],
            display_color=CIELabColor.from_rgb(*cluster_colour(number)),
        )

    def _preview(self, folder: Path, case: str, study: Study, hashes: Hashes) -> Dataset:
        """Return the preview as a Secondary Capture."""
        from highdicom.sc import SCImage

        with Image.open(folder / f"{case}_preview.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        capture = SCImage(
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            study_instance_uid=study.uid,
            study_date=study.date or None,
            study_time=study.time or None,
            patient_id=study.patient_id,
            patient_name="",
            patient_birth_date="",
            specific_character_set="ISO_IR 192",
            manufacturer_model_name=self._equipment,
            **self._series("preview", "ceVAE preview", study, hashes),
        )
        capture.add_new("PatientOrientation", "CS", "")  # it shows several slices, beside a legend
        capture.ConversionType = "WSD"  # made by a workstation, not by a scanner of paper
        capture.BodyPartExamined = "BRAIN"
        capture.BurnedInAnnotation = "NO"  # its text names the model, and no patient
        return _without_times_of_others(capture)

    @property
    def _equipment(self) -> str:
        """The model's name as a text of DICOM."""
        text = to_printable(f"ceVAE model {self.model}").replace("\\", "/")
        return text.encode()[:LONGEST].decode(errors="ignore").strip()

    def _series(self, kind: str, description: str, study: Study, hashes: Hashes) -> dict[str, Any]:
        """Return what both objects say of their series and of what made them."""
        made_with = (__version__, hashes.mask or "", hashes.model, hashes.calibration or "", hashes.settings)
        identity = (kind, study.uid, *(f"{image.instance_uid} {image.frame}" for image in study.images), *made_with)
        number = study.series_number
        beside = number if number is not None and 0 < number < 1_000_000 else UNNUMBERED
        return {
            "series_instance_uid": derived_uid("series", *identity),
            "sop_instance_uid": derived_uid("instance", *identity),
            "series_number": 1000 * beside + DERIVED_SERIES[kind],
            "instance_number": 1,
            "series_description": f"{description} ({PURPOSE})",
            "manufacturer": DISTRIBUTION,
            "software_versions": __version__,
        }


def dicom_notes(case: Case, result: Result) -> tuple[str, ...]:
    """Return why a case that is done has less in DICOM than a user may expect, a sentence each."""
    if result.status != "done":
        return ()
    if case.series is None:
        return (NOT_DICOM,)
    if result.clusters is None:
        return (UNCALIBRATED,)
    if result.clusters == 0:
        return (NO_CLUSTER,)
    return (MANY.format(result.clusters),) if result.clusters > MOST_SEGMENTS else ()


def _without_times_of_others(dataset: Dataset) -> Dataset:
    """Return an object without the time at which a library of ours took part; its own times remain."""
    for item in dataset.ContributingEquipmentSequence:
        del item.ContributionDateTime
    return dataset
