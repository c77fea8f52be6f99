"""Formats of scans beside NIfTI: .mgz, .mgh, .nrrd and .mha files as NIfTI images of the same voxels and place."""

import gzip
import logging
import math
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from pipeline.cohorts import Entry
from pipeline.errors import DAMAGED_FILE, ScanError, reason_of_system
from pipeline.nifti import SUFFIXES, stem_of
from pipeline.scans.grids import in_order_of
from pipeline.unread import why_unread

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # odd headers are judged in checks.py

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From ITK's axes to NIfTI's."""

PLACED = {
    ".nrrd": r"(?im)^space:\s*((left|right)[ -](anterior|posterior)[ -]superior|(LPS|RAS|LAS))\s*$",
    ".mha": r"(?im)^(TransformMatrix|Rotation|Orientation)\s*=",
}
"""The line of a header that tells where left and right are. Without it, SimpleITK would guess."""

DETACHED = {".nrrd": r"(?im)^data ?file:", ".mha": r"(?im)^ElementDataFile\s*=(?!\s*LOCAL\s*$)"}
"""The line of a header that names another file for the voxels."""

ITK = (".nrrd", ".mha")
"""Endings of the files that SimpleITK reads."""

HEADER_BYTES = 2**16
"""Largest size of a header."""


def open_image(path: Path) -> nib.nifti1.Nifti1Image:
    """Return a file in any format that is read as a NIfTI image, its voxels not read yet.

    Raises:
        ScanError: if the file has another format, or does not say where its voxels lie.
        Exception: of any kind, if the file is damaged.
    """
    suffix = path.suffix.lower()
    if not path.name.lower().endswith(SUFFIXES):
        raise ScanError(why_unread(path, dicom=False) or "not in a format that is read; convert it to .nii.gz")
    if suffix in (".mgz", ".mgh"):
        return _open_mgh(path)
    if suffix in ITK:
        return _open_itk(path)
    image = nib.load(path)
    if not isinstance(image, nib.nifti1.Nifti1Image):
        raise ScanError("not in NIfTI format; convert it to .nii.gz")
    return image


def is_nifti(file: str | Path) -> bool:
    """Return whether a file is NIfTI, by its name."""
    return str(file).lower().endswith((".nii", ".nii.gz"))


@contextmanager
def as_nifti(entry: Entry) -> Iterator[Entry]:
    """Yield an entry whose files are all NIfTI, its mask and label in the storage order of the scan.

    Files that differ are converted to files that exist until the end of the block. So are those whose header gives
    voxels other sides (pixdim) than its affine.

    Raises:
        ScanError: if the mask or the label lies on another grid.
    """
    with tempfile.TemporaryDirectory() as folder:

        def converted(file: str, role: str) -> str:
            image = opened = open_image(Path(file))
            if role in ("mask", "label"):
                image = in_order_of(open_image(Path(entry.images[0])), role, file, opened)
            if image is opened and is_nifti(file):
                if _sides_agree(image):
                    return file
                voxels = np.asanyarray(image.dataobj)
                image = nib.nifti1.Nifti1Image(voxels, image.affine, dtype=voxels.dtype)
            target = Path(folder) / role / f"{stem_of(Path(file).name)}.nii"
            target.parent.mkdir()
            nib.save(image, target)
            return str(target)

        images = tuple(converted(file, f"image_{i}") for i, file in enumerate(entry.images))
        mask, label = (part and converted(part, role) for role, part in (("mask", entry.mask), ("label", entry.label)))
        yield replace(entry, images=images, mask=mask, label=label)


def _sides_agree(image: nib.nifti1.Nifti1Image) -> bool:
    """Return whether a header gives voxels the sides that its affine has; else MONAI would take another affine."""
    return np.allclose(image.header.get_zooms()[:3], np.linalg.norm(image.affine[:3, :3], axis=0))


def is_compressed(path: Path) -> bool:
    """Return whether a whole file is compressed with gzip, by its name."""
    return path.suffix.lower() in (".gz", ".mgz")


def may_be_compressed(path: Path) -> bool:
    """Return whether a file, or its voxels alone, may be compressed."""
    return is_compressed(path) or path.suffix.lower() in ITK


def offset_of(image: nib.nifti1.Nifti1Image) -> int:
    """Return the place in a file where its voxels begin; 0 if it is not known."""
    return int(getattr(image.dataobj, "offset", 0))


def bytes_of(image: nib.nifti1.Nifti1Image) -> int:
    """Return the length of a complete file with this header, bytes, before compression."""
    return offset_of(image) + math.prod(image.shape) * image.get_data_dtype().itemsize


def check_whole(path: Path, image: nib.nifti1.Nifti1Image) -> None:
    """Read a compressed file up to its checksum: nibabel and SimpleITK would accept damaged voxels.

    Raises:
        ScanError: if it is damaged or cut short, or cannot be read.
    """
    try:
        if path.suffix.lower() in ITK:
            _check_whole_itk(path, image)
        elif is_compressed(path):
            with gzip.open(path) as stream:
                if _length(stream) < bytes_of(image):
                    raise ScanError(DAMAGED_FILE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanError(DAMAGED_FILE) from error
    except OSError as error:
        raise ScanError(reason_of_system(error)) from error


def _check_whole_itk(path: Path, image: nib.nifti1.Nifti1Image) -> None:
    try:
        np.asanyarray(image.dataobj)
    except RuntimeError as error:
        raise ScanError(DAMAGED_FILE) from error
    header, start = _header_of(path)
    with open(path, "rb") as stream:
        stream.seek(start)
        if re.search(r"(?im)^encoding:\s*(gzip|gz)\s*$", header):
            with gzip.open(stream) as compressed:
                _length(compressed)
        elif re.search(r"(?im)^CompressedData\s*=\s*True", header):
            zlib.decompress(stream.read())


def _length(stream: gzip.GzipFile) -> int:
    """Read a stream to its end, and return its length."""
    length = 0
    while block := stream.read(2**20):
        length += len(block)
    return length


def _open_mgh(path: Path) -> nib.nifti1.Nifti1Image:
    with gzip.open(path) if is_compressed(path) else open(path, "rb") as stream:
        flag = stream.read(30)[28:]
    image = nib.freesurfer.mghformat.load(path)
    if int.from_bytes(flag, "big", signed=True) <= 0:  # nibabel would take FreeSurfer's default axes
        raise ScanError("its header does not say where left and right are (goodRASFlag is 0); convert it again")
    return _placed(image.dataobj, image.affine)


def _open_itk(path: Path) -> nib.nifti1.Nifti1Image:
    suffix = path.suffix.lower()
    header, _ = _header_of(path)
    if re.search(DETACHED[suffix], header):
        raise ScanError(f"its voxels lie in another file; write them into the {suffix} file, or convert it to .nii.gz")
    voxels = _Voxels(path)
    reader, size = voxels.reader, voxels.shape
    if reader.GetNumberOfComponents() > 1:
        number = reader.GetNumberOfComponents()
        raise ScanError(f"it holds {number} values for each voxel; give a scan with one grey value for each")
    if len(size) != 3:
        return nib.nifti1.Nifti1Image(voxels, np.eye(4))  # its shape is refused, as that of any other format
    if not re.search(PLACED[suffix], header):
        missing = "no `space`" if suffix == ".nrrd" else "no `TransformMatrix`"
        raise ScanError(f"its header does not say where left and right are ({missing}); convert it from DICOM again")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    return _placed(voxels, LPS_TO_RAS @ affine)


class _Voxels:
    """Voxels (X, Y, Z) of a file that SimpleITK reads; they are read when an array is made of them."""

    def __init__(self, path: Path) -> None:
        import SimpleITK

        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # an error is raised beside them
        self.reader: Any = SimpleITK.ImageFileReader()
        self.reader.SetFileName(str(path))
        self.reader.ReadImageInformation()
        self.shape: tuple[int, ...] = self.reader.GetSize()
        self.ndim = len(self.shape)
        one = SimpleITK.Image([1] * 3, self.reader.GetPixelID())
        self.dtype = SimpleITK.GetArrayFromImage(one).dtype if self.reader.GetNumberOfComponents() == 1 else None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import SimpleITK

        voxels = SimpleITK.GetArrayFromImage(self.reader.Execute()).transpose()
        return voxels if dtype is None else voxels.astype(dtype)


def _placed(voxels: Any, affine: np.ndarray) -> nib.nifti1.Nifti1Image:
    """Return voxels as an image with an affine in mm, in scanner space."""
    image = nib.nifti1.Nifti1Image(voxels, None)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def _header_of(path: Path) -> tuple[str, int]:
    """Return the lines of a .nrrd or .mha file's header, and the place where its voxels begin."""
    with open(path, "rb") as stream:
        start = stream.read(HEADER_BYTES)
    end = r"\r?\n\r?\n" if path.suffix.lower() == ".nrrd" else r"(?m)^ElementDataFile\s*=[^\n]*\n"
    found = re.search(end.encode(), start)
    place = found.end() if found is not None else len(start)
    return start[:place].decode("latin-1").replace("\r\n", "\n"), place
