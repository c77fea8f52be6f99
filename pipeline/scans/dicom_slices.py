"""DICOM slices: the tags of a file, what it holds, and the volume that slices make up.

SimpleITK (GDCM) decodes the pixels. Where they lie is worked out here from the position that each slice carries:
SimpleITK only warns of missing slices, and gives frames of one file that are not evenly spaced a spacing of 1 mm.
"""

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from pipeline.errors import ScanError

TRANSFER_SYNTAX, MEDIA_SOP_CLASS = "0002|0010", "0002|0002"
IMAGE_TYPE, SOP_CLASS, INSTANCE_UID, MODALITY = "0008|0008", "0008|0016", "0008|0018", "0008|0060"
STUDY_UID, SERIES_UID, SERIES_NUMBER, SERIES_DESCRIPTION = "0020|000d", "0020|000e", "0020|0011", "0008|103e"
POSITION, ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
INTERCEPT, SLOPE = "0028|1052", "0028|1053"
PATIENT_NAMES, PATIENT_IDS, BIRTH_DATE = ("0010|0010", "0010|1001"), ("0010|0020", "0010|1000"), "0010|0030"
PATIENT = (*PATIENT_NAMES, *PATIENT_IDS, BIRTH_DATE)
"""What must not reach any output."""

SALVAGED = (MEDIA_SOP_CLASS, SOP_CLASS, TRANSFER_SYNTAX, MODALITY, STUDY_UID, SERIES_UID, SERIES_NUMBER, *PATIENT)
"""What is looked for in a file that SimpleITK does not read."""
DAMAGED = "damaged"
"""Stands among the tags of such a file."""
PIXELS = b"\xe0\x7f\x10\x00"
"""The tag that pixels follow."""
FRAMES = rb"\x00\x52[\x29\x30]\x92"
"""The tags of the sequences that describe the frames of a multi-frame file."""
UNCOMPRESSED = tuple(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))
OTHER_SCANNERS = ("CT", "PT", "NM")
"""Modalities that are scans too, but not MRI: refused by name rather than passed over."""

Tags = dict[str, str]


def tags_of(file: Path) -> Tags:
    """Return the tags of an image, and of any other file those that can be made out, with `DAMAGED` among them."""
    reader = _reader(file)
    try:
        reader.ReadImageInformation()
        return _tags(reader)
    except Exception:  # SimpleITK raises RuntimeError for all that GDCM cannot read as an image
        return _salvaged(file) | {DAMAGED: "yes"}


def _salvaged(file: Path) -> Tags:
    try:
        content = file.read_bytes().split(PIXELS)[0]
    except OSError:
        return {}
    found = {tag: _values(content, tag) for tag in SALVAGED}
    # Sequences that refer to other series come before a file's own tags.
    return {tag: values[-1] for tag, values in found.items() if values}


def _reader(file: Path) -> Any:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings name files and tags
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    return reader


def _tags(reader: Any) -> Tags:
    return {tag: reader.GetMetaData(tag).strip() for tag in reader.GetMetaDataKeys()}


def _values(content: bytes, tag: str) -> list[str]:
    """Return a tag's values wherever it occurs, inside sequences too, which SimpleITK does not show (little-endian)."""
    head = re.escape(struct.pack("<HH", *(int(half, 16) for half in tag.split("|"))))
    values = []
    for match in re.finditer(head + rb"(?:[A-Z]{2}(..)|(..\0\0))", content, re.DOTALL):  # with its type, or without
        end = match.end() + int.from_bytes(match[1] or match[2], "little")
        if end <= len(content):
            values.append(content[match.end() : end].decode("utf-8", "surrogateescape").strip(" \0"))
    return values


def numbers(text: str, count: int) -> np.ndarray:
    """Return the numbers of a tag's value, all NaN where they are not `count`."""
    try:
        found = np.array(text.split("\\"), dtype=float)
    except ValueError:
        found = np.empty(0)
    return found if len(found) == count else np.full(count, np.nan)


class Slices(NamedTuple):
    """What one file holds, and where it lies in LPS, mm."""

    voxels: np.ndarray  # (frames, rows, columns)
    positions: np.ndarray  # (frames, 3), the centre of the first voxel
    axes: np.ndarray  # (1 or frames, 6), the directions along a row and down a column
    spacings: np.ndarray  # (1 or frames, 2), from row to row and from column to column


