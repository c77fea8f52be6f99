"""Pictures show the right slices the right way round."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from pipeline.pictures import _spread, write_preview
from pipeline.scoring import ScanScores

RAS = np.diag([4.0, 4.0, 4.0, 1.0])
LAS = np.diag([-4.0, 4.0, 4.0, 1.0])
PSR = np.array([[0, 0, 4.0, 0], [-4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])


def scores_of(voxels: np.ndarray, axis: int) -> ScanScores:
    n = voxels.shape[axis]
    highest = np.moveaxis(voxels, axis, 0).max((1, 2))
    slices = pd.DataFrame({"index": np.arange(n), "position_mm": 4.0 * np.arange(n), "max_recommended": highest})
    return ScanScores({"recommended": voxels}, voxels, np.ones(voxels.shape, bool), slices, "axial", axis, [])


@pytest.mark.parametrize("affine", [RAS, LAS, PSR], ids=["RAS", "LAS", "PSR"])
def test_the_patients_right_is_at_the_pictures_left(tmp_path: Path, affine: np.ndarray) -> None:
    # One bright voxel at the patient's front right, in a volume given in RAS and stored as `affine` says.
    ras = np.zeros((20, 20, 3), np.float32)
    ras[16:19, 16:19, 1] = 1
    stored = nib.nifti1.Nifti1Image(ras, np.diag([4.0, 4.0, 4.0, 1.0])).as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(np.eye(4)), nib.orientations.io_orientation(affine)
        )
    )
    axis = int(np.flatnonzero(nib.orientations.io_orientation(stored.affine)[:, 0] == 2)[0])
    voxels = np.asarray(stored.dataobj)
    scores = scores_of(voxels, axis)
    write_preview(tmp_path / "p.png", stored, ScanScores(**{**vars(scores), "slices": scores.slices.iloc[[1]]}))
    picture = imread(tmp_path / "p.png")[..., :3].sum(2)
    top = picture[: picture.shape[0] // 3]
    shown = np.argwhere(top > 2.9)
    panel = np.argwhere(top >= 0)  # the panel is centred in the picture
    left = shown[:, 1] < panel[:, 1].max() / 2
    front = shown[:, 0] < panel[:, 0].max() * 0.6
    assert (left & front).mean() > 0.5


def test_the_slices_shown_are_the_highest_but_not_neighbours() -> None:
    positions = np.arange(0.0, 120.0, 2.0)
    slices = pd.DataFrame({"position_mm": positions, "max_recommended": np.exp(-((positions - 40) ** 2) / 200)})
    shown = _spread(slices)
    assert 40.0 in shown["position_mm"].tolist()
    assert (np.diff(shown["position_mm"]) >= np.ptp(positions) / 12).all()
    assert len(shown) == 5


def test_one_slice_is_shown_alone(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((20, 20, 1)).astype(np.float32)
    write_preview(tmp_path / "p.png", nib.nifti1.Nifti1Image(voxels, RAS), scores_of(voxels, 2))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
