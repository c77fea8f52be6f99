"""Files: never half-written, hashes of their contents, and their names on a screen."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def written_aside(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which is renamed to `file` at the end of the block, or removed if the block fails."""
    # Machines that share a disk may have processes of one number. The suffix is kept, for it may choose the format.
    partial = file.with_name(f".partial-{uuid4().hex[:12]}-{file.name}")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, content: Any) -> None:
    """Write content as JSON, and make its folder; the file is never half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def sha256_of(file: str | Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_printable(text: str) -> str:
    """Return a text on one line that can be written as UTF-8; a ? replaces each unprintable character, as in `ls`."""
    return "".join(character if character.isprintable() else "?" for character in text)
