"""Files that look like scans and are not read: named one by one if they are few, else with their number."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from dicom_series import element
from hypothesis import given
from hypothesis import strategies as st

from pipeline.unread import line_about, not_read, why_unread

UNREAD = (
    "a.img", "a.hdr", "a.IMG", "a.img.gz", "a.nii.bz2", "a.nii.xz", "a.nii.zst", "a.nhdr", "a.mhd", "a.mnc", "a.mnc.gz",
    "a+orig.HEAD", "a+orig.BRIK.gz", "a.mif", "a.mif.gz", "a.REC", "a.gipl", "a.nrrd.gz",
)  # fmt: skip
NO_SCANS = ("a.txt", "a.json", "a.png", "a.raw", "notes", "a.gz", "a.bval", "a.par", "a.csv", "a.pdf", "header.h")


@pytest.mark.parametrize("name", UNREAD)
def test_each_kind_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).touch()
    (line,) = not_read(tmp_path, [tmp_path / "sub" / name])
    assert line.startswith(f"{tmp_path}: sub/{name} is not read: ")
    assert any(word in line for word in ("convert", "unpack"))


@pytest.mark.parametrize("name", NO_SCANS)
def test_other_files_are_not_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert not_read(tmp_path, [tmp_path / name]) == []


@given(st.integers(1, 30))
def test_few_are_all_named_and_many_are_counted(number: int) -> None:
    files = [Path(f"/d/x/{n:02}.mnc") for n in range(number)]
    line = line_about(Path("/d"), files, "not read")
    if number <= 5:
        assert all(f"x/{n:02}.mnc" in line for n in range(number))
    else:
        assert line == f"/d: {number} .mnc files such as x/00.mnc are not read"
    assert "\n" not in line


def archive(file: Path, member: str, content: bytes) -> Path:
    inner = file.with_name("inner")
    inner.write_bytes(content)
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as opened:
            opened.write(inner, member)
    else:
        with tarfile.open(file, f"w:{'gz' if file.suffix != '.tar' else ''}") as tar:
            tar.add(inner, member)
    inner.unlink()
    return file


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
@pytest.mark.parametrize(
    ("member", "content", "named"),
    [
        ("p/IM_0001", bytes(128) + b"DICM", True),
        ("p/IM_0001", element("0008|0005", "CS", "ISO_IR 100"), True),
        ("p/1.dcm", b"", True),
        ("DICOMDIR", b"", True),
        ("p/T1.nii.gz", b"", True),
        ("p/T1.nrrd", b"", True),
        ("models/model.pt", b"PK", False),
        ("notes.txt", b"text", False),
        ("table.bin", b"\x08\x00\x05\x00" * 40, False),
    ],
)
def test_archives_are_named_if_they_hold_scans(
    name: str, member: str, content: bytes, named: bool, tmp_path: Path
) -> None:
    lines = not_read(tmp_path, [archive(tmp_path / name, member, content)])
    assert bool(lines) is named
    assert all("an archive of scans; unpack it" in line for line in lines)


def test_an_archive_that_cannot_be_opened_may_hold_scans(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut short")
    assert len(not_read(tmp_path, [tmp_path / "a.zip"])) == 1


@pytest.mark.parametrize("name", ["IM_0001", "1.2.840.113", "a.dcm", "a.nii.gz", "a.img", "a.mgz"])
def test_dangling_links_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / "gone")
    assert "dangling link" in str(why_unread(tmp_path / name))
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone")
    assert why_unread(tmp_path / "notes.txt") is None


def test_dicom_is_named_where_it_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "IM_0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a.dcm").touch()
    files = sorted(tmp_path.iterdir())
    assert not_read(tmp_path, files) == []
    (line,) = not_read(tmp_path, files, dicom=False)
    assert "IM_0001 and a.dcm are not read: DICOM" in line
