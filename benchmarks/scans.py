"""Scans for the benchmarks: brain-like volumes of any shape that are written quickly."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from pipeline.nifti import write


def write_scans(folder: Path, number: int, shape: tuple[int, int, int], spacing: float = 1.0) -> list[Path]:
    """Write distinct skull-stripped scans (X, Y, Z) of a spacing in mm, and return their files."""
    random = np.random.default_rng(0)
    tissue = ndimage.zoom(random.normal(400, 120, [n // 8 + 2 for n in shape]), 8, order=1)[tuple(map(slice, shape))]
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    brain = sum((axis / reach) ** 2 for axis, reach in zip(axes, (0.6, 0.75, 0.85), strict=True)) < 1
    scan = np.where(brain, np.clip(tissue + random.normal(0, 25, shape), 50, 1000), 0).astype(np.int16)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * np.asarray(shape) / 2
    files = []
    for i in range(number):
        scan[tuple(n // 2 for n in shape)] = i  # no two scans may have the same contents
        files.append(folder / f"scan_{i:03d}.nii.gz")
        write(nib.nifti1.Nifti1Image(scan, affine), files[-1])
    return files


def write_datalist(folder: Path, number: int, shape: tuple[int, int, int], spacing: float = 1.0) -> Path:
    """Write scans and their datalist: all for training, two for validation."""
    files = [file.name for file in write_scans(folder, number + 2, shape, spacing)]
    datalist = folder / "datalist.json"
    entries = [{"image": name} for name in files]
    datalist.write_text(json.dumps({"training": entries[2:], "validation": entries[:2]}))
    return datalist
