"""Names of cases: told apart, short enough, and harmless as folders, in tables and on pages."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipeline.nifti import stem_of

LONGEST = 200
"""Of a name, in bytes: a file system takes 255, with what is written before and after it."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|summary\.csv|report\.html|run\.json", re.IGNORECASE)
"""Windows' own names, and those of the outputs beside the cases."""


def names_of(files: Sequence[Path], origins: Sequence[str]) -> list[str]:
    """Return a name for each file, no two alike: its own without .nii or .nii.gz, parent folders before it in a clash.

    Names that differ by upper and lower case or by Unicode's forms alone count as the same: on many disks they are.

    Args:
        files: absolute paths; a bare name gets no parent folders.
        origins: texts that tell apart what the parent folders do not; a hash of them is put behind the name then.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        alike[_key(_name(file))].append(index)
    names = [""] * len(files)
    for indices in alike.values():
        depths = range(max(len(files[index].parts) for index in indices) if len(indices) > 1 else 1)
        tried = [[_name(files[index], depth) for index in indices] for depth in depths]
        best = max(tried, key=lambda names: len(set(map(_key, names))))  # the first of those that tell most apart
        for index, name in zip(indices, best, strict=True):
            names[index] = name
    number = Counter(map(_key, names))
    return [
        _shortened(f"{name}_{_hash(origin)}") if number[_key(name)] > 1 else name
        for name, origin in zip(names, origins, strict=True)
    ]


def to_printable(text: str) -> str:
    """Return a text on one line that can be written as UTF-8, with ? for what cannot be shown, as `ls` does it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def safe_name(text: str) -> str:
    """Return a text as a folder's name that no system, shell, spreadsheet or path takes for something else."""
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
    if len(encoded) <= LONGEST:
        return name
    return f"{encoded[: LONGEST - 9].decode(errors='ignore').rstrip('. ')}_{_hash(name)}"


def _key(name: str) -> str:
    """Return what is equal for names that a disk may take for the same."""
    return unicodedata.normalize("NFKC", name).casefold()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
