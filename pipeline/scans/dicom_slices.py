"""DICOM slices: what a file holds, where that lies, and the volume that slices make up.

SimpleITK (GDCM) decodes the pixels. Their places are worked out here, from the position of each slice: SimpleITK only
warns about missing slices, and gives a spacing of 1 mm to the frames of a file that are not evenly spaced.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from pydicom import Dataset

from pipeline.errors import ScanError
from pipeline.scans.dicom_tags import items_of, numbers, of_meta, read_dataset, text_of

UNCOMPRESSED = tuple(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))
"""Transfer syntaxes that do not compress the pixels."""
OTHER_SCANNERS = ("CT", "PT", "NM")
"""Modalities that are scans but not MRI: they are refused by name rather than passed over."""
GEOMETRY = {
    "ImagePositionPatient": (3, "PlanePositionSequence"),
    "ImageOrientationPatient": (6, "PlaneOrientationSequence"),
    "PixelSpacing": (2, "PixelMeasuresSequence"),
}
"""Tags that place a slice: how many numbers each has, and the sequence that holds it for a frame."""
RESCALING = ("RescaleSlope", "RescaleIntercept")
"""Tags that turn what is stored into the scanner's values."""


class Frames(NamedTuple):
    """The frames of one file, and where they lie in LPS, mm."""

    voxels: np.ndarray  # (frames, rows, columns)
    positions: np.ndarray  # (frames, 3), the centre of the first voxel
    axes: np.ndarray  # (frames, 6), the directions along a row and down a column
    spacings: np.ndarray  # (frames, 2), from row to row and from column to column


@dataclass(frozen=True)
class Slice:
    """Where a slice of a volume comes from.

    Attributes:
        file: its file.
        frame: its number in a file of several frames, from 1; None if it is the only one.
        position: the centre of its first voxel in LPS, mm.
    """

    file: Path
    frame: int | None
    position: tuple[float, float, float]


@dataclass(frozen=True)
class Slices:
    """The slices of a volume (X, Y, Z) as they lie in DICOM: what an object on the same grid must repeat.

    Attributes:
        of_z: the slice at each index along Z.
        orientation: the directions along a row (X) and down a column (Y) in LPS.
        spacing: from row to row and from column to column, mm.
    """

    of_z: tuple[Slice, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


class Volume(NamedTuple):
    """A volume (X, Y, Z), and the slices that it is made of."""

    image: nib.nifti1.Nifti1Image
    slices: Slices


def read_frames(file: Path) -> Frames:
    """Return the frames of a file: one slice, or the frames of a multi-frame file.

    Raises:
        ScanError: if they cannot be read or placed; its message continues the file's name.
    """
    import SimpleITK

    reader = _reader(file)
    tags = read_dataset(file, last="PixelSpacing")
    try:
        file.open("rb").close()
        image = reader.Execute()
    except OSError as error:
        raise ScanError(f"cannot be opened ({error.strerror}); check its permissions") from error
    except Exception:  # SimpleITK raises RuntimeError for all that GDCM cannot read
        syntax = of_meta(tags, "TransferSyntaxUID")
        if syntax in ("", *UNCOMPRESSED):
            raise ScanError("is damaged or cut short; export or copy it again") from None
        raise ScanError(f"is damaged, or its compression ({syntax}) is not known; export it uncompressed") from None
    modality = text_of(tags, "Modality")
    if modality in OTHER_SCANNERS:
        raise ScanError(f"is of modality {modality}; give MRI scans (MR)")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ScanError("is a colour picture; give the scan itself, with one grey value a voxel")
    voxels = SimpleITK.GetArrayFromImage(image)
    voxels = voxels.reshape(-1, *voxels.shape[-2:])
    return Frames(voxels, *_geometry(file, tags, len(voxels)))


def _reader(file: Path) -> Any:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings name files and tags
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    return reader


def _geometry(file: Path, tags: Dataset, frames: int) -> list[np.ndarray]:
    """Return positions, axes and spacings of a file's frames, as `Frames` describes them.

    Raises:
        ScanError: if the file does not give them for each frame, or rescales its frames differently.
    """
    values = {keyword: [text_of(tags, keyword)] for keyword in GEOMETRY}
    if frames > 1 or [""] in values.values():
        tags = read_dataset(file, last="PerFrameFunctionalGroupsSequence")
        rescaling = (_of_frames(tags, "PixelValueTransformationSequence", keyword) for keyword in RESCALING)
        if any(len(set(factors)) > 1 for factors in rescaling):
            raise ScanError("scales its frames differently, which is not supported; convert it with dcm2niix")
        values = {keyword: _of_frames(tags, sequence, keyword) for keyword, (_, sequence) in GEOMETRY.items()}
    geometry = [np.array([numbers(text, GEOMETRY[keyword][0]) for text in texts]) for keyword, texts in values.items()]
    given = all(part.size and np.isfinite(part).all() for part in geometry) and geometry[2].min() > 0
    if not given or len(geometry[0]) != frames:
        raise ScanError("does not tell where its slices lie (position, orientation, pixel spacing); export it again")
    return geometry


def _of_frames(tags: Dataset, sequence: str, keyword: str) -> list[str]:
    """Return a tag's value for each frame, from the frame's own groups or from those that all frames share."""
    shared = items_of(tags, "SharedFunctionalGroupsSequence")
    values = []
    for frame in items_of(tags, "PerFrameFunctionalGroupsSequence"):
        found = (text_of(item, keyword) for groups in (frame, *shared) for item in items_of(groups, sequence))
        values.append(next(found, ""))
    return values


def copies_in(parts: Sequence[Frames]) -> list[int]:
    """Return the numbers of the parts that repeat an earlier one; none if parts that differ lie at one place."""
    known: set[bytes] = set()
    copies = []
    for number, part in enumerate(parts):
        place = b"".join((array + 0.0).tobytes() for array in part[1:])  # -0 becomes 0
        digest = hashlib.sha256(place + str(part.voxels.shape).encode() + part.voxels.tobytes()).digest()
        copies += [number] if digest in known else []
        known.add(digest)
    places = {(part.positions + 0.0).tobytes() for part in parts}
    return copies if len(known) == len(places) else []


def volume_of(files: Sequence[Path], parts: Sequence[Frames]) -> Volume:
    """Return the volume (X, Y, Z) that the files of a series make up, as `Series.read` describes it.

    Args:
        files: the files.
        parts: the frames of each.

    Raises:
        ScanError: if they are not all the slices of one volume.
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
    return Volume(image, _slices(files, parts, order.tolist()))


def _slices(files: Sequence[Path], parts: Sequence[Frames], order: Sequence[int]) -> Slices:
    """Return the slices of files, given the order of all their frames along Z."""
    frames = [
        Slice(file, number if len(part.positions) > 1 else None, (float(x), float(y), float(z)))
        for file, part in zip(files, parts, strict=True)
        for number, (x, y, z) in enumerate(part.positions, start=1)
    ]
    first = parts[0]
    between_rows, between_columns = first.spacings[0].tolist()
    orientation = tuple(first.axes[0].tolist())
    return Slices(tuple(frames[i] for i in order), orientation, (between_rows, between_columns))


def _step(along: np.ndarray) -> float:
    """Return the distance from slice to slice, mm, from the ascending places of slices along their normal.

    Raises:
        ScanError: if slices are missing, lie at the same place or are not evenly spaced.
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
