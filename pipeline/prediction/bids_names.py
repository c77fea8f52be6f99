"""Names of outputs in a BIDS derivative dataset: each case has its own, made of its scan's entities.

The specification fixes the entities and their order. It has none for the sequence of the scan that a mask was made
from, and says to tell such masks apart by `desc`. So the sequence follows in it if the dataset has several:
`desc-cevaeT1w`, `desc-cevaeFLAIR`.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.nifti import stem_of
from pipeline.scans import dataset_of

LABEL, INDEX = "[0-9a-zA-Z+]+", "[0-9]+"

ENTITIES = {
    "anat": {
        "ses": LABEL, "task": LABEL, "acq": LABEL, "ce": LABEL, "rec": LABEL, "run": INDEX, "echo": INDEX,
        "part": "mag|phase|real|imag", "space": LABEL, "chunk": INDEX,
    },
    "dwi": {
        "ses": LABEL, "acq": LABEL, "rec": LABEL, "dir": LABEL, "run": INDEX, "part": "mag|phase|real|imag",
        "space": LABEL, "chunk": INDEX,
    },
}  # fmt: skip
"""Entities of a scan that its derivatives keep, after `sub`, in the order of the specification, by kind of data."""

DWI_SUFFIXES = ("dwi", "sbref", "trace", "ADC", "FA")
"""Suffixes of diffusion images; all other scans are anatomical."""

LONGEST_START, LONGEST_LABEL = 120, 60
"""Characters of a name before what is added to it, and of a label that is made of a name: file systems allow 255."""


@dataclass(frozen=True)
class BidsName:
    """Where the outputs of a case lie in the dataset, and how their names begin and end.

    Attributes:
        folder: their folder in the dataset, such as "sub-01/ses-1/anat".
        start: what their names begin with, such as "sub-01_ses-1_run-2".
        sequence: what follows in `desc`, such as "T1w"; empty if all scans with BIDS names have the same one.
    """

    folder: str
    start: str
    sequence: str = ""

    @property
    def subject(self) -> str:
        """Its first entity, such as "sub-01"."""
        return self.folder.partition("/")[0]

    def is_safe(self) -> bool:
        """Return whether it only has parts that this module gives; a file may say otherwise."""
        entity = f"[a-z]+-{LABEL}"
        folder = rf"sub-{LABEL}(/ses-{LABEL})?/({'|'.join(ENTITIES)})"
        return all(
            re.fullmatch(pattern, text)
            for pattern, text in ((folder, self.folder), (f"{entity}(_{entity})*", self.start))
        ) and bool(re.fullmatch(f"({LABEL})?", self.sequence))

    def key(self) -> tuple[str, ...]:
        """Return what is equal for names that a disk may not distinguish."""
        return self.folder.casefold(), self.start.casefold(), self.sequence.casefold()


def bids_names(inputs: Mapping[str, str]) -> dict[str, BidsName]:
    """Return a distinct name for each case.

    A scan with a BIDS name keeps its entities. What no derivative may have in its name, such as `inv-1`, goes into
    `desc`; so do the sequences of all scans, if there are several. If two datasets have a subject of the same label,
    the names of the datasets tell the two apart. Any other scan becomes a subject of its own: the letters and digits
    of the case's name, and a hash if that is taken.

    Args:
        inputs: the scan of each case, by the case's name.
    """
    parts = {case: _parts_of(stem_of(Path(scan).name)) for case, scan in inputs.items()}
    homes: dict[str, set[Path]] = defaultdict(set)
    for case, scan in inputs.items():
        if (found := parts[case]) and (home := dataset_of(Path(scan))):
            homes[found[0]["sub"].casefold()].add(home)
    several = len({found[1] for found in parts.values() if found}) > 1
    names: dict[str, BidsName] = {}
    for case, scan in inputs.items():
        names[case] = BidsName(f"sub-{_letters(case)}/anat", f"sub-{_letters(case)}")
        if found := parts[case]:
            entities, suffix = found
            home = dataset_of(Path(scan))
            if home is not None and len(homes[entities["sub"].casefold()]) > 1:
                entities = entities | {"sub": _letters(home.name) + entities["sub"]}
            names[case] = _name_of(entities, suffix, several)
    taken = Counter(name.key() for name in names.values())
    subjects = Counter(name.subject.casefold() for name in names.values())
    for case, name in names.items():
        long = len(name.start + name.sequence) > LONGEST_START
        if taken[name.key()] > 1 or long or (not parts[case] and subjects[name.subject.casefold()] > 1):
            subject = f"sub-{_letters(case)}{_hash(case)}"
            names[case] = BidsName(f"{subject}/anat", subject)
    return names


def _parts_of(stem: str) -> tuple[dict[str, str], str] | None:
    """Return the entities and the suffix of a BIDS name; None for any other name."""
    *parts, last = stem.split("_")
    suffix = "" if "-" in last else last
    parts = parts if suffix else [*parts, last]
    pairs = [re.fullmatch(f"([a-z]+)-({LABEL})", part) for part in parts]
    if not all(pairs) or not re.fullmatch("[0-9a-zA-Z]*", suffix):
        return None
    entities = {pair[1]: pair[2] for pair in pairs if pair}
    return (entities, suffix) if len(entities) == len(parts) and next(iter(entities), "") == "sub" else None


def _name_of(entities: Mapping[str, str], suffix: str, with_sequence: bool) -> BidsName:
    kind = "dwi" if suffix in DWI_SUFFIXES else "anat"
    order = ENTITIES[kind]
    kept = {key: entities[key] for key in order if key in entities and re.fullmatch(order[key], entities[key])}
    others = [key.capitalize() + value for key, value in entities.items() if key not in kept and key != "sub"]
    subject = f"sub-{entities['sub']}"
    session = f"/ses-{kept['ses']}" if "ses" in kept else ""
    start = "_".join([subject, *(f"{key}-{value}" for key, value in kept.items())])
    sequence = suffix[:1].upper() + suffix[1:] if with_sequence else ""
    return BidsName(f"{subject}{session}/{kind}", start, "".join(others) + sequence)


def _letters(name: str) -> str:
    """Return the letters and digits of a name, without accents; a hash if it is long or has none."""
    letters = re.sub("[^0-9a-zA-Z]", "", unicodedata.normalize("NFKD", name.removeprefix("sub-")))
    return letters if 0 < len(letters) <= LONGEST_LABEL else letters[: LONGEST_LABEL - 8] + _hash(name)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
