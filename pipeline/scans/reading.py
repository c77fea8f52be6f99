"""Reading a case: it is checked, converted to NIfTI if it has another format, and preprocessed for the network.

A head without a mask gets one from a brain extraction tool, and is preprocessed again with it.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.transforms import Transform

from pipeline.cohorts import UNKNOWN_MODALITY, Entry, Item, has_contrast_agent
from pipeline.scans.brain_checks import MaskFacts
from pipeline.scans.brain_extraction import BrainExtraction
from pipeline.scans.cases import Case
from pipeline.scans.checks import check_scan, header_warnings, read_header
from pipeline.scans.foreign import CONTRAST_WARNING, contrast_warnings, refuse_ct, sequence_warnings
from pipeline.scans.formats import as_nifti
from transforms import HEAD

Preprocessing = Callable[[Item], Item]

BRAIN = "brain"
"""Key of the brain mask in the image's meta data: some programs hand an inferer nothing but the image."""


@dataclass(frozen=True)
class BrainOrigin:
    """Where the brain mask of a scan comes from.

    Attributes:
        origin: GIVEN, STRIPPED or HEAD of `transforms`, or the name and version of the tool that made it.
        warnings: what is unusual about the mask, each a sentence.
    """

    origin: str
    warnings: tuple[str, ...] = ()


def preprocess(
    files: Entry, preprocessing: Preprocessing, extraction: BrainExtraction | None = None
) -> tuple[Item, BrainOrigin]:
    """Preprocess a scan, and find its brain if it is a head without a mask.

    Args:
        files: the scan, all of its files NIfTI.
        preprocessing: the transform that begins with loading and the brain mask.
        extraction: the brain extraction; None leaves heads whole.

    Returns:
        What the preprocessing made of the scan, and where its brain mask comes from.

    Raises:
        ScanError: if no brain is found in the head.
    """
    item = preprocessing(files.item())
    if "scan" in item:  # not if somebody's own preprocessing keeps none
        refuse_ct(item["scan"][0].numpy())
    origin = item["image"].meta.get("mask_origin", "")
    if origin != HEAD or extraction is None:
        return item, BrainOrigin(origin)
    head = nib.nifti1.load(files.images[0])
    reason = extraction.reason_to_leave(head)
    if reason or extraction.tool is None:
        return item, BrainOrigin(HEAD, (reason,) if reason else ())
    mask = extraction(head)
    item = preprocessing(replace(files, mask=str(mask)).item())
    made = nib.nifti1.load(mask)
    facts = MaskFacts.of(np.asanyarray(made.dataobj) > 0, made.affine)
    return item, BrainOrigin(extraction.tool.version, tuple(facts.warnings))


class ReadCase(Transform):
    """Read a case: return its preprocessed item together with the scan itself.

    Args:
        preprocessing: the model's preprocessing.
        channels: number of image channels of the model.
        brain_extraction: how the brain is found in heads without a mask; None leaves heads whole.
        modality: what the model's scans are, such as T1 or FLAIR.

    Raises:
        ScanError: if the scan cannot be used.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        channels: int,
        brain_extraction: BrainExtraction | None = None,
        modality: str = UNKNOWN_MODALITY,
    ) -> None:
        self.preprocessing = preprocessing
        self.channels = channels
        self.brain_extraction = brain_extraction
        self.modality = modality

    def __call__(self, case: Case | Item) -> Item:
        """Return the preprocessed item with `source`, the scan as a NIfTI image, `brain` and `scan_warnings`.

        That of a DICOM series has its `slices` as well.

        Args:
            case: the case, or an item with the files as `image` and perhaps `mask`; its other values are kept.
        """
        if not isinstance(case, Case):
            images = [case["image"]] if isinstance(case["image"], (str, Path)) else case["image"]
            return case | self(Case("", Entry(tuple(map(str, images)), case.get("mask"))))
        entry = replace(case.entry, label=None)
        if case.series is None:
            item = self._read(entry)
            foreign = sequence_warnings(entry, self.modality) + contrast_warnings(entry, self.modality)
            return item | {"scan_warnings": foreign + item["scan_warnings"]}
        with tempfile.TemporaryDirectory() as folder:  # MONAI's loader reads files
            file = str(Path(folder) / "series.nii")
            warnings: list[str] = []
            source, slices = case.series.read_volume(warnings.append)
            nib.save(source, file)
            if case.series.contrast_agent and not has_contrast_agent(self.modality):
                warnings.append(CONTRAST_WARNING)
            item = self._read(replace(entry, images=(file,)), source)
            return item | {"scan_warnings": warnings + item["scan_warnings"], "slices": slices}

    def _read(self, entry: Entry, source: nib.nifti1.Nifti1Image | None = None) -> Item:
        check_scan(entry, self.channels)
        source = read_header(entry.images[0]) if source is None else source
        with as_nifti(entry) as files:
            item, brain = preprocess(files, self.preprocessing, self.brain_extraction)
        item["image"].meta[BRAIN] = item["mask"].as_tensor()
        return item | {"source": source, "brain": brain, "scan_warnings": header_warnings(source)}
