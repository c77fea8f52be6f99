"""The picture of a brain mask that was refused: its outline on three slices of the scan."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from skimage.segmentation import mark_boundaries

from pipeline.nifti import upright
from pipeline.prediction.colours import CONTOUR

SIDE = 256
"""Side of a panel, pixels: as long as the longest side of the scan."""


def write_outline(file: Path, scan: nib.nifti1.Nifti1Image, mask: np.ndarray) -> None:
    """Write a sagittal, a coronal and an axial slice through the middle of a mask, with its outline, as PNG.

    Args:
        file: where to.
        scan: the scan (X, Y, Z).
        mask: its mask (X, Y, Z), boolean; if it is empty, the slices go through the middle of the scan.
    """
    voxels = np.nan_to_num(np.asanyarray(scan.dataobj).astype(np.float32))
    voxels = np.clip((voxels - voxels.min()) / max(float(np.ptp(np.percentile(voxels, (0, 99.5)))), 1e-6), 0, 1)
    where = mask if mask.any() else np.ones_like(mask)
    ras = nib.orientations.io_orientation(scan.affine)[:, 0].astype(int)
    sides = nib.affines.voxel_sizes(scan.affine)
    sides = sides * SIDE / max(sides * mask.shape)  # in pixels
    panels = []
    for direction in range(3):
        axis = int(np.flatnonzero(ras == direction)[0])
        index = int(np.median(np.nonzero(where)[axis]))
        columns, rows = (float(sides[ras == other][0]) for other in range(3) if other != direction)
        plane, inside = (upright(volume, scan.affine, axis, index) for volume in (voxels, mask))
        size = (max(round(plane.shape[1] * columns), 1), max(round(plane.shape[0] * rows), 1))
        grey = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
        drawn = mark_boundaries(grey, _resized(inside, size), np.divide(CONTOUR, 255), mode="inner")
        panels.append(_in_square(np.round(255 * drawn).astype(np.uint8)))
    Image.fromarray(np.concatenate(panels, axis=1)).save(file)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)).astype(int)


def _in_square(panel: np.ndarray) -> np.ndarray:
    """Return a panel (height, width, 3) in the middle of a black square."""
    before = [(SIDE - n) // 2 for n in panel.shape[:2]]
    return np.pad(panel, [(n, SIDE - m - n) for n, m in zip(before, panel.shape[:2], strict=True)] + [(0, 0)])
