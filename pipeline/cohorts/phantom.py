"""A phantom cohort: skull-stripped, T2-like heads with known lesions, for demonstrations without patient data.

The story of one volume: population tissue maps (ICBM152) -> an individual's tissue shares (`_anatomy`) -> T2 signal
(`_signal`) -> lesions where the label says so (`_add_tumour`, `_add_stroke`, `_add_spots`) -> bias field and noise
(`_scan`) -> NIfTI files.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import distribution
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits
from tqdm import tqdm

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BRAIN_BOX = np.array([[-72.0, -107.0, -72.0], [72.0, 73.0, 82.0]])  # mm, of the ICBM152 brain
_MARGIN = 18.0  # mm around it, so that large and shifted heads still fit


@dataclass(frozen=True)
class _Anatomy:
    tissues: Volume  # CSF, GM, WM x X x Y x Z, sums to 1
    position: Volume  # 3 x X x Y x Z, where each voxel lies in the atlas, RAS mm
    depth: Volume  # mm below the brain's surface
    brain: Mask
    left: Mask  # left of the midline, which large lesions do not cross
    cerebrum: Mask  # brain without cerebellum and brain stem, which are too small for large lesions
    spacing: float  # mm


def make_phantom_cohort(
    output: Path, healthy: int, lesioned: int, seed: int = 0, spacing: float = 2.0, workers: int | None = None
) -> Path:
    """Write a phantom cohort and return the path of its datalist.

    Images are int16 in arbitrary units up to about 1000, masks (brain) and labels (lesion) uint8, all X x Y x Z on one
    RAS grid of `spacing` mm. Healthy phantoms are the splits `training` and `validation` (a fifth), lesioned ones
    `test`; a split without entries is left out. A volume depends on `seed`, its group and its number only.

    Raises ValueError for a negative count, for no volume at all, and for a spacing outside 1 to 8 mm.
    """
    if healthy < 0 or lesioned < 0:
        raise ValueError(f"counts must not be negative: healthy={healthy}, lesioned={lesioned}")
    if healthy == lesioned == 0:
        raise ValueError("nothing to make: healthy and lesioned are both 0")
    # The atlas has no detail below 1 mm; above 8 mm no deep white matter is left to place lesions in.
    if not 1 <= spacing <= 8:
        raise ValueError(f"spacing must be 1 to 8 mm: {spacing}")
    output = Path(output)
    for folder in ("images", "masks", "labels"):
        (output / folder).mkdir(parents=True, exist_ok=True)

    jobs = [("healthy", index) for index in range(healthy)] + [("lesioned", index) for index in range(lesioned)]
    # Forking a process that already runs threads (torch, tqdm) can deadlock: start fresh ones.
    with ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(jobs)), get_context("spawn")) as pool:
        made = pool.map(partial(_write_volume, output, seed, spacing), jobs)
        entries = list(tqdm(made, total=len(jobs), desc="phantoms", unit="volume", disable=None))

    trained = healthy - (max(1, round(healthy / 5)) if healthy >= 2 else 0)
    splits = {"training": entries[:trained], "validation": entries[trained:healthy], "test": entries[healthy:]}
    datalist, unfinished = output / "datalist.json", output / "datalist.json.tmp"
    unfinished.write_text(json.dumps({name: split for name, split in splits.items() if split}, indent=2) + "\n")
    unfinished.replace(datalist)
    return datalist


@threadpool_limits.wrap(limits=1)  # every core has its own volume: more threads only get in each other's way
def _write_volume(output: Path, seed: int, spacing: float, job: tuple[str, int]) -> dict[str, str]:
    """Make and write one volume, and return its datalist entry."""
    group, index = job
    rng = np.random.default_rng([seed, group == "lesioned", index])
    atlas, affine = _load_atlas(spacing)
    anatomy = _anatomy(rng, atlas, affine)
    signal = _signal(rng, anatomy)
    labels: dict[str, NDArray[np.generic]] = {}
    if group == "lesioned":
        add_lesion = (_add_tumour, _add_stroke, _add_spots)[index % 3]
        signal, label = add_lesion(rng, anatomy, signal)
        labels["label"] = label.astype(np.uint8)
    volumes = {"image": _scan(rng, signal, anatomy.brain), "mask": anatomy.brain.astype(np.uint8)} | labels

    entry = {name: f"{name}s/{group}_{index:03d}.nii.gz" for name in volumes}
    for name, path in entry.items():
        image = nib.Nifti1Image(volumes[name], affine)
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
        nib.save(image, output / path)
    return entry


@lru_cache(maxsize=1)
def _load_atlas(spacing: float) -> tuple[Volume, NDArray[np.float64]]:
    """Read ICBM152 on the output grid, once per process: P(CSF), P(GM), P(WM), signed depth in mm; and its affine."""
    # Importing nilearn takes seconds and is not needed to find the files inside it.
    folder = Path(str(distribution("nilearn").locate_file("nilearn/datasets/data")))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = _BRAIN_BOX[0] - _MARGIN
    shape = tuple(np.ceil((np.ptp(_BRAIN_BOX, axis=0) + 2 * _MARGIN) / spacing).astype(int))

    def load(contrast: str) -> Volume:
        image = nib.Nifti1Image.from_filename(folder / f"mni_icbm152_{contrast}_tal_nlin_sym_09a_converted.nii.gz")
        data = np.asarray(image.dataobj)
        share = (data > 0 if contrast == "t1" else data / 255).astype(np.float32)
        share = ndimage.gaussian_filter(share, 0.3 * (spacing - 1))  # antialiasing
        return ndimage.affine_transform(share, np.linalg.inv(image.affine) @ affine, output_shape=shape, order=1)

    brain, gm, wm = load("t1") > 0.5, load("gm"), load("wm")
    depth = ndimage.distance_transform_edt(brain) - ndimage.distance_transform_edt(~brain)
    # Outside the brain everything counts as CSF: whatever an individual's larger mask takes in there is fluid.
    return np.stack([np.clip(1 - gm - wm, 0, 1), gm, wm, spacing * depth]).astype(np.float32), affine


def _upsample(coarse: Volume, shape: Sequence[int]) -> Volume:
    """Cubic splines along one axis after the other: smooth as `ndimage.zoom`, ten times faster."""
    for axis, size in enumerate(shape):
        knots = np.arange(coarse.shape[axis])
        weights = make_interp_spline(knots, np.eye(len(knots)), k=3)(np.linspace(0, knots[-1], size))
        coarse = np.moveaxis(np.tensordot(weights.astype(np.float32), coarse, axes=(1, axis)), 0, axis)
    return coarse


def _smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> Volume:
    """Gaussian noise of about unit variance, smoothed by `sigma` voxels."""
    # A smooth field needs no fine grid: this is what keeps a volume under a second.
    coarse_shape = [max(4, round(n * 1.5 / sigma)) if sigma > 3 else n for n in shape]
    noise = rng.standard_normal(coarse_shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma * np.divide(coarse_shape, shape), mode="wrap")
    noise /= noise.std()
    return _upsample(noise, shape) if sigma > 3 else noise


def _at(point: Sequence[float] | NDArray[np.floating]) -> Volume:
    """A point or vector that broadcasts against 3 x X x Y x Z."""
    return np.asarray(point, dtype=np.float32)[:, None, None, None]


def _anatomy(rng: np.random.Generator, atlas: Volume, affine: NDArray[np.float64]) -> _Anatomy:
    """Draw an individual's head: pose and size, a smooth warp, sulci and ventricles of its own."""
    spacing, shape = float(affine[0, 0]), atlas.shape[1:]
    noise = partial(_smooth_noise, rng, shape)
    rotation = Rotation.from_euler("xyz", rng.normal(0, 3, 3).clip(-6, 6), degrees=True).as_matrix()
    matrix = (rotation / rng.normal(1, 0.03, 3).clip(0.94, 1.06)).astype(np.float32)
    shift = rng.normal(0, 2, 3).clip(-4, 4)  # mm
    origin, centre = affine[:3, 3], _BRAIN_BOX.mean(axis=0)
    grid = np.indices(shape, dtype=np.float32) * spacing + _at(origin - centre - shift)
    # About 3 mm in all: more dents the head instead of reshaping it.
    warp = np.stack([1.8 * noise(20 / spacing) for _ in range(3)])
    position = np.tensordot(matrix, grid, axes=1) + _at(centre) + warp
    voxel = (position - _at(origin)) / spacing
    csf, gm, wm, depth = (ndimage.map_coordinates(channel, voxel, order=1, mode="nearest") for channel in atlas)

    # Sulci (near the surface) and ventricles (deep) widen and narrow independently from person to person.
    sulci, ventricles = rng.uniform(1.6, 3.2), rng.uniform(0.7, 1.9)
    csf *= sulci + (ventricles - sulci) * np.clip((depth - 15) / 15, 0, 1)
    shares = np.stack([csf, gm, wm])
    # Noise only where a tissue is possible at all, or islands of fluid would appear in the white matter.
    shares += np.stack([0.12 * noise(3.5 / spacing) for _ in range(3)]) * (shares > 0.02)
    # A steep softmax is an argmax that leaves partial volume at the borders.
    shares = np.exp((shares - shares.max(axis=0)) / 0.07)
    brain = depth + noise(8 / spacing) > rng.uniform(0, 2)  # some heads are stripped closer than others
    cerebrum = brain & ((position[2] > -12) | (position[1] > -10))
    return _Anatomy(shares / shares.sum(axis=0), position, depth, brain, position[0] < 0, cerebrum, spacing)


