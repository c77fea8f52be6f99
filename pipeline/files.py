"""Files that are never half-written, and what they are told apart by."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(file: Path) -> Iterator[Path]:
    """Give the path to write a file at; it is renamed to `file` when the block ends, and removed where it fails."""
    partial = file.with_name(f".partial-{os.getpid()}-{file.name}")  # of the same suffix, which may choose the format
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(file: str | Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
