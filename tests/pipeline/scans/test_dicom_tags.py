"""DICOM tags: read in every encoding and as far as a file goes, and patients hidden in every character set."""

import runpy
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import ENHANCED_MR, PATIENT, element, write_dicom, write_series
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from pipeline.errors import ScanError
from pipeline.scans import dicom_tags
from pipeline.scans.dicom_series import find_series
from pipeline.scans.dicom_tags import Patient, tags_of, without_patient

VOXELS = np.random.default_rng(0).integers(-50, 900, (18, 14, 9)).astype(np.int16)


def write_again(file: Path, syntax: str) -> Path:
    """Write a file of 16-bit pixels in another encoding, without compression."""
    dataset = pydicom.dcmread(file)
    dataset.decode()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    pydicom.dcmwrite(file, dataset)
    return file


def test_every_tag_is_read(tmp_path: Path) -> None:
    own = {"0008|103e": "t1 sag", "0010|1001": "Musterfrau^E", "0010|1000": "A\\B"}
    tags = tags_of(write_series(tmp_path, VOXELS, uid="1.2.3", direction=np.eye(3), tags=own)[0])
    names = (PATIENT["0010|0010"].encode(), b"Musterfrau^E")
    assert replace(tags, patient=replace(tags.patient, character_set="")) == dicom_tags.Tags(
        damaged=False,
        sop_class="1.2.840.10008.5.1.4.1.1.4",
        instance_uid="1.2.3.1",
        study_uid="1.2.826.0.1.3680043",
        series_uid="1.2.3",
        series_number="7",
        series_description="t1 sag",
        image_type="ORIGINAL\\PRIMARY\\M\\ND",
        modality="MR",
        position="-80.5\\-60.25\\20",
        orientation="1\\0\\0\\0\\1\\0",
        spacing="1.1\\.9",
        size=tags.size,
        contrast_agent=False,
        patient=Patient(names, (PATIENT["0010|0020"].encode(), b"A\\B"), PATIENT["0010|0030"], ""),
    )


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_the_encoding_does_not_matter(tmp_path: Path, syntax: str) -> None:
    files = write_series(tmp_path, VOXELS)
    (expected,) = find_series(tmp_path)
    affine = expected.read().affine
    for file in files:
        tags = tags_of(file)
        assert tags_of(write_again(file, syntax)) == tags
    (series,) = find_series(tmp_path)
    assert series == expected
    assert np.array_equal(series.read().affine, affine)
    assert np.array_equal(np.asanyarray(series.read().dataobj), VOXELS)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_the_tags_before_damage_are_read(tmp_path: Path, syntax: str) -> None:
    file = write_again(write_series(tmp_path, VOXELS, uid="1.2.3")[4], syntax)
    whole, content = tags_of(file), file.read_bytes()
    assert not whole.damaged
    file.write_bytes(content[: content.index(b"1.2.3\0", content.index(b"1.2.3.5")) + 4])  # inside its series' UID
    cut = tags_of(file)
    assert cut == replace(
        whole, damaged=True, series_uid="", series_number="", position="", orientation="", spacing="", size=cut.size
    )


def test_damage_after_the_tags_of_the_series_keeps_them(tmp_path: Path) -> None:
    start = element("0010|0010", "PN", PATIENT["0010|0010"]) + element("0020|000e", "UI", "1.2.3")
    body = start + element("0028|0010", "US", 14)
    endless = b"\x30\0\x40\x01SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"  # cut inside an item
    tags = tags_of(write_dicom(tmp_path / "cut.dcm", ENHANCED_MR, body + endless))
    assert tags.series_uid == "1.2.3"
    assert tags.patient.names[0] == PATIENT["0010|0010"].encode()
    assert not tags.damaged


@pytest.mark.parametrize("content", [b"", bytes(4000), b"x" * 4000, bytes(128) + b"DICM" + b"\xff" * 500])
def test_what_is_no_dicom_has_no_tags(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lost.dcm").write_bytes(content)
    tags = tags_of(tmp_path / "lost.dcm")
    assert tags.damaged
    assert not any(tags.patient.names)
    assert (tags.series_uid, tags.sop_class) == ("", "")
    assert tags == tags_of(tmp_path / "missing.dcm")


def test_the_bytes_of_a_tag_inside_a_private_element_do_not_count(tmp_path: Path) -> None:
    hidden = element("0020|000e", "UI", "1.2.99") + element("0010|0020", "LO", "other")
    body = element("0008|0060", "CS", "MR") + element("0009|0010", "LO", "OURS") + element("0009|1010", "OW", hidden)
    tags = tags_of(write_dicom(tmp_path / "own.dcm", ENHANCED_MR, body))
    assert (tags.series_uid, tags.patient.ids, tags.modality) == ("", (b"", b""), "MR")


@pytest.mark.parametrize(
    ("character_set", "name", "parts"),
    [
        ("", "Müller^Jörg".encode("latin-1"), ["Müller", "joerg"]),
        ("ISO_IR 192", "Müller^Jörg".encode(), ["MUELLER", "Jorg"]),
        ("ISO_IR 144", "Люксембург".encode("iso8859-5"), ["Люксембург"]),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", ["yamada", "山田", "太郎"]),
        ("\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", ["gildong", "吉洞"]),
        ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", ["xiaodong", "小东"]),
        ("ISO_IR 138", "Xabc^שלום".encode("iso8859-8"), ["xabc", "שלום"]),
        ("GB18030", "王^小东".encode("gb18030"), ["小东"]),
    ],
)
def test_a_name_is_hidden_in_every_character_set(character_set: str, name: bytes, parts: list[str]) -> None:
    patient = Patient((name, b""), (b"", b""), "", character_set)
    assert without_patient("-".join(parts), [patient]) == "-".join(["***"] * len(parts))


def test_warnings_of_pydicom_are_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    name = element("0008|0005", "CS", "ISO_IR 999\\ISO_IR 192") + element("0010|0010", "PN", "Müller^Jörg")
    body = name + element("0020|000e", "UI", "no UID")
    file = write_dicom(tmp_path / "odd.dcm", ENHANCED_MR, body)
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.x0008.1.2.1"))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        fresh = runpy.run_path(dicom_tags.__file__)  # as the first import of a process
        tags = fresh["tags_of"](file)
        assert fresh["without_patient"]("Jörg", [tags.patient]) == "***"
    assert not shown
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_damaged_big_endian_file_fails_its_series(tmp_path: Path) -> None:
    for file in write_series(tmp_path, VOXELS):
        write_again(file, ExplicitVRBigEndian)
    file.write_bytes(file.read_bytes()[:-100])
    (series,) = find_series(tmp_path)
    with pytest.raises(ScanError, match=r"its file IM0009.dcm is damaged or cut short"):
        series.read()
