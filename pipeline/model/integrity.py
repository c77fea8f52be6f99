"""Integrity: whether a packed bundle, a zip or a folder, holds exactly the files that were packed."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pipeline.errors import UsageError, reason_of

FORMAT = 2
"""Format of a packed bundle; increased on changes that an older program cannot read. Format 1 is read too
(plain_values.py)."""

SUMS = "SHA256SUMS"
"""The SHA-256 of every other file, in the form that `sha256sum --check` reads."""

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", "__pycache__")
"""Files and folders that Finder, Explorer and Python leave in folders."""

POINTER = b"version https://git-lfs"
"""The beginning of the small file that git-lfs leaves in place of a large one until it is downloaded."""


def sums_of(content: Mapping[str, bytes]) -> bytes:
    """Return the text of the sums' file for contents by name."""
    return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items())).encode()


def is_litter(path: PurePosixPath) -> bool:
    """Return whether a system left a file there, by its path in a bundle."""
    return any(part in LITTER for part in path.parts) or path.name.startswith("._")


def check_folder(folder: Path) -> None:
    """Refuse a folder that `pack` wrote if it is not as it was packed; folders made in it later are not looked at.

    Raises:
        UsageError: with the file that was changed, added, is missing or not whole, or if its format is newer.
    """
    try:
        packed = packed_sums(folder, (folder / SUMS).read_bytes())
        parents = {PurePosixPath(name).parent for name in packed}
        files = {
            (parent / file.name).as_posix(): file
            for parent in parents
            if (folder / parent).is_dir()
            for file in (folder / parent).iterdir()
            if file.is_file() and file.name != SUMS and not is_litter(parent / file.name)
        }
        check_contents(folder, packed, {name: file.read_bytes() for name, file in files.items()})
    except OSError as error:
        raise UsageError(f"{folder}: it cannot be read ({reason_of(error)})") from error


def packed_sums(model: Path, text: bytes | None) -> dict[str, str]:
    """Return the SHA-256 of each packed file by name, given the text of the sums' file of a bundle.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    try:
        lines = [line.split("  ", 1) for line in (text or b"").decode().splitlines()]
        packed = {name: digest for digest, name in lines}
    except ValueError as error:
        raise UsageError(f"{model}: {SUMS} is damaged; copy the model again") from error
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in packed):
        raise UsageError(f"{model}: unsafe, for its {SUMS} names files elsewhere")
    if not packed:
        raise UsageError(f"{model}: not a bundle that `pack` wrote, for it has no {SUMS}")
    return packed


def check_contents(model: Path, packed: Mapping[str, str], content: Mapping[str, bytes]) -> None:
    """Refuse contents that differ from the packed ones, are of a newer format, or have another model's calibration.

    Args:
        model: the bundle, for the messages.
        packed: the SHA-256 of each packed file.
        content: the files that are there now.

    Raises:
        UsageError: with the first reason.
    """
    _check_calibration(model, packed, content)
    for name in sorted(packed.keys() | content.keys()):
        if name not in content:
            raise UsageError(f"{model}: {name} is missing in it; copy it again")
        if name not in packed:
            raise UsageError(f"{model}: {name} was added to it; ask for the one that was packed")
        if content[name].startswith(POINTER):
            raise UsageError(f"{model}: {name} is not downloaded yet, only its git-lfs pointer is; run `git lfs pull`")
        if sha256(content[name]).hexdigest() != packed[name]:
            raise UsageError(
                f"{model}: {name} was changed after it was packed, or not copied whole; copy it again, or ask for the "
                "one that was packed"
            )
    check_format(model, content)


def check_format(model: Path, content: Mapping[str, bytes]) -> None:
    """Refuse a bundle of a newer format.

    Raises:
        UsageError: with the version that wrote it.
    """
    try:
        metadata = json.loads(content["configs/metadata.json"])
        newer = metadata["cevae_format"] > FORMAT
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{model}: not a bundle that `pack` wrote, or damaged; copy it again") from error
    if newer:
        raise UsageError(f"{model}: packed by a newer version ({metadata.get('version')}) of this program; update it")


def _check_calibration(model: Path, packed: Mapping[str, str], content: Mapping[str, bytes]) -> None:
    """Refuse a calibration that names other weights than the packed ones."""
    try:
        weights = json.loads(content["models/calibration.json"])["model"]
    except (KeyError, ValueError, TypeError):
        return  # without a calibration, or it is damaged: the sums tell
    if weights != packed.get("models/model.pt"):
        raise UsageError(
            f"{model}: models/calibration.json is the calibration of another model; ask for the one that was packed"
        )