def read_slices(file: Path) -> Slices:
    """Return the slices of a file: one, or the frames of a multi-frame file.

    Raises:
        ScanError: whose message goes on after the file's name.
    """
    import SimpleITK

    reader = _reader(file)
    try:
        file.open("rb").close()
        image = reader.Execute()
    except OSError as error:
        raise ScanError(f"cannot be opened ({error.strerror}); check its permissions") from error
    except Exception:
        syntax = _salvaged(file).get(TRANSFER_SYNTAX, "")
        if syntax in ("", *UNCOMPRESSED):
            raise ScanError("is damaged or cut short; export or copy it again") from None
        raise ScanError(f"is damaged, or its compression ({syntax}) is not known; export it uncompressed") from None
    tags = _tags(reader)
    if tags.get(MODALITY) in OTHER_SCANNERS:
        raise ScanError(f"is of modality {tags[MODALITY]}; give MRI scans (MR)")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ScanError("is a colour picture; give the scan itself, with one grey value a voxel")
    voxels = SimpleITK.GetArrayFromImage(image)
    voxels = voxels.reshape(-1, *voxels.shape[-2:])
    lengths = {POSITION: 3, ORIENTATION: 6, PIXEL_SPACING: 2}
    values = {tag: [tags[tag]] for tag in lengths if tag in tags}
    if len(voxels) > 1 or len(values) < len(lengths):
        content = file.read_bytes()
        start = re.search(FRAMES, content)
        content = content[start.start() :].split(PIXELS)[0] if start else b""
        if len(set(_values(content, SLOPE))) > 1 or len(set(_values(content, INTERCEPT))) > 1:
            raise ScanError("scales its frames differently, which is not supported; convert it with dcm2niix")
        values = {tag: _values(content, tag) for tag in lengths}
    geometry = [np.array([numbers(value, lengths[tag]) for value in values[tag]]) for tag in lengths]
    told = all(part.size and np.isfinite(part).all() for part in geometry) and geometry[2].min() > 0
    if not told or len(geometry[0]) != len(voxels):
        raise ScanError("does not tell where its slices lie (position, orientation, pixel spacing); export it again")
    return Slices(voxels, *geometry)


def volume_of(parts: Sequence[Slices]) -> nib.nifti1.Nifti1Image:
    """Return the volume (X, Y, Z) that the slices of a series make up, as `Series.read` describes it.

    Raises:
        ScanError: where they are not all the slices of one volume.
    """
    axes, spacings = (np.concatenate(given) for given in ([p.axes for p in parts], [p.spacings for p in parts]))
    if len({part.voxels.shape[1:] for part in parts}) > 1 or np.ptp(spacings, axis=0).max() > 1e-3:
        raise ScanError("its slices are of several sizes: scans are mixed in it; give each as a series of its own")
    if np.ptp(axes, axis=0).max() > 1e-3:
        raise ScanError("its slices are of several orientations: scans are mixed in it, or it is a localizer")
    positions = np.concatenate([part.positions for part in parts])
    if len(positions) == 1:
        raise ScanError("it is a single 2D slice; give a 3D scan")
    row, column = axes[0, :3], axes[0, 3:]
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-2):
        raise ScanError("its orientation is not given by two perpendicular axes; export it again")
    normal = np.cross(row, column)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    along = positions @ normal
    step = _step(along)
    if np.ptp(positions - np.outer(along, normal), axis=0).max() > 0.1:
        raise ScanError("its slices are shifted against one another (sheared); resample it to a rectangular grid")
    affine = np.eye(4)
    affine[:3] = np.stack([row * spacings[0, 1], column * spacings[0, 0], normal * step, positions[0]], axis=1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to RAS
    voxels = np.concatenate([part.voxels for part in parts])[order].transpose(2, 1, 0)
    if voxels.dtype.kind == "f":  # rescaled, maybe by another factor from slice to slice
        voxels = voxels.astype(np.float32)
    image = nib.nifti1.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image


def _step(along: np.ndarray) -> float:
    """Return the distance from slice to slice, mm, of slices at these places along their normal, in ascending order.

    Raises:
        ScanError: where slices are missing, lie at the same place or are not evenly spaced.
    """
    steps = np.diff(along)
    places = 1 + int((steps > 0.01).sum())
    if places < len(along):
        volumes, rest = divmod(len(along), places)
        holds = f"{volumes} volumes" if rest == 0 else "more than one volume"
        raise ScanError(
            f"it holds {holds}: {len(along)} slices at {places} places (echoes, time points or copies); give one volume"
        )
    ratios = steps / np.sort(steps)[(len(steps) - 1) // 2]
    gaps = np.flatnonzero(ratios > 1.5)
    if len(gaps):
        missing = int(np.round(ratios[gaps] - 1).sum())
        around = ", ".join(f"{along[gap : gap + 2].mean():.1f}" for gap in gaps[:3]) + ", ..." * (len(gaps) > 3)
        raise ScanError(
            f"{missing} of its slices {'is' if missing == 1 else 'are'} missing, around {around} mm along the slice "
            "axis; export the series again"
        )
    if np.abs(ratios - 1).max() > 0.1:
        raise ScanError(f"its slices lie {steps.min():.2f} to {steps.max():.2f} mm apart; resample it to even steps")
    return float(np.mean(steps))