def _signal(rng: np.random.Generator, anatomy: _Anatomy) -> Volume:
    """T2 signal, at most about 1, before bias and noise."""
    noise = partial(_smooth_noise, rng, anatomy.brain.shape)
    means = rng.uniform([0.85, 0.48, 0.33], [1.00, 0.58, 0.42]).astype(np.float32)
    signal = ndimage.gaussian_filter(np.tensordot(means, anatomy.tissues, axes=1), 0.8 / anatomy.spacing)
    return signal + 0.012 * noise(2 / anatomy.spacing) + 0.012 * noise(12 / anatomy.spacing)  # texture in the tissue


def _scan(rng: np.random.Generator, signal: Volume, brain: Mask) -> NDArray[np.int16]:
    """What the scanner makes of the signal: bias field, Rician noise, arbitrary units, zero outside the brain."""
    bias = np.exp(_upsample(rng.normal(0, 0.12, (4, 4, 4)).astype(np.float32), signal.shape))
    sd, gain = rng.uniform(0.015, 0.03), rng.uniform(550, 800)
    real, imaginary = sd * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    image = gain * np.hypot(signal * bias + real, imaginary)
    # Brain voxels stay above 0: readers may take the non-zero voxels as the brain mask.
    return np.where(brain, image.round().clip(1, np.iinfo(np.int16).max), 0).astype(np.int16)


