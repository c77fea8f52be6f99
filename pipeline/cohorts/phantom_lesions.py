"""Lesions of a phantom. Each function returns the changed signal, and the label of exactly the voxels it changed."""

from functools import partial

import numpy as np
from scipy import ndimage

from pipeline.cohorts.phantom_anatomy import Anatomy, Mask, Volume, at, smooth_noise


def _pick(rng: np.random.Generator, candidates: Mask) -> tuple[int, int, int]:
    """Return a random voxel of a mask (X, Y, Z)."""
    x, y, z = np.unravel_index(rng.choice(np.flatnonzero(candidates)), candidates.shape)
    return int(x), int(y), int(z)


def _ellipsoid(rng: np.random.Generator, anatomy: Anatomy, centre: tuple[int, int, int]) -> Volume:
    """Return the distance of each voxel from a centre (X, Y, Z), mm, stretched differently along each axis."""
    offset = anatomy.position - at(anatomy.position[:, *centre])
    return np.linalg.norm(offset * at(rng.uniform(0.75, 1.3, 3)), axis=0)


def _grow(field: Volume, allowed: Mask, volume: float, spacing: float) -> tuple[Mask, Volume]:
    """Return the `volume` ml of `allowed` where `field` (mm) is lowest, and how far inside each voxel lies (mm)."""
    candidates = field[allowed]
    count = min(max(round(volume * 1000 / spacing**3), 2), candidates.size)
    border = np.partition(candidates, count - 1)[count - 1]
    return allowed & (field <= border), border - field


def _fade(inside: Volume, edge: float) -> Volume:
    """Return the weight of a lesion with a smooth edge of `edge` mm.

    The weight is one half at the border, so that a lesion is visible up to the end of its label.
    """
    return np.clip(0.5 + 0.5 * inside / edge, 0.5, 1)


def add_tumour(rng: np.random.Generator, anatomy: Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """Add an irregular core with a rim and often necrosis, and an oedema that follows the white matter."""
    spacing, (csf, _, wm), noise = anatomy.spacing, anatomy.tissues, partial(smooth_noise, rng, signal.shape)
    off_midline = np.abs(anatomy.position[0]) > 16
    centre = _pick(rng, anatomy.cerebrum & (anatomy.depth > 14) & (csf < 0.3) & off_midline)
    total, core_share = np.exp(rng.uniform(np.log(9), np.log(40))), rng.uniform(0.25, 0.6)  # ml
    side = anatomy.brain & (anatomy.left == anatomy.left[centre])

    field = _ellipsoid(rng, anatomy, centre) + 2.5 * noise(6 / spacing)
    core, inside = _grow(field, side, total * core_share, spacing)
    inwards = inside / inside[core].max() + 0.12 * noise(3 / spacing)  # 0 at the border, 1 in the middle
    target = rng.uniform(0.5, 0.85) + 0.07 * noise(3 / spacing)
    target = np.where(inwards < 0.2, rng.uniform(0.3, 0.6), target)
    if rng.random() < 0.6:
        target = np.where(inwards > rng.uniform(0.4, 0.6), rng.uniform(0.8, 1.0), target)
    target = ndimage.gaussian_filter(target, 0.8 / spacing)

    field = ndimage.distance_transform_edt(~core, sampling=spacing) - 10 * wm + 2 * noise(6 / spacing)
    oedema, inside = _grow(field, side & ~core & (wm > 0.2), total * (1 - core_share), spacing)
    swollen = signal + rng.uniform(0.12, 0.40) * _fade(inside, 5) * (0.5 + 0.5 * wm)
    return np.select([core, oedema], [target, swollen], signal).astype(np.float32), core | oedema


def _territory(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Mask, Volume]:
    """Return a wedge from the white matter to the cortex, like a vessel's territory, and how far inside each voxel lies
    (mm)."""
    spacing, csf = anatomy.spacing, anatomy.tissues[0]
    cortex = _pick(rng, anatomy.cerebrum & (anatomy.depth > 1) & (anatomy.depth < 9) & (csf < 0.3))
    top = anatomy.position[:, *cortex]
    outwards = top - [30 * np.sign(top[0]), -15, 15]  # from the middle of the hemisphere
    length = np.linalg.norm(outwards)
    offset = anatomy.position - at(top - outwards * min(1, 45 / length))  # from the wedge's apex
    along = np.tensordot(outwards / length, offset, axes=1)
    across = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
    wedge = across - 0.7 * along + 3 * np.maximum(-along, 0) + 3 * smooth_noise(rng, anatomy.brain.shape, 6 / spacing)
    volume = np.exp(rng.uniform(np.log(5), np.log(40)))  # ml
    side = anatomy.brain & (anatomy.left == anatomy.left[cortex])
    return _grow(wedge, side & (csf < 0.3), volume, spacing)


def add_stroke(rng: np.random.Generator, anatomy: Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """Add a stroke of some days: its territory is brighter, as in T2."""
    region, inside = _territory(rng, anatomy)
    bright = signal + rng.uniform(0.09, 0.40) * _fade(inside, 4) * (1 - anatomy.tissues[0])
    return np.where(region, bright, signal).astype(np.float32), region


def fluid_of(anatomy: Anatomy, signal: Volume) -> float:
    """Return the signal of fluid inside the brain, away from its surface."""
    return float(np.median(signal[anatomy.brain & (anatomy.depth > 3) & (anatomy.tissues[0] > 0.9)]))


def add_old_stroke(rng: np.random.Generator, anatomy: Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """Add a stroke of years: fluid fills its territory, as bright or dark as the fluid of this head."""
    region, inside = _territory(rng, anatomy)
    weight = _fade(inside, 3)
    filled = weight * fluid_of(anatomy, signal) + (1 - weight) * signal
    return np.where(region, filled, signal).astype(np.float32), region


def add_spots(rng: np.random.Generator, anatomy: Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """Add several small bright spots in the white matter."""
    spacing, wm, label = anatomy.spacing, anatomy.tissues[2], np.zeros(signal.shape, dtype=bool)
    irregularity = 0.6 * smooth_noise(rng, signal.shape, 2 / spacing)
    for _ in range(rng.integers(3, 10)):
        free = anatomy.cerebrum & (anatomy.depth > 6) & (wm > 0.5) & ~label
        field = _ellipsoid(rng, anatomy, _pick(rng, free & (wm > 0.9))) + irregularity
        volume = np.exp(rng.uniform(np.log(0.03), np.log(0.3)))  # ml
        region, inside = _grow(field, free, volume, spacing)
        signal = np.where(region, signal + rng.uniform(0.12, 0.45) * _fade(inside, 1.5), signal).astype(np.float32)
        label = label | region
    return signal, label
