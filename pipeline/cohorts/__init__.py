"""Cohorts: datalists, the layouts of downloaded cohorts, and phantoms."""

from pipeline.cohorts.datalist import (
    Entry,
    Item,
    channels_of,
    entries_of,
    files_of,
    read_datalist,
)
from pipeline.cohorts.indexing import index_cohort
from pipeline.cohorts.modality import UNKNOWN as UNKNOWN_MODALITY
from pipeline.cohorts.modality import has_contrast_agent, is_another, is_t1, modality_of
from pipeline.cohorts.phantom import make_phantom_cohort
from pipeline.cohorts.template_head import make_template_head

__all__ = [
    "UNKNOWN_MODALITY",
    "Entry",
    "Item",
    "channels_of",
    "entries_of",
    "files_of",
    "has_contrast_agent",
    "index_cohort",
    "is_another",
    "is_t1",
    "make_phantom_cohort",
    "make_template_head",
    "modality_of",
    "read_datalist",
]
