"""What a coil's shading does to healthy scans, and how much of it N4 takes out: of the field, and in a model's maps.

    python -m benchmarks.bias_field --model RUN --data DATALIST --split validation --scans 12

A field of +-30 % is planted in healthy scans: evenly from left to right, or around a coil on the right side. The first
table compares the planted field with what N4 finds in the shaded scan beyond what it finds in the scan as it is. The
second table has the share of the brain, in percent, that the model marks.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from pipeline.cohorts import Entry, read_datalist
from pipeline.scans import Case
from pipeline.scoring import Predictor, open_predictor
from transforms import CorrectBiasField

AS_IT_IS = "as it is"
FIELDS = ("left to right", "coil")


def planted_field(brain: np.ndarray, affine: np.ndarray, kind: str, strength: float = 0.3) -> np.ndarray:
    """Return a smooth field (X, Y, Z) with mean 1 in the brain, and ends there as 1 - strength to 1 + strength."""
    world = np.stack(np.meshgrid(*map(np.arange, brain.shape), indexing="ij"), -1) @ affine[:3, :3].T
    low, high = world[brain].min(0), world[brain].max(0)
    right, front, top = np.moveaxis(np.clip((2 * world - low - high) / (high - low), -1.2, 1.2), -1, 0)
    if kind == "left to right":
        field = 1 + strength * right
    else:  # the signal falls with the square of the distance from a coil beside the head
        logarithm = -np.log1p(((right - 2) ** 2 + 0.8 * front**2 + 0.8 * top**2) / 2)
        field = np.exp(logarithm * np.log((1 + strength) / (1 - strength)) / np.ptp(logarithm[brain]))
    shading: np.ndarray = field / field[brain].mean()
    return shading


def corrected(voxels: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a scan (X, Y, Z) after N4, and the seconds of processor time that it took."""
    image = MetaTensor(torch.from_numpy(voxels[None]), affine=torch.from_numpy(affine))
    start = time.process_time()
    result, warning = CorrectBiasField()(image, torch.from_numpy(brain[None].astype(np.float32)))
    assert warning is None, warning
    return result[0].numpy(), time.process_time() - start


def versions_of(entry: Entry) -> tuple[dict[str, np.ndarray], np.ndarray, list[dict[str, float | str]]]:
    """Return a scan as it is, shaded and after N4, each by its name; its affine; a row of the first table per field."""
    assert entry.mask is not None
    scan, mask = (nib.nifti1.Nifti1Image.from_filename(file) for file in (entry.images[0], entry.mask))
    voxels, brain, affine = np.asarray(scan.dataobj, dtype=np.float32), np.asarray(mask.dataobj) > 0, scan.affine
    versions, rows = {AS_IT_IS: voxels}, []
    versions[f"{AS_IT_IS}, N4"], _ = corrected(voxels, brain, affine)
    tissue = brain & (voxels > 0)
    own = np.log(voxels[tissue] / versions[f"{AS_IT_IS}, N4"][tissue])  # the scanner's own field
    for kind in FIELDS:
        field = planted_field(brain, affine, kind)
        versions[kind] = (voxels * field).astype(np.float32)
        versions[f"{kind}, N4"], seconds = corrected(versions[kind], brain, affine)
        planted = np.log(field[tissue])
        found = np.log(versions[kind][tissue] / versions[f"{kind}, N4"][tissue]) - own
        correlation, left = np.corrcoef(planted, found)[0, 1], (planted - found).std() / planted.std()
        rows.append({"field": kind, "seconds": seconds, "correlation": correlation, "left": left})
    return versions, affine, rows


def share_marked(predictor: Predictor, entry: Entry, voxels: np.ndarray, affine: np.ndarray) -> float:
    """Return the share of a scan's brain that is marked, percent."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scan.nii"
        nib.save(nib.nifti1.Nifti1Image(voxels, affine), file)
        prediction = predictor(predictor.read(Case("scan", Entry((str(file),), mask=entry.mask))))
    assert prediction.findings is not None
    return 100 * float(prediction.findings.anomalies.sum() / prediction.scores.mask.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="without a model there is no second table")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--scans", type=int, default=12, help="so many of the split, evenly spaced")
    parser.add_argument("--fpr", type=float, default=0.003)
    options = parser.parse_args()
    torch.set_num_threads(1)
    entries = read_datalist(options.data)[options.split]
    predictor = open_predictor(options.model, "cpu", fpr=options.fpr) if options.model else None
    fits, shares = [], []
    for entry in tqdm(entries[:: max(1, len(entries) // options.scans)][: options.scans], unit="scan", disable=None):
        versions, affine, rows = versions_of(entry)
        fits += rows
        if predictor is not None:
            shares.append({name: share_marked(predictor, entry, scan, affine) for name, scan in versions.items()})
    print(pd.DataFrame(fits).groupby("field").agg(["mean", "max"]).round(3).to_string())
    if shares:
        print(pd.DataFrame(shares).agg(["mean", "median", "max"]).round(2).T.to_string())


if __name__ == "__main__":
    main()
