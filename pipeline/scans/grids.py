"""Grids: whether a scan's files lie on one grid of voxels, and masks and labels in the scan's storage order.

A grid can be stored in 48 orders: its axes in any sequence, each from either end. dcm2niix stores a DICOM series in
another order than the scanner, and brain extraction may do so too. The places in mm are the same.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff

from pipeline.errors import ScanError
from pipeline.files import to_printable
from pipeline.nifti import on_grid_of

TOLERANCE = 1e-2
"""Largest difference between two affines of one grid, mm."""


def check_fits(role: str, file: str, image: nib.nifti1.Nifti1Image, scan: nib.nifti1.Nifti1Image) -> None:
    """Refuse a channel, mask or label that does not lie on the scan's grid; a mask or label in any storage order."""
    order = _order(image, scan)
    if role == "channel":  # MONAI stacks channels as they are: storage order and fourth axis must agree too
        fits, axes = image.shape == scan.shape and _is_kept(order), None
    else:
        fits, axes = order is not None, 3
    if fits:
        return
    its = f"its {role} {to_printable(Path(file).name)}"
    if image.shape[:axes] != scan.shape[:axes]:
        shapes = f"the shape {by(image.shape)}, not the scan's {by(scan.shape)}"
        raise ScanError(f"{its} has {shapes}; make it from this scan, or resample it")
    raise ScanError(f"{its} lies on another grid; resample it to the scan's grid")


def in_order_of(
    scan: nib.nifti1.Nifti1Image, role: str, file: str, image: nib.nifti1.Nifti1Image
) -> nib.nifti1.Nifti1Image:
    """Return a mask or label in the scan's storage order: the image itself, its voxels not read, if it is in it.

    Raises:
        ScanError: if the image lies on another grid.
    """
    check_fits(role, file, image, scan)
    order = _order(image, scan)
    if _is_kept(order):
        return image
    voxels = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    return on_grid_of(scan, np.ascontiguousarray(apply_orientation(voxels, order)))


def by(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 40 x 48 x 36."""
    return " x ".join(map(str, shape))


def _order(image: nib.nifti1.Nifti1Image, scan: nib.nifti1.Nifti1Image) -> np.ndarray | None:
    """Return the scan's axis and direction (3, 2) for each axis of an image, None if their grids differ."""
    turn = np.rint(np.linalg.solve(scan.affine[:3, :3], image.affine[:3, :3]))
    if not np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3)):
        return None
    axes = np.abs(turn).argmax(0)
    order = np.stack([axes, turn.sum(0)], axis=1)
    shape = tuple(image.shape[axis] for axis in np.argsort(axes))
    affine = image.affine @ inv_ornt_aff(order, image.shape[:3])
    return order if shape == scan.shape[:3] and np.allclose(affine, scan.affine, atol=TOLERANCE) else None


def _is_kept(order: np.ndarray | None) -> bool:
    return order is not None and np.array_equal(order, [[0, 1], [1, 1], [2, 1]])