# Lesions: each function returns the changed signal and the label, which is exactly where the signal was changed.


def _pick(rng: np.random.Generator, candidates: Mask) -> tuple[int, int, int]:
    x, y, z = np.unravel_index(rng.choice(np.flatnonzero(candidates)), candidates.shape)
    return int(x), int(y), int(z)


def _ellipsoid(rng: np.random.Generator, anatomy: _Anatomy, centre: tuple[int, int, int]) -> Volume:
    """Distance from a voxel in mm, more along some axes than along others."""
    offset = anatomy.position - _at(anatomy.position[:, *centre])
    return np.linalg.norm(offset * _at(rng.uniform(0.75, 1.3, 3)), axis=0)


def _grow(field: Volume, allowed: Mask, volume: float, spacing: float) -> tuple[Mask, Volume]:
    """The `volume` ml of `allowed` where `field` (mm) is lowest, and how far inside each voxel lies (mm)."""
    candidates = field[allowed]
    count = min(max(round(volume * 1000 / spacing**3), 2), candidates.size)
    border = np.partition(candidates, count - 1)[count - 1]
    return allowed & (field <= border), border - field


def _fade(inside: Volume, edge: float) -> Volume:
    """Weight of a lesion with a smooth edge of `edge` mm; half at its border, as the label ends where it shows."""
    return np.clip(0.5 + 0.5 * inside / edge, 0.5, 1)


def _add_tumour(rng: np.random.Generator, anatomy: _Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """An irregular, heterogeneous core with a rim and often necrosis, and an oedema that follows the white matter."""
    spacing, (csf, _, wm), noise = anatomy.spacing, anatomy.tissues, partial(_smooth_noise, rng, signal.shape)
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


def _add_stroke(rng: np.random.Generator, anatomy: _Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """A bright wedge from the white matter to the cortex, like a vessel's territory."""
    spacing, csf = anatomy.spacing, anatomy.tissues[0]
    cortex = _pick(rng, anatomy.cerebrum & (anatomy.depth > 1) & (anatomy.depth < 9) & (csf < 0.3))
    top = anatomy.position[:, *cortex]
    outwards = top - [30 * np.sign(top[0]), -15, 15]  # from the middle of the hemisphere
    length = np.linalg.norm(outwards)
    offset = anatomy.position - _at(top - outwards * min(1, 45 / length))  # from the wedge's apex
    along = np.tensordot(outwards / length, offset, axes=1)
    across = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
    wedge = across - 0.7 * along + 3 * np.maximum(-along, 0) + 3 * _smooth_noise(rng, signal.shape, 6 / spacing)
    volume = np.exp(rng.uniform(np.log(5), np.log(40)))  # ml
    side = anatomy.brain & (anatomy.left == anatomy.left[cortex])
    region, inside = _grow(wedge, side & (csf < 0.3), volume, spacing)
    bright = signal + rng.uniform(0.09, 0.40) * _fade(inside, 4) * (1 - csf)
    return np.where(region, bright, signal).astype(np.float32), region


def _add_spots(rng: np.random.Generator, anatomy: _Anatomy, signal: Volume) -> tuple[Volume, Mask]:
    """Several small bright spots in the white matter."""
    spacing, wm, label = anatomy.spacing, anatomy.tissues[2], np.zeros(signal.shape, dtype=bool)
    irregularity = 0.6 * _smooth_noise(rng, signal.shape, 2 / spacing)
    for _ in range(rng.integers(3, 10)):
        free = anatomy.cerebrum & (anatomy.depth > 6) & (wm > 0.5) & ~label
        field = _ellipsoid(rng, anatomy, _pick(rng, free & (wm > 0.9))) + irregularity
        volume = np.exp(rng.uniform(np.log(0.03), np.log(0.3)))  # ml
        region, inside = _grow(field, free, volume, spacing)
        signal = np.where(region, signal + rng.uniform(0.12, 0.45) * _fade(inside, 1.5), signal).astype(np.float32)
        label = label | region
    return signal, label
