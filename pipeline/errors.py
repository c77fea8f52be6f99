"""Errors that a person can act on: each names the file or setting, the problem and what to do."""

import errno
import gzip
import zlib
from pathlib import Path

DAMAGED_FILE = "the file is damaged or cut short; copy or convert it again"


class UsageError(Exception):
    """The command cannot run with these arguments (exit status 2)."""


class LostProcessError(Exception):
    """Another process that shares the work has ended before its time (exit status 1)."""


class ScanError(Exception):
    """One scan cannot be used; the others are still processed (exit status 1)."""


def reason_of(error: BaseException) -> str:
    """Return what is wrong, on one line: our own message if there is one, else the message of the first cause."""
    while error.__cause__ is not None and not isinstance(error, (ScanError, UsageError)):
        error = error.__cause__
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (ScanError, UsageError, ValueError)):
        return message
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)) or "could the file be damaged" in message:
        return DAMAGED_FILE
    if isinstance(error, MemoryError) or "can't allocate memory" in message:
        return "the memory is too small for this scan; close other programs, or use a machine with more memory"
    if isinstance(error, OSError) and error.errno is not None:
        named = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return named + reason_of_system(error)
    return f"{type(error).__name__}: {message}"


def reason_of_system(error: OSError) -> str:
    """Return why the operating system rejected a file, without the file's name."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same command again"
    if isinstance(error, FileNotFoundError):
        return "the file is not there (or is a dangling link); check the path"
    if isinstance(error, PermissionError):
        return "permission denied; ask for access to it, or copy it to a folder that you can read"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file; give the scan in it"
    return (error.strerror or str(error)).lower()
