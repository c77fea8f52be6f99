"""The whole way on real scans: volumes stored P, S, R at 2 mm, single slices with lesions, a patient in MNI space."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import SMALL, write_datalist

from pipeline.cohorts.datalist import read_datalist
from pipeline.evaluation.run import evaluate
from pipeline.prediction.predicting import predict
from pipeline.training.run import train
from transforms import BrainMask


def few(datalist: Path, folder: Path, **numbers: int) -> Path:
    """Write a datalist of the first scans of some splits."""
    splits = read_datalist(datalist)
    return write_datalist(
        folder / "datalist.json", {split: splits[split][:number] for split, number in numbers.items()}
    )


def test_healthy_volumes_go_the_whole_way_on_their_own_grid(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    datalist = few(real_data("ixi_t1"), tmp_path, training=2, validation=1)
    run = train(datalist, tmp_path / "run", settings=SMALL, device="cpu")
    (entry,) = read_datalist(datalist)["validation"]
    (result,) = predict(run, [entry.images[0]], tmp_path / "out", [str(entry.mask)], device="cpu")
    scan = nib.nifti1.Nifti1Image.from_filename(entry.images[0])
    assert nib.orientations.aff2axcodes(scan.affine) == ("P", "S", "R")
    for name in ("combined", "rec", "kl", "recommended", "image"):
        image = nib.nifti1.Nifti1Image.from_filename(tmp_path / "out" / result.case / f"{result.case}_{name}.nii.gz")
        assert image.shape == scan.shape
        assert np.array_equal(image.affine, scan.affine)
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert image.header[field] == scan.header[field]


def test_single_slices_with_lesions_are_evaluated(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    datalist = few(real_data("soop_flair"), tmp_path, training=20, tune=40)
    run = train(datalist, tmp_path / "run", settings=SMALL, device="cpu")
    metrics = evaluate(run, datalist, tmp_path / "evaluation", split="tune", device="cpu")
    assert metrics.cases == 40
    assert 0 < metrics.baselines["intensity"].ap < 1


@pytest.mark.parametrize(("name", "stripped"), [("ixi_t1", False), ("soop_flair", True), ("ms_mni", True)])
def test_scans_with_and_without_skull_are_told_apart(
    real_data: Callable[[str], Path], name: str, stripped: bool
) -> None:
    entries = [entry for entries in read_datalist(real_data(name)).values() for entry in entries][:20]
    for entry in entries:
        scan = nib.nifti1.Nifti1Image.from_filename(entry.images[0])
        spacing = np.asarray(scan.header.get_zooms()[:3])
        assert BrainMask().is_stripped(np.asarray(scan.dataobj), spacing) is stripped, entry.images[0]
