"""Small scans and settings that several tests use."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from pipeline.cohorts import Entry

SMALL = ("epochs=2", "features=[4,4,8,8]", "latent_channels=8", "val_interval=1", "checkpoint_interval=1")
"""Settings of a network that trains in a second."""


def save_scan(file: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write voxels (X, Y, Z) as NIfTI, 4 mm RAS unless an affine is given, and return the file."""
    image = nib.nifti1.Nifti1Image(voxels, np.diag([4.0, 4.0, 4.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, file)
    return file


def ball(shape: tuple[int, int, int] = (40, 48, 36), radius: float = 16.0, seed: int = 0) -> np.ndarray:
    """Return a brain-like ball of noisy tissue (X, Y, Z) in int16, zero outside."""
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"))
    inside = np.linalg.norm(grid, axis=0) <= radius
    noise = np.random.default_rng(seed).normal(400, 60, shape)
    return np.where(inside, np.clip(noise, 100, None), 0).astype(np.int16)


def write_datalist(file: Path, splits: Mapping[str, Sequence[Entry]]) -> Path:
    """Write splits as a datalist, and return its file."""
    file.write_text(json.dumps({split: [entry.item() for entry in entries] for split, entries in splits.items()}))
    return file


def phantom_head() -> tuple[nib.nifti1.Nifti1Image, np.ndarray]:
    """Return a T1-like head of 3 mm, and its brain (X, Y, Z): the MNI152 brain in fluid, dark bone and bright scalp."""
    template = load_mni152_template(resolution=3)
    voxels = np.pad(template.get_fdata(), 8)
    affine = template.affine.copy()
    affine[:3, 3] -= 8 * 3
    brain = ndimage.binary_fill_holes(voxels > 0.1)
    distance = ndimage.distance_transform_edt(~brain, sampling=3)  # mm
    for end, start, level in ((17, 9, 0.95), (9, 4, 0.05), (4, 0, 0.15)):
        voxels[(distance > start) & (distance <= end)] = level
    noise = np.random.default_rng(0).normal(0, 0.02, voxels.shape)
    head = 1000 * np.abs(ndimage.gaussian_filter(voxels, 0.5) + noise)
    return nib.nifti1.Nifti1Image(head.astype(np.float32), affine), brain
