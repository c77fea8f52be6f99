"""DICOM files: told by the ending of their name or by their first bytes, for all that search for scans."""

from pathlib import Path

ENDINGS = (".dcm", ".ima")
"""Endings of a DICOM file's name, in lower case. Many DICOM files have none."""

START = 132
"""Number of bytes at the start of a file that tell whether it is DICOM: a preamble of 128, and DICM."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Groups of the first element of a file without a preamble, which is a bare data set."""

FIRST_KINDS = (b"UL", b"OB", b"CS", b"UI", b"SH", b"DA", b"TM", b"DT", b"SQ", b"LO")
"""Value representations of the elements that such a file may begin with."""


def is_dicom(file: Path) -> bool:
    """Return whether a file is DICOM: by its name's ending, which a damaged file keeps, or by its first bytes."""
    if not file.is_file() or file.name.lower().endswith(ENDINGS):
        return file.is_file()
    try:
        with open(file, "rb") as stream:
            return starts_as_dicom(stream.read(START))
    except OSError:
        return False


def starts_as_dicom(start: bytes) -> bool:
    """Return whether the first `START` bytes of a file are DICOM's: the preamble, or a little-endian data set."""
    return start[128:START] == b"DICM" or (start[:2] in FIRST_GROUPS and _is_element(start))


def _is_element(start: bytes) -> bool:
    """Return whether bytes begin with a whole element, which names its kind or has a next element after it."""
    if start[4:6] in FIRST_KINDS:
        return True
    length = int.from_bytes(start[4:8], "little")
    following = start[8 + length : 12 + length]
    return length % 2 == 0 and following[:2] in FIRST_GROUPS and _number(following) > _number(start[:4])


def _number(tag: bytes) -> int:
    """Return the number of a tag, by which the elements of a file are in order."""
    return int.from_bytes(tag[:2], "little") << 16 | int.from_bytes(tag[2:], "little")
