"""Tests of the picture of a refused brain mask."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pipeline.prediction.colours import CONTOUR
from pipeline.prediction.outline import SIDE, write_outline


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_the_outline_lies_where_the_mask_ends(axes: str, tmp_path: Path) -> None:
    voxels = np.zeros((60, 50, 40), np.float32)
    mask = np.zeros(voxels.shape, bool)
    mask[20:40, 10:40, 10:30] = True
    voxels[5:55, 5:45, 5:35] = 100
    order = nib.orientations.axcodes2ornt(tuple(axes))
    scan = nib.nifti1.Nifti1Image(voxels, np.diag([3.0, 4.0, 5.0, 1.0])).as_reoriented(order)
    drawn = nib.nifti1.Nifti1Image(mask.astype(np.uint8), np.diag([3.0, 4.0, 5.0, 1.0])).as_reoriented(order)
    write_outline(tmp_path / "a.png", scan, np.asarray(drawn.dataobj) > 0)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (SIDE, 3 * SIDE, 3)
    for panel, (width, height) in enumerate([(120, 100), (60, 100), (60, 120)]):
        line = (picture[:, panel * SIDE : (panel + 1) * SIDE] == CONTOUR).all(2)
        rows, columns = np.nonzero(line)
        assert np.ptp(columns) + 1 == pytest.approx(width * SIDE / 200, abs=1)  # the longest side has 200 mm
        assert np.ptp(rows) + 1 == pytest.approx(height * SIDE / 200, abs=1)


def test_an_empty_mask_shows_the_scan_alone(tmp_path: Path) -> None:
    scan = nib.nifti1.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)), np.diag([9.0, 9.0, 9.0, 1.0]))
    write_outline(tmp_path / "a.png", scan, np.zeros((20, 20, 20), bool))
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.max() > 200
    assert not (picture == CONTOUR).all(2).any()
