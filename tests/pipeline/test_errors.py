"""Reasons: one line for a person, whatever was raised underneath."""

import errno
import os
import zlib

import pytest

from pipeline.errors import ScanError, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ScanError("a foot;\n give a head"), "a foot; give a head"),
        (ValueError("the mask is empty"), "the mask is empty"),
        (EOFError("Compressed file ended before the end-of-stream marker"), "damaged or cut short"),
        (zlib.error("Error -3 while decompressing data"), "damaged or cut short"),
        (OSError("Expected 138240 bytes, got 68944 bytes from file a - could the file be damaged?"), "cut short"),
        (MemoryError(), "memory is too small"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "memory is too small"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/a.nii.gz"), "a.nii.gz: the disk is full; free"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x/a.nii.gz"), "a.nii.gz: permission denied; ask"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/x/a.nii"), "a.nii: the file is not there"),
        (IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "/x/a.nii"), "a.nii: a folder, not a file"),
        (OSError(errno.EIO, "Input/output error", "/x/a.nii"), "a.nii: input/output error"),
        (KeyError("image"), "KeyError: 'image'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_the_reason_is_one_line_that_says_what_is_wrong(error: Exception, reason: str) -> None:
    assert reason in reason_of(error)
    assert "\n" not in reason_of(error)


def test_the_first_cause_is_told_and_our_own_message_before_it() -> None:
    outer, inner, cause = RuntimeError("applying transform"), ValueError("the mask is empty"), KeyError("x")
    outer.__cause__ = inner
    assert reason_of(outer) == "the mask is empty"
    ours = ScanError("not NIfTI")
    outer.__cause__, ours.__cause__ = ours, cause
    assert reason_of(outer) == "not NIfTI"
