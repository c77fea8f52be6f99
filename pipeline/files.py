"""Files that are never half-written, and what they are told apart by."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_aside(file: Path) -> Iterator[Path]:
    """Give the path to write a file at; it is renamed to `file` when the block ends, and removed where it fails."""
    partial = file.with_name(f".partial-{os.getpid()}-{file.name}")  # of the same suffix, which may choose the format
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, content: Any) -> None:
    """Write content as JSON, aside first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def sha256_of(file: str | Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
