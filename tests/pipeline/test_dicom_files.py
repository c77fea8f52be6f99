"""DICOM files: told by ending, preamble or first element, and nothing else taken for one."""

import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_series import element, without_preamble, write_series
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.dicom_files import is_dicom

SLICE = np.zeros((8, 8, 1), np.int16)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_a_slice_is_dicom_without_preamble_and_ending(tmp_path: Path, syntax: str, meta: bool) -> None:
    (file,) = write_series(tmp_path, SLICE, suffix="")
    assert is_dicom(file)
    assert is_dicom(without_preamble(file, syntax, meta))


@pytest.mark.parametrize(
    "content",
    [
        element("0008|0000", "UL", struct.pack("<I", 400)),
        element("0008|0005", "CS", "ISO_IR 100"),
        b"\x08\x00\x00\x00\x04\x00\x00\x00\x90\x01\x00\x00" + b"\x08\x00\x01\x00\x04\x00\x00\x00",  # as in ACR-NEMA
        b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100" + b"\x08\x00\x08\x00\x02\x00\x00\x00",
        bytes(128) + b"DICM",
        b"x" * 128 + b"DICM",
    ],
)
def test_the_first_bytes_tell(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "IM_0001").write_bytes(content)
    assert is_dicom(tmp_path / "IM_0001")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\x00",
        b"\x08\x00\x05\x00",
        b"DICM, in words",
        struct.pack("<200H", *range(8, 208)),
        np.full(400, 8, "<i2").tobytes(),
        np.full(400, 8, "<i4").tobytes(),
        np.arange(8, 400, dtype="<f4").tobytes(),
        struct.pack("<i", 348) + bytes(400),
    ],
)
def test_other_files_are_not_dicom_unless_they_end_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").write_bytes(content)
    assert not is_dicom(tmp_path / "data")
    for name in ("a.dcm", "a.IMA"):
        (tmp_path / name).write_bytes(content)
        assert is_dicom(tmp_path / name)
    (tmp_path / "folder.dcm").mkdir()
    assert not is_dicom(tmp_path / "folder.dcm")
