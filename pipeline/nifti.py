"""NIfTI files that lie exactly on their scan."""

from pathlib import Path

import nibabel as nib
import numpy as np
from isal.igzip import IGzipFile

GEOMETRY = (
    "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
"""The fields of a header that place its voxels in space. All others, and the extensions, may name a patient."""


def on_grid_of(scan: nib.nifti1.Nifti1Image, voxels: np.ndarray) -> nib.nifti1.Nifti1Image:
    """Return voxels (X, Y, Z) as an image with a scan's shape, affine, form codes and units, and nothing else.

    Raises:
        ValueError: where the voxels' shape is not the scan's.
    """
    if voxels.shape != scan.shape[:3]:
        raise ValueError(f"voxels of shape {voxels.shape} do not lie on a scan of shape {scan.shape[:3]}")
    header = nib.nifti1.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    for field in GEOMETRY:
        header[field] = scan.header[field]
    return nib.nifti1.Nifti1Image(voxels, scan.affine, header)


def copy_of(scan: nib.nifti1.Nifti1Image) -> nib.nifti1.Nifti1Image:
    """Return a copy of a scan (X, Y, Z), with its voxels' type where they are not scaled, else as float32."""
    voxels = np.asanyarray(scan.dataobj)
    voxels = voxels.reshape(scan.shape[:3])
    if voxels.dtype.kind == "f" and voxels.dtype != scan.get_data_dtype():
        voxels = voxels.astype(np.float32)
    return on_grid_of(scan, voxels.astype(voxels.dtype.newbyteorder("=")))


def write(image: nib.nifti1.Nifti1Image, file: Path) -> None:
    """Write an image to .nii.gz. ISA-L compresses score maps as well as zlib in an eighth of its time."""
    with open(file, "wb") as stream, IGzipFile("", "wb", 1, stream, mtime=0) as compressed:
        image.to_stream(compressed)
