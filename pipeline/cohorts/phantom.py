"""A phantom cohort: skull-stripped, T2-like heads with known lesions, for demonstrations without patient data.

The story of one volume: an individual's tissue shares (phantom_anatomy.py) -> T2 signal (`_signal`) -> lesions
(phantom_lesions.py) -> bias field and noise (`_scan`) -> NIfTI files.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pipeline.cohorts.phantom_anatomy import Anatomy, Mask, Volume, draw_anatomy, load_atlas, smooth_noise, upsample
from pipeline.cohorts.phantom_lesions import add_spots, add_stroke, add_tumour
from pipeline.files import write_json


def make_phantom_cohort(
    output: Path, healthy: int, lesioned: int, seed: int = 0, spacing: float = 2.0, workers: int | None = None
) -> Path:
    """Write a phantom cohort and return the path of its datalist.

    Images are int16 in arbitrary units up to about 1000, masks (brain) and labels (lesion) uint8. All volumes
    (X, Y, Z) share one RAS grid. A volume depends only on `seed`, its group and its number.

    Args:
        output: the folder to write to.
        healthy: number of healthy phantoms: the splits `training` and, a fifth of them, `validation`.
        lesioned: number of phantoms with lesions: the split `test`. An empty split is left out.
        seed: the seed of the cohort.
        spacing: side of a voxel, mm.
        workers: number of processes; one for each processor when None.

    Raises:
        ValueError: if a count is negative, if both are 0, or if the spacing is not 1 to 8 mm.
    """
    if healthy < 0 or lesioned < 0:
        raise ValueError(f"counts must not be negative: healthy={healthy}, lesioned={lesioned}")
    if healthy == lesioned == 0:
        raise ValueError("nothing to make: healthy and lesioned are both 0")
    # The atlas has no detail below 1 mm. Above 8 mm no deep white matter is left for lesions.
    if not 1 <= spacing <= 8:
        raise ValueError(f"spacing must be 1 to 8 mm: {spacing}")
    output = Path(output)
    for folder in ("images", "masks", "labels"):
        (output / folder).mkdir(parents=True, exist_ok=True)

    jobs = [("healthy", index) for index in range(healthy)] + [("lesioned", index) for index in range(lesioned)]
    # Forking a process that already runs threads (torch, tqdm) can deadlock, so fresh ones are started.
    with ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(jobs)), get_context("spawn")) as pool:
        made = pool.map(partial(_write_volume, output, seed, spacing), jobs)
        entries = list(tqdm(made, total=len(jobs), desc="phantoms", unit="volume", disable=None))

    trained = healthy - (max(1, round(healthy / 5)) if healthy >= 2 else 0)
    splits = {"training": entries[:trained], "validation": entries[trained:healthy], "test": entries[healthy:]}
    datalist = output / "datalist.json"
    write_json(datalist, {name: split for name, split in splits.items() if split})
    return datalist


@threadpool_limits.wrap(limits=1)  # each core has its own volume, so more threads would only compete
def _write_volume(output: Path, seed: int, spacing: float, job: tuple[str, int]) -> dict[str, str]:
    """Write one volume, and return its datalist entry."""
    group, index = job
    rng = np.random.default_rng([seed, group == "lesioned", index])
    atlas, affine = load_atlas(spacing)
    anatomy = draw_anatomy(rng, atlas, affine)
    signal = _signal(rng, anatomy)
    labels: dict[str, NDArray[np.generic]] = {}
    if group == "lesioned":
        add_lesion = (add_tumour, add_stroke, add_spots)[index % 3]
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


def _signal(rng: np.random.Generator, anatomy: Anatomy) -> Volume:
    """Return the T2 signal (X, Y, Z), at most about 1, before bias and noise."""
    noise = partial(smooth_noise, rng, anatomy.brain.shape)
    means = rng.uniform([0.85, 0.48, 0.33], [1.00, 0.58, 0.42]).astype(np.float32)
    signal = ndimage.gaussian_filter(np.tensordot(means, anatomy.tissues, axes=1), 0.8 / anatomy.spacing)
    return signal + 0.012 * noise(2 / anatomy.spacing) + 0.012 * noise(12 / anatomy.spacing)  # texture in the tissue


def _scan(rng: np.random.Generator, signal: Volume, brain: Mask) -> NDArray[np.int16]:
    """Return the signal as a scanner measures it: bias field, Rician noise, arbitrary units, 0 outside the brain."""
    bias = np.exp(upsample(rng.normal(0, 0.12, (4, 4, 4)).astype(np.float32), signal.shape))
    sd, gain = rng.uniform(0.015, 0.03), rng.uniform(550, 800)
    real, imaginary = sd * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    image = gain * np.hypot(signal * bias + real, imaginary)
    # Brain voxels stay above 0, because readers may take the non-zero voxels as the brain mask.
    return np.where(brain, image.round().clip(1, np.iinfo(np.int16).max), 0).astype(np.int16)
