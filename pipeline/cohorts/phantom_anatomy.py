"""The anatomy of a phantom: an individual's head, drawn from population tissue maps (ICBM152)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import distribution
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.spatial.transform import Rotation

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

BRAIN_BOX = np.array([[-72.0, -107.0, -72.0], [72.0, 73.0, 82.0]])
"""Lower and upper corner of the ICBM152 brain, RAS mm."""

MARGIN = 18.0
"""Space around that box, mm: large and shifted heads still fit."""


@dataclass(frozen=True)
class Anatomy:
    """An individual's head.

    Attributes:
        tissues: shares of CSF, GM and WM (3, X, Y, Z), which sum to 1.
        position: place of each voxel in the atlas (3, X, Y, Z), RAS mm.
        depth: distance below the brain's surface (X, Y, Z), mm.
        brain: the brain, boolean (X, Y, Z).
        left: the left side (X, Y, Z); large lesions do not cross the midline.
        cerebrum: the brain without cerebellum and brain stem (X, Y, Z), which are too small for large lesions.
        spacing: side of a voxel, mm.
    """

    tissues: Volume
    position: Volume
    depth: Volume
    brain: Mask
    left: Mask
    cerebrum: Mask
    spacing: float


@lru_cache(maxsize=1)
def load_atlas(spacing: float) -> tuple[Volume, NDArray[np.float64]]:
    """Return ICBM152 on a grid of `spacing` mm, read once per process, and its affine (4, 4).

    The atlas (4, X, Y, Z) holds the shares of CSF, GM and WM and the signed depth in mm.
    """
    brain = load_template("t1", spacing, smallest=1) > 0.5
    gm, wm = load_template("gm", spacing), load_template("wm", spacing)
    depth = ndimage.distance_transform_edt(brain) - ndimage.distance_transform_edt(~brain)
    # Everything outside the brain counts as CSF: an individual's larger mask takes in fluid there.
    return np.stack([np.clip(1 - gm - wm, 0, 1), gm, wm, spacing * depth]).astype(np.float32), _grid(spacing)[0]


def load_template(contrast: str, spacing: float, smallest: int | None = None) -> Volume:
    """Return a volume of ICBM152 (X, Y, Z) on the atlas's grid, 0 to 1.

    Args:
        contrast: "t1", "gm" or "wm".
        spacing: side of a voxel, mm.
        smallest: if given, the volume is 1 from this value on and 0 below it.
    """
    # Importing nilearn takes seconds, and its files can be found without it.
    folder = Path(str(distribution("nilearn").locate_file("nilearn/datasets/data")))
    image = nib.Nifti1Image.from_filename(folder / f"mni_icbm152_{contrast}_tal_nlin_sym_09a_converted.nii.gz")
    data = np.asarray(image.dataobj)
    data = (data / 255 if smallest is None else data >= smallest).astype(np.float32)
    data = ndimage.gaussian_filter(data, 0.3 * (spacing - 1))  # antialiasing
    affine, shape = _grid(spacing)
    return ndimage.affine_transform(data, np.linalg.inv(image.affine) @ affine, output_shape=shape, order=1)


def _grid(spacing: float) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return the affine (4, 4) and the shape of the atlas's grid."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = BRAIN_BOX[0] - MARGIN
    return affine, tuple(np.ceil((np.ptp(BRAIN_BOX, axis=0) + 2 * MARGIN) / spacing).astype(int))


def upsample(coarse: Volume, shape: Sequence[int]) -> Volume:
    """Return a volume enlarged to a shape by cubic splines: as smooth as `ndimage.zoom`, ten times faster."""
    for axis, size in enumerate(shape):
        knots = np.arange(coarse.shape[axis])
        weights = make_interp_spline(knots, np.eye(len(knots)), k=3)(np.linspace(0, knots[-1], size))
        coarse = np.moveaxis(np.tensordot(weights.astype(np.float32), coarse, axes=(1, axis)), 0, axis)
    return coarse


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> Volume:
    """Return Gaussian noise of about unit variance, smoothed by `sigma` voxels."""
    # A smooth field needs no fine grid. The coarse one keeps a volume under a second.
    coarse_shape = [max(4, round(n * 1.5 / sigma)) if sigma > 3 else n for n in shape]
    noise = rng.standard_normal(coarse_shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma * np.divide(coarse_shape, shape), mode="wrap")
    noise /= noise.std()
    return upsample(noise, shape) if sigma > 3 else noise


def at(point: Sequence[float] | NDArray[np.floating]) -> Volume:
    """Return a point or vector (3, 1, 1, 1) that broadcasts against (3, X, Y, Z)."""
    return np.asarray(point, dtype=np.float32)[:, None, None, None]


def draw_anatomy(rng: np.random.Generator, atlas: Volume, affine: NDArray[np.float64]) -> Anatomy:
    """Return an individual's head with its own pose, size, smooth warp, sulci and ventricles."""
    spacing, shape = float(affine[0, 0]), atlas.shape[1:]
    noise = partial(smooth_noise, rng, shape)
    rotation = Rotation.from_euler("xyz", rng.normal(0, 3, 3).clip(-6, 6), degrees=True).as_matrix()
    matrix = (rotation / rng.normal(1, 0.03, 3).clip(0.94, 1.06)).astype(np.float32)
    shift = rng.normal(0, 2, 3).clip(-4, 4)  # mm
    origin, centre = affine[:3, 3], BRAIN_BOX.mean(axis=0)
    grid = np.indices(shape, dtype=np.float32) * spacing + at(origin - centre - shift)
    # About 3 mm in all: a stronger warp dents the head instead of reshaping it.
    warp = np.stack([1.8 * noise(20 / spacing) for _ in range(3)])
    position = np.tensordot(matrix, grid, axes=1) + at(centre) + warp
    voxel = (position - at(origin)) / spacing
    csf, gm, wm, depth = (ndimage.map_coordinates(channel, voxel, order=1, mode="nearest") for channel in atlas)

    # Sulci (near the surface) and ventricles (deep) widen and narrow independently from person to person.
    sulci, ventricles = rng.uniform(1.6, 3.2), rng.uniform(0.7, 1.9)
    csf *= sulci + (ventricles - sulci) * np.clip((depth - 15) / 15, 0, 1)
    shares = np.stack([csf, gm, wm])
    # Noise is added only where a tissue is possible: else islands of fluid would appear in the white matter.
    shares += np.stack([0.12 * noise(3.5 / spacing) for _ in range(3)]) * (shares > 0.02)
    # A steep softmax is an argmax that leaves partial volume at the borders.
    shares = np.exp((shares - shares.max(axis=0)) / 0.07)
    brain = depth + noise(8 / spacing) > rng.uniform(0, 2)  # some heads are stripped closer than others
    cerebrum = brain & ((position[2] > -12) | (position[1] > -10))
    return Anatomy(shares / shares.sum(axis=0), position, depth, brain, position[0] < 0, cerebrum, spacing)
