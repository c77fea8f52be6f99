"""The modality of a cohort: what its scans are, as the names of their files tell."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.cohorts.datalist import Entry
from pipeline.nifti import stem_of

UNKNOWN = "MR"
"""The modality of scans whose names tell nothing."""

PARTS = {
    "T1": r"t1w?|mp2?rage|i?r?spgr|bravo",
    "T2": r"t2w?",
    "FLAIR": r"(t2)?flair",
    "PD": r"pdw?",
    "T1 with contrast agent": r"t1(ce|c|gd|w?post)",
}
"""For each modality, the part of a file's name that tells it, between signs that are neither letters nor digits."""

CONTRAST = re.compile(r"contrast|\bT1(ce|c|gd)\b|gadolinium", re.IGNORECASE)
"""How a modality tells of a contrast agent."""


def modality_of(entries: Iterable[Entry]) -> str:
    """Return the modality that the names of all scans tell alike, channel by channel joined by " + "; else "MR"."""
    channels = {tuple(map(_modality_of_file, entry.images)) for entry in entries}
    names = channels.pop() if len(channels) == 1 else ()
    return " + ".join(names) if names and UNKNOWN not in names else UNKNOWN


def _modality_of_file(file: str) -> str:
    """Return the modality that a file's name tells last: BIDS names a scan `..._ce-gadolinium_T1w`."""
    parts = re.split(r"[^a-z0-9]+", stem_of(Path(file).name).lower())
    told = [name for part in parts for name, pattern in PARTS.items() if re.fullmatch(pattern, part)]
    return told[-1] if told else UNKNOWN


def is_t1(modality: str) -> bool:
    """Return whether scans of a modality are T1-weighted, in their first channel."""
    return re.match(r"\s*(t1|mp2?rage|spgr|bravo)", modality, re.IGNORECASE) is not None


def is_another(told: str, modality: str) -> bool:
    """Return whether a modality by the names of files is another than one that may be in anybody's own words."""
    parts = [part.strip().casefold() for part in modality.split("+")]
    known = told != UNKNOWN and set(parts) <= {name.casefold() for name in PARTS}
    return known and told.casefold().split(" + ") != parts


def has_contrast_agent(modality: str) -> bool:
    """Return whether a modality tells of a contrast agent."""
    return CONTRAST.search(modality) is not None
