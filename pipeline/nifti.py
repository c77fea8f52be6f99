"""NIfTI files: their names, images on exactly the grid of a scan, and slices as they are looked at."""

import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal.igzip import IGzipFile

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".mha")
"""Endings of the names of files that are read, in upper or lower case: NIfTI first, then what is converted to it."""

GEOMETRY = (
    "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
"""The fields of a header that place its voxels in space. All others, and the extensions, may name a patient."""


@dataclass(frozen=True)
class Meaning:
    """What a header says of its voxels, so that viewers open them with sensible colours.

    Attributes:
        description: what the values are, 79 characters at most.
        intent: nibabel's name of the NIfTI intent: "estimate", "label" or "log10 p value".
        shown: the values at the two ends of the colours.
    """

    description: str
    intent: str
    shown: tuple[float, float]


def on_grid_of(
    scan: nib.nifti1.Nifti1Image, voxels: np.ndarray, meaning: Meaning | None = None
) -> nib.nifti1.Nifti1Image:
    """Return voxels (X, Y, Z) as an image with a scan's shape, affine, form codes and units, and nothing else.

    Args:
        scan: the scan.
        voxels: the voxels.
        meaning: what the header says of them; if None, nothing.

    Raises:
        ValueError: if the voxels' shape is not the scan's.
    """
    if voxels.shape != scan.shape[:3]:
        raise ValueError(f"voxels of shape {voxels.shape} do not lie on a scan of shape {scan.shape[:3]}")
    header = nib.nifti1.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    for field in GEOMETRY:
        header[field] = scan.header[field]
    if meaning is not None:
        header["descrip"] = meaning.description
        header.set_intent(meaning.intent)
        header["cal_min"], header["cal_max"] = meaning.shown
    return nib.nifti1.Nifti1Image(voxels, scan.affine, header)


def copy_of(scan: nib.nifti1.Nifti1Image) -> nib.nifti1.Nifti1Image:
    """Return a copy of a scan (X, Y, Z), in the scan's own data type, or in float32 if its voxels are scaled."""
    voxels = np.asanyarray(scan.dataobj)
    voxels = voxels.reshape(scan.shape[:3])
    if voxels.dtype.kind == "f" and voxels.dtype != scan.get_data_dtype():
        voxels = voxels.astype(np.float32)
    return on_grid_of(scan, voxels.astype(voxels.dtype.newbyteorder("=")))


def write(image: nib.nifti1.Nifti1Image, file: Path) -> None:
    """Write an image to .nii.gz. ISA-L compresses score maps as well as zlib in an eighth of its time."""
    with open(file, "wb") as stream, IGzipFile("", "wb", 1, stream, mtime=0) as compressed:
        image.to_stream(compressed)


def stem_of(name: str) -> str:
    """Return a file's name, or its path, without its ending in SUFFIXES."""
    return re.sub(rf"({'|'.join(map(re.escape, SUFFIXES))})$", "", name, flags=re.IGNORECASE)


def voxel_ml(affine: np.ndarray) -> float:
    """Return the volume of a voxel, ml, given the affine (4, 4) in mm."""
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000


SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}
"""Letters of the left and the right edge of an `upright` slice, by slice axis."""


def upright(volume: np.ndarray, affine: np.ndarray, scan_axis: int, index: int) -> np.ndarray:
    """Return a slice of a volume as it is looked at: the patient's right at the left edge, front or top upwards."""
    orientation = nib.orientations.io_orientation(affine)
    whole = [slice(None)] * 3
    whole[scan_axis] = slice(index, index + 1)  # a view: np.take copies, ten times slower
    ras = nib.orientations.apply_orientation(volume[tuple(whole)], orientation)
    return np.take(ras, 0, axis=int(orientation[scan_axis, 0]))[::-1].T[::-1]
