"""Checks of a scan's files before any work is done: their headers, whether they are complete, and whether they fit."""

import math
import os
import stat
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohorts import Entry
from pipeline.dicom_files import starts_as_dicom
from pipeline.errors import DAMAGED_FILE, ScanError, reason_of_system
from pipeline.files import to_printable
from pipeline.scans.formats import (
    bytes_of,
    check_whole,
    is_compressed,
    is_nifti,
    may_be_compressed,
    offset_of,
    open_image,
)
from pipeline.scans.grids import by, check_fits

LONGEST_AXIS = 4096
"""Largest number of voxels along one axis of a head scan."""
MOST_VOXELS = 2**29
"""Largest number of voxels of a head scan, enough for 0.25 mm. A larger header is damaged, or would fill the memory."""
SPACING = (0.05, 50.0)
"""Smallest and largest voxel side of a head scan, mm. Other values are in another unit."""
MOST_COMPRESSION = 1032
"""Maximal compression ratio of gzip."""
LARGEST_SHEAR = 1e-4
"""Largest cosine between two axes of a scan that ITK opens."""
INSIDE_HEADER = (
    "its header says that the voxels begin inside the header (vox_offset is below 352), so they would be read wrongly; "
    "convert it again (for example with dcm2niix)"
)


def check_scan(entry: Entry, channels: int | None = None) -> None:
    """Check that a scan's images, mask and label are complete 3D files on one grid.

    Args:
        entry: the scan, as in a datalist.
        channels: number of channels of the model; None allows any number.

    Raises:
        ScanError: if a file cannot be used. The message names the file unless it is the scan's only image.
    """
    if channels is not None and len(entry.images) != channels:
        raise ScanError(
            f"it has {len(entry.images)} channels, but the model needs {channels}; give a datalist in which `image` "
            "lists as many files"
        )
    first, *others = (read_whole(file, named=len(entry.images) > 1) for file in entry.images)
    for file, channel in zip(entry.images[1:], others, strict=True):
        check_fits("channel", file, channel, first)
    for role, part in (("mask", entry.mask), ("label", entry.label)):
        if part is not None:
            check_fits(role, part, read_whole(part), first)


def read_whole(file: str, named: bool = True) -> nib.nifti1.Nifti1Image:
    """Return the image of a complete file, its voxels not read yet; an error starts with the file's name if `named`."""
    try:
        image = read_header(file)
        check_whole(Path(file), image)
    except ScanError as error:
        raise ScanError(f"{to_printable(Path(file).name)}: {error}" if named else f"{error}") from error
    return image


def read_header(file: str | Path) -> nib.nifti1.Nifti1Image:
    """Return a scan, a mask or a label in any format that is read as a NIfTI image, its voxels not read yet.

    Raises:
        ScanError: if it is not a 3D image with one grey value per voxel and a known place in space.
    """
    path = Path(file)
    problem = problem_of(path)
    if problem:
        raise ScanError(problem)
    try:
        with open(path, "rb") as stream:
            start = stream.read(352)
    except OSError as error:
        raise ScanError(reason_of_system(error)) from error
    if not start:
        raise ScanError("the file is empty (0 bytes); copy or convert it again")
    try:
        image = open_image(path)
    except ScanError:
        raise
    except Exception as error:  # a damaged file can make a reader raise any exception
        if isinstance(error, EOFError):
            raise ScanError(DAMAGED_FILE) from error
        raise ScanError(INSIDE_HEADER if "vox offset" in str(error) else _explain_other_format(path, start)) from error
    if is_nifti(path) and offset_of(image) < image.header.single_vox_offset:
        raise ScanError(INSIDE_HEADER)
    _check_voxels(image)
    _check_place(image)
    size, needed = path.stat().st_size, bytes_of(image)
    if needed > size * (MOST_COMPRESSION if may_be_compressed(path) else 1):
        raise ScanError(DAMAGED_FILE)
    return image


def problem_of(file: str | Path) -> str:
    """Return why a path is not a file that can be opened, empty if it is one; the file is not read."""
    path = Path(file)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        return (
            "a dangling link: its target is missing; get the target" if path.is_symlink() else reason_of_system(error)
        )
    except OSError as error:
        return reason_of_system(error)
    if stat.S_ISDIR(mode):
        denied = not os.access(path, os.R_OK | os.X_OK)
        return "permission denied to open this folder" if denied else "a folder, not a file; give the scan in it"
    return "" if stat.S_ISREG(mode) else "a pipe or device, not a file; copy the scan into a file"


