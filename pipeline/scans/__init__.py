"""Scans: found, named, checked and read, with their masks and labels."""

from pipeline.scans.brain_checks import BrainMaskError, edge_contrast
from pipeline.scans.brain_extraction import AUTO, CACHE, NONE, BrainExtraction, BrainNotKept, mask_folder
from pipeline.scans.cases import Case, find_cases
from pipeline.scans.checks import check_scan, header_warnings, read_header
from pipeline.scans.contents import (
    content_of,
    contents_of_images,
    fingerprint_of_cohort,
    read_training_cohort,
    refuse_shared_scans,
    scans_with,
    without_copies,
)
from pipeline.scans.dicom_series import Series
from pipeline.scans.dicom_slices import Slices
from pipeline.scans.dicom_study import SourceImage, Study, study_of
from pipeline.scans.dicom_tags import HIDDEN
from pipeline.scans.formats import as_nifti
from pipeline.scans.labels import Label, read_label
from pipeline.scans.naming import names_of
from pipeline.scans.reading import BRAIN, ReadCase, preprocess
from pipeline.scans.searching import DESCRIPTION_FILE, dataset_of

__all__ = [
    "AUTO",
    "BRAIN",
    "CACHE",
    "DESCRIPTION_FILE",
    "HIDDEN",
    "NONE",
    "BrainExtraction",
    "BrainMaskError",
    "BrainNotKept",
    "Case",
    "Label",
    "ReadCase",
    "Series",
    "Slices",
    "SourceImage",
    "Study",
    "as_nifti",
    "check_scan",
    "content_of",
    "contents_of_images",
    "dataset_of",
    "edge_contrast",
    "find_cases",
    "fingerprint_of_cohort",
    "header_warnings",
    "mask_folder",
    "names_of",
    "preprocess",
    "read_header",
    "read_label",
    "read_training_cohort",
    "refuse_shared_scans",
    "scans_with",
    "study_of",
    "without_copies",
]
