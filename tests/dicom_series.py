"""Writes DICOM from known voxels: series as scanners send them, multi-frame files, and files that are no images."""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian

PATIENT = {"0010|0010": "Mustermann^Erika", "0010|0020": "PAT-4711-X", "0010|0030": "19640812"}
"""What must not be found in any output."""

OBLIQUE = np.array([[2.0, -1.0, 2.0], [2.0, 2.0, -1.0], [-1.0, 2.0, 2.0]]) / 3
"""Direction cosines of a scan turned about all axes, in LPS, one axis a column."""


def write_series(
    folder: Path,
    voxels: np.ndarray,
    spacing: tuple[float, float, float] = (0.9, 1.1, 3.0),
    origin: tuple[float, float, float] = (-80.5, -60.25, 20.0),
    direction: np.ndarray = OBLIQUE,
    number: int | None = 7,
    uid: str | None = None,
    start: str = "IM",
    suffix: str = ".dcm",
    slope: float = 1.0,
    intercept: float = 0.0,
    compressor: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write voxels (X, Y, Z) as a DICOM series of one file a slice, and return the files in slice order.

    Args:
        folder: where to; made if it is not there.
        voxels: int16, along the rows of a slice, down its columns, and from slice to slice.
        spacing: mm along the three.
        origin: the first voxel's centre in LPS, mm.
        direction: direction cosines (3, 3) in LPS, one axis a column.
        number: of the series; none is written when None.
        uid: of the series; made of the folder and the number unless given.
        start: what the files' names begin with.
        suffix: what they end with.
        slope: factor of what is stored, the voxels being what is stored.
        intercept: is added to that.
        compressor: JPEG2000 or JPEG.
        tags: tags of every slice beside, or over, those written here.
    """
    uid = uid or f"1.2.826.0.1.{int(hashlib.sha256(f'{folder}{number}'.encode()).hexdigest()[:12], 16)}"
    folder.mkdir(parents=True, exist_ok=True)
    rescaled = {} if (slope, intercept) == (1, 0) else {"0028|1053": f"{slope:g}", "0028|1052": f"{intercept:g}"}
    common = {
        "0008|0008": "ORIGINAL\\PRIMARY\\M\\ND",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0060": "MR",
        **dict.fromkeys(("0008|0012", "0008|0020", "0008|0021", "0008|0023"), "20200102"),  # else the writer's "now"
        **dict.fromkeys(("0008|0013", "0008|0030", "0008|0031", "0008|0033"), "030405"),
        "0018|0050": f"{spacing[2]:g}",
        "0020|000d": "1.2.826.0.1.3680043",
        "0020|000e": uid,
        "0020|0037": "\\".join(f"{cosine:.12g}" for cosine in direction.T[:2].ravel()),
        **({"0020|0011": str(number)} if number is not None else {}),
        **({"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1", **rescaled} if rescaled else {}),
        **PATIENT,
        **(tags or {}),
    }
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    if compressor is not None:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    files = []
    for index in range(voxels.shape[2]):
        stored = voxels[:, :, index : index + 1].transpose(2, 1, 0)
        piece = SimpleITK.GetImageFromArray(stored * slope + intercept if rescaled else np.ascontiguousarray(stored))
        position = np.array(origin) + direction[:, 2] * spacing[2] * index
        own = {
            "0008|0018": f"{uid}.{index + 1}",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{coordinate:.12g}" for coordinate in position),
        }
        for tag, value in {**own, **common}.items():
            piece.SetMetaData(tag, value)
        piece.SetSpacing(spacing)
        files.append(folder / f"{start}{index + 1:04d}{suffix}")
        writer.SetFileName(str(files[-1]))
        writer.Execute(piece)
    return files


def write_multiframe(
    file: Path,
    voxels: np.ndarray,
    positions: Sequence[Sequence[float]],
    spacing: tuple[float, float] = (1.0, 1.2),
    slopes: Sequence[float] | None = None,
    of_frame: bytes = b"",
    of_file: bytes = b"",
) -> Path:
    """Write voxels (X, Y, frames) as Enhanced MR of axial frames at these positions in LPS, mm; no place when empty.

    Args:
        file: where to.
        voxels: int16.
        positions: of the frames' first voxels.
        spacing: mm along X and Y.
        slopes: factors of what is stored, one a frame.
        of_frame: private elements of every frame.
        of_file: private elements of the file, of the groups 0029 to 5199.
    """
    frames = [
        element("0020|9113", "SQ", [element("0020|0032", "DS", "\\".join(f"{c:g}" for c in position))])
        + element("0028|9145", "SQ", [element("0028|1052", "DS", "0") + element("0028|1053", "DS", f"{slope:g}")])
        + of_frame
        for position, slope in zip(positions, slopes or [1.0] * len(positions), strict=True)
    ]
    shared = element("0020|9116", "SQ", [element("0020|0037", "DS", "1\\0\\0\\0\\1\\0")])
    shared += element("0028|9110", "SQ", [element("0028|0030", "DS", f"{spacing[1]:g}\\{spacing[0]:g}")])
    x, y, number = voxels.shape
    body = element("0008|0016", "UI", ENHANCED_MR) + element("0008|0018", "UI", "1.2.3.4.5")
    body += element("0008|0060", "CS", "MR") + element("0010|0010", "PN", PATIENT["0010|0010"])
    body += element("0020|000e", "UI", "1.2.3.4") + element("0020|0011", "IS", "9")
    body += element("0028|0002", "US", 1) + element("0028|0004", "CS", "MONOCHROME2")
    body += element("0028|0008", "IS", str(number)) + element("0028|0010", "US", y) + element("0028|0011", "US", x)
    body += b"".join(element(f"0028|010{i}", "US", value) for i, value in enumerate((16, 16, 15, 1)))
    body += of_file
    body += element("5200|9229", "SQ", [shared]) + element("5200|9230", "SQ", frames)
    body += element("7fe0|0010", "OW", voxels.astype("<i2").tobytes(order="F"))
    return write_dicom(file, ENHANCED_MR, body)


def without_preamble(file: Path, syntax: str, meta: bool) -> Path:
    """Write an uncompressed file again as a bare data set, with or without its first part (group 0002)."""
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = syntax
    first = DicomBytesIO()
    first.is_little_endian, first.is_implicit_VR = True, False
    write_file_meta_info(first, dataset.file_meta)
    bare = DicomBytesIO()
    bare.is_little_endian, bare.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    write_dataset(bare, dataset)
    file.write_bytes(first.getvalue() * meta + bare.getvalue())
    return file


ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"


def write_report(file: Path) -> Path:
    """Write a structured report, which has no pixels."""
    body = element("0008|0016", "UI", REPORT) + element("0008|0060", "CS", "SR") + element("0020|000e", "UI", "1.2.3.9")
    return write_dicom(file, REPORT, body)


def write_dicom(file: Path, sop_class: str, body: bytes) -> Path:
    """Write elements as a DICOM file, explicit little-endian."""
    meta = element("0002|0002", "UI", sop_class) + element("0002|0010", "UI", "1.2.840.10008.1.2.1")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(128) + b"DICM" + element("0002|0000", "UL", struct.pack("<I", len(meta))) + meta + body)
    return file


def element(tag: str, kind: str, value: str | int | bytes | Sequence[bytes]) -> bytes:
    """Return a DICOM element, explicit little-endian: text, an unsigned short, bytes, or a sequence's items."""
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, int):
        value = struct.pack("<H", value)
    elif not isinstance(value, bytes):
        value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in value)
    value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in ("OW", "SQ") else struct.pack("<H", len(value))
    return struct.pack("<HH", *(int(half, 16) for half in tag.split("|"))) + kind.encode() + length + value
