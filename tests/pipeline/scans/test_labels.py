"""Labels: one reader that takes, cuts, warns or refuses, and says why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import ball, save_scan

from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.scans.labels import read_label

BRAIN = ball() > 0


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Entry((str(save_scan(tmp_path / "scan.nii.gz", ball())),))


def labelled(entry: Entry, voxels: np.ndarray) -> Entry:
    file = Path(entry.images[0]).with_name("lesion.nii.gz")
    return replace(entry, label=str(save_scan(file, voxels.astype(np.float32))))


def lesion() -> np.ndarray:
    label = np.zeros(BRAIN.shape, np.float32)
    label[16:22, 20:28, 14:20] = 1
    return label


def test_a_floor_and_rounding_change_nothing(entry: Entry) -> None:
    for voxels in (lesion(), lesion() + 1e-6, lesion() * 1.0000458, lesion() + 1):
        label = read_label(labelled(entry, voxels), BRAIN)
        assert np.array_equal(label.voxels, lesion() > 0)
        assert label.warnings == ()


def test_a_soft_label_is_cut_and_the_file_and_both_volumes_are_told(entry: Entry) -> None:
    soft = lesion()
    soft[15, 20:28, 14:20] = 0.3
    label = read_label(labelled(entry, soft), BRAIN)
    assert np.array_equal(label.voxels, lesion() > 0)
    (warning,) = label.warnings
    voxel = 0.064
    assert "lesion.nii.gz" in warning
    assert f"{(288 + 48) * voxel:.4g} ml are above 0, and {288 * voxel:.4g} ml are used" in warning


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        pytest.param(np.ones(BRAIN.shape), "covers the whole file", id="the whole file"),
        pytest.param(BRAIN, "covers 100% of the brain", id="the brain"),
        pytest.param(~BRAIN, "100% outside the brain", id="air"),
    ],
)
def test_a_label_that_is_no_lesions_is_named(entry: Entry, voxels: np.ndarray, words: str) -> None:
    (warning,) = read_label(labelled(entry, voxels), BRAIN).warnings
    assert words in warning
    assert "lesion.nii.gz" in warning


def test_nan_is_refused_by_the_files_name(entry: Entry) -> None:
    voxels = lesion()
    voxels[18, 22, 16] = np.nan
    with pytest.raises(ScanError, match=r"label lesion\.nii\.gz: 1 of its values are not finite"):
        read_label(labelled(entry, voxels), BRAIN)


def test_an_empty_label_is_no_lesion(entry: Entry) -> None:
    label = read_label(labelled(entry, 0 * lesion()), BRAIN)
    assert not label.voxels.any()
    assert label.warnings == ()
