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
from pipeline.cohorts.phantom import make_phantom_cohort

__all__ = [
    "Entry",
    "Item",
    "channels_of",
    "entries_of",
    "files_of",
    "index_cohort",
    "make_phantom_cohort",
    "read_datalist",
]
