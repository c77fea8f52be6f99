"""Files: never half-written, hashes of their contents, and their names on a screen."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

ASIDE = ".partial-"
"""What the names of files begin with that are being written."""

FORGOTTEN_SECONDS = 3600
"""Age of a file that nobody writes any more, s."""


@contextmanager
def written_aside(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which is renamed to `file` at the end of the block, or removed if the block fails."""
    # Machines that share a disk may have processes of one number. The suffix is kept, for it may choose the format.
    partial = file.with_name(f"{ASIDE}{uuid4().hex[:12]}-{file.name}")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def remove_remains(folder: Path) -> None:
    """Remove what killed processes have left written aside in a folder."""
    for left in folder.glob(f"{ASIDE}*"):
        with suppress(OSError):  # another process removes it, too
            # Not the time of the content, which a hard link has from the file that it links.
            if time.time() - left.lstat().st_ctime > FORGOTTEN_SECONDS:
                left.unlink()


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8; the file is never half-written, and a ? replaces what UTF-8 does not know."""
    with written_aside(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def json_text(content: Any) -> str:
    """Return content as the JSON of all our files."""
    return json.dumps(content, indent=1)


def write_json(file: Path, content: Any) -> None:
    """Write content as JSON, and make its folder; the file is never half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json_text(content))


def sha256_of(file: str | Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_printable(text: str) -> str:
    """Return a text on one line that can be written as UTF-8; a ? replaces each unprintable character, as in `ls`."""
    return "".join(character if character.isprintable() else "?" for character in text)
