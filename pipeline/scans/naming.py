"""Names of cases: distinct, short enough, and safe as folders, in tables and on pages."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipeline.nifti import stem_of

LONGEST_NAME = 200
"""Longest name in bytes. File systems allow 255, including our prefixes and suffixes."""

RESERVED = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|summary\.csv|report\.html|run\.json|viewer_files", re.IGNORECASE
)
"""Names that Windows reserves, and names of the outputs beside the cases."""


def names_of(files: Sequence[Path], origins: Sequence[str]) -> list[str]:
    """Return a distinct name for each file: its own without its ending; parent folders are added to equal names.

    Names that differ only in upper and lower case or in Unicode form count as equal, because many disks do not
    distinguish them.

    Args:
        files: absolute paths; a bare name gets no parent folders.
        origins: a distinct text for each file; if the parent folders are equal too, a hash of it follows the name.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        alike[_key(_name(file))].append(index)
    names = [""] * len(files)
    for indices in alike.values():
        depths = range(max(len(files[index].parts) for index in indices) if len(indices) > 1 else 1)
        tried = [[_name(files[index], depth) for index in indices] for depth in depths]
        best = max(tried, key=lambda names: len(set(map(_key, names))))  # the first that gives the most distinct names
        for index, name in zip(indices, best, strict=True):
            names[index] = name
    number = Counter(map(_key, names))
    return [
        _shortened(f"{name}_{_hash(origin)}") if number[_key(name)] > 1 else name
        for name, origin in zip(names, origins, strict=True)
    ]


def safe_name(text: str) -> str:
    """Return a text as a folder's name that no system, shell or spreadsheet misinterprets."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(character if character.isprintable() else "_" for character in text)
    text = re.sub(r"[<>:\"/\\|?*]", "_", text).strip(". ")
    text = re.sub(r"^[=+@~-]+", "_", text) or "scan"
    return f"_{text}" if RESERVED.fullmatch(text) else text


def _name(file: Path, depth: int = 0) -> str:
    parents = file.parts[1:-1][-depth:] if depth else ()
    return _shortened("_".join(safe_name(stem_of(part)) for part in (*parents, file.name)))


def _shortened(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST_NAME:
        return name
    return f"{encoded[: LONGEST_NAME - 9].decode(errors='ignore').rstrip('. ')}_{_hash(name)}"


def _key(name: str) -> str:
    """Return a key that is equal for names that a disk may not distinguish."""
    return unicodedata.normalize("NFKC", name).casefold()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