def _explain_other_format(path: Path, start: bytes) -> str:
    """Return the format of a file that does not open as NIfTI, judged by its first bytes, and what to do."""
    if start.startswith(b"\x1f\x8b") and not is_compressed(path):
        return "compressed, although its name does not end in .gz; rename it to .nii.gz"
    if start[344:347] == b"n+1" and is_compressed(path):
        return "not compressed, although its name ends in .gz; rename it to .nii"
    if starts_as_dicom(start):
        return "a DICOM file, not NIfTI; give the folder of its series"
    if not is_nifti(path):
        return f"not a readable {path.suffix.lower()} file; convert it to .nii.gz"
    return "not a readable NIfTI file; convert it again (for example with dcm2niix)"


def _check_voxels(image: nib.nifti1.Nifti1Image) -> None:
    """Refuse an image that is not a volume of grey values, or is too small or too large for a head."""
    shape, dtype = image.shape, image.get_data_dtype()
    if dtype.fields is not None:
        raise ScanError("a colour image (RGB); give the scan itself, with one grey value per voxel")
    if np.issubdtype(dtype, np.complexfloating):
        raise ScanError("its voxels are complex values; give the magnitude only")
    if len(shape) < 3 or min(shape) < 1:
        raise ScanError(f"its shape is {by(shape)}, which is not a volume; give a 3D scan")
    if math.prod(shape[3:]) > 1:
        number = math.prod(shape[3:])
        raise ScanError(
            f"it holds {number} volumes (shape {by(shape)}); give one of them, split off for example with fslsplit"
        )
    if len(shape) > 4:
        raise ScanError(f"it has {len(shape)} axes (shape {by(shape)}); give a 3D scan")
    if max(shape) > LONGEST_AXIS or math.prod(shape) > MOST_VOXELS:
        raise ScanError(f"its header says {by(shape)} voxels, too many for a head; convert it again, or resample it")
    if sum(n < 8 for n in shape[:3]) > 1:
        raise ScanError(f"its shape is {by(shape)}, smaller than a slice of a head; give the whole scan")


def _check_place(image: nib.nifti1.Nifti1Image) -> None:
    """Refuse an image whose header does not say where its voxels lie."""
    if image.header["sform_code"] <= 0 and image.header["qform_code"] <= 0:
        raise ScanError(
            "its header does not say where left and right are (no affine: sform and qform codes are 0); "
            "convert it from DICOM again (for example with dcm2niix)"
        )
    axes = image.affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not np.isfinite(image.affine).all() or not spacing.all() or abs(np.linalg.det(axes / spacing)) < 0.01:
        raise ScanError("its affine is singular, so its place in space is unknown; convert it again")
    if spacing.min() < SPACING[0] or spacing.max() > SPACING[1]:
        sides = " x ".join(np.format_float_positional(side, 3, fractional=False, trim="-") for side in spacing)
        raise ScanError(
            f"its voxels measure {sides} mm, which no head scan has: perhaps the header uses another unit; convert it "
            "again, with lengths in mm"
        )


def header_warnings(scan: nib.nifti1.Nifti1Image) -> list[str]:
    """Return warnings about a scan's header, each a sentence for the outputs; the scan can still be used."""
    warnings = []
    header = scan.header
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        try:
            qform = header.get_qform()
        except Exception:  # a damaged quaternion can raise any exception
            warnings.append("the header's qform is damaged; the sform is used for the scan's place in space")
        else:
            corners = np.stack(np.meshgrid(*((0, n - 1) for n in scan.shape[:3]), [1])).reshape(4, -1)
            distance = np.linalg.norm((scan.affine - qform) @ corners, axis=0).max()
            turned = nib.aff2axcodes(qform) != nib.aff2axcodes(scan.affine)
            if distance > 1 or turned:
                warnings.append(
                    f"the header's sform and qform disagree by up to {distance:.0f} mm; the sform is used, but other "
                    f"programs may use the qform{', which turns or mirrors the scan: check left and right' * turned}"
                )
    axes = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    shear = np.abs(axes.T @ axes - np.eye(3)).max()
    if shear > LARGEST_SHEAR:
        degrees = np.degrees(np.arcsin(min(shear, 1)))
        warnings.append(
            f"the header's sform is sheared: its axes are {degrees:.2g} degrees from right angles, so ITK and ITK-SNAP "
            "cannot open the scan and its maps, or show them where the qform says; resample the scan to axes at right "
            "angles"
        )
    unit = {1: "metres", 3: "micrometres"}.get(int(header["xyzt_units"]) % 8)
    if unit is not None:
        warnings.append(f"the header says that lengths are in {unit}, but they fit a head in mm; they are taken as mm")
    return warnings
