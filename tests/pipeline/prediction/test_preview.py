"""Pictures show the right slices the right way round, in the right proportions and colours."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.nifti import upright
from pipeline.prediction.colours import COLOURS, CONTOUR, OPACITY
from pipeline.prediction.preview import _spread, draw_preview, write_preview
from pipeline.scoring.scan_scores import ScanScores
from transforms import SLICE_AXES

RAS = np.diag([4.0, 4.0, 4.0, 1.0])
LAS = np.diag([-4.0, 4.0, 4.0, 1.0])
PSR = np.array([[0, 0, 4.0, 0], [-4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])


def scores_of(voxels: np.ndarray, axis: int = 2, slice_axis: str = "axial") -> ScanScores:
    n = voxels.shape[axis]
    highest = np.moveaxis(voxels, axis, 0).max((1, 2))
    slices = pd.DataFrame({"index": np.arange(n), "position_mm": 4.0 * np.arange(n), "max_recommended": highest})
    return ScanScores({"recommended": voxels}, voxels, np.ones(voxels.shape, bool), slices, slice_axis, axis, [])


def stored_as(ras: np.ndarray, affine: np.ndarray) -> nib.nifti1.Nifti1Image:
    """Return a volume given in RAS as an image whose axes are those of an affine."""
    here, there = (nib.orientations.io_orientation(a) for a in (RAS, affine))
    return nib.nifti1.Nifti1Image(ras, RAS).as_reoriented(nib.orientations.ornt_transform(here, there))


def overlay_of(scan: nib.nifti1.Nifti1Image, scores: ScanScores, surprise: np.ndarray | None = None) -> np.ndarray:
    """Return the most surprising slice's overlay, (height, width, 3)."""
    return np.asarray(draw_preview(scan, scores, surprise).overlay)


def axis_of(affine: np.ndarray, slice_axis: str) -> int:
    """Return the scan's own axis that the slices are counted along."""
    return int(np.flatnonzero(nib.orientations.io_orientation(affine)[:, 0] == SLICE_AXES[slice_axis])[0])


@pytest.mark.parametrize("affine", [RAS, LAS, PSR], ids=["RAS", "LAS", "PSR"])
def test_the_patients_right_is_at_the_pictures_left(affine: np.ndarray) -> None:
    # One bright block at the patient's front right (high x, high y), in a single axial slice.
    ras = np.zeros((20, 20, 12), np.float32)
    ras[14:18, 13:17, 5] = 1
    scan = stored_as(ras, affine)
    axis = axis_of(scan.affine, "axial")
    voxels = np.asarray(scan.dataobj)
    panel = overlay_of(scan, scores_of(voxels, axis), np.zeros_like(voxels)).astype(int)
    # Letters are at mid-height.
    height, width = panel.shape[:2]
    rows, columns = np.nonzero(panel[: height // 3].sum(2) > 600)
    assert len(rows) > 100
    assert columns.mean() < width / 2
    index = int(np.argmax(np.moveaxis(voxels, axis, 0).max((1, 2))))
    np.testing.assert_array_equal(upright(voxels, scan.affine, axis, index), ras[::-1, ::-1, 5].T)


@pytest.mark.parametrize(("slice_axis", "spacing", "wide"), [("axial", (1, 1, 6), 1.0), ("coronal", (1, 1, 6), 0.25)])
def test_voxels_keep_their_proportions(slice_axis: str, spacing: tuple[float, float, float], wide: float) -> None:
    # 24 x 24 x 16 voxels of 1 x 1 x 6 mm: 24 x 24 mm axially, 24 x 96 mm coronally.
    voxels = np.random.default_rng(0).random((24, 24, 16)).astype(np.float32)
    scan = nib.nifti1.Nifti1Image(voxels, np.diag([*map(float, spacing), 1.0]))
    scores = scores_of(voxels, axis_of(scan.affine, slice_axis), slice_axis)
    panel = overlay_of(scan, scores, np.full_like(voxels, 4)).astype(int)
    rows, columns = np.nonzero(np.abs(panel - OPACITY * COLOURS[-1, 1:4]).max(2) < 60)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(wide, rel=0.05)


def test_colours_have_a_fixed_range() -> None:
    # Halves of a black scan: a surprise of 1 is not seen, 4 has the last colour, and 40 no other.
    voxels = np.zeros((20, 20, 1), np.float32)
    scan = nib.nifti1.Nifti1Image(voxels, RAS)
    panels = []
    for highest in (4.0, 40.0):
        surprise = np.ones_like(voxels)
        surprise[:10] = highest  # the patient's left, at the right
        panels.append(overlay_of(scan, scores_of(voxels), surprise).astype(int))
    height, width = panels[0].shape[:2]
    quarter = height // 4
    assert (panels[0][quarter, width // 4] == 0).all()
    np.testing.assert_allclose(panels[0][quarter, 3 * width // 4], OPACITY * COLOURS[-1, 1:4], atol=2)
    np.testing.assert_array_equal(panels[0][quarter, 3 * width // 4], panels[1][quarter, 3 * width // 4])


def test_the_mask_has_a_contour_and_the_reconstruction_ends_there() -> None:
    voxels = np.full((20, 20, 1), 100, np.float32)
    mask = np.zeros(voxels.shape, bool)
    mask[5:15, 5:15] = True
    scores = replace(scores_of(voxels), mask=mask)
    panel = overlay_of(nib.nifti1.Nifti1Image(voxels, RAS), scores, np.zeros_like(voxels))
    rows, columns = np.nonzero((panel == CONTOUR).all(2))
    size = panel.shape[0]
    assert np.array([rows.min(), rows.max(), columns.min(), columns.max()]) == pytest.approx(
        np.array([1, 3, 1, 3]) * size / 4, abs=0.03 * size
    )
    inside = (rows > 0.3 * size) & (rows < 0.7 * size) & (columns > 0.3 * size) & (columns < 0.7 * size)
    assert not inside.any()


def test_the_thumbnail_is_the_overlay_of_the_most_surprising_slice(tmp_path: Path) -> None:
    # A grey scan whose slice 5 alone is surprising, and the only one in colour.
    voxels = np.random.default_rng(0).random((20, 20, 9)).astype(np.float32)
    surprise = np.zeros_like(voxels)
    surprise[5:15, 5:15, 5] = 3
    scores = scores_of(voxels)
    scores.slices["max_recommended"] = surprise.max((0, 1))
    write_preview(tmp_path, "p", nib.nifti1.Nifti1Image(voxels, RAS), scores, surprise)
    assert (tmp_path / "p_thumbnail.jpg").stat().st_size < 8000
    with Image.open(tmp_path / "p_thumbnail.jpg") as thumbnail:
        assert max(thumbnail.size) == 96
        pixels = np.asarray(thumbnail.convert("RGB")).astype(int)
    coloured = (pixels[..., 0] - pixels[..., 2]) > 60
    assert coloured.mean() == pytest.approx(0.25, abs=0.08)


def test_the_slices_shown_are_the_highest_but_not_neighbours() -> None:
    positions = np.arange(0.0, 120.0, 2.0)
    slices = pd.DataFrame({"position_mm": positions, "max_recommended": np.exp(-((positions - 40) ** 2) / 200)})
    shown = _spread(slices)
    assert 40.0 in shown["position_mm"].tolist()
    assert (np.diff(shown["position_mm"]) >= np.ptp(positions) / 12).all()
    assert len(shown) == 5


@pytest.mark.parametrize("shape", [(20, 20, 1), (24, 30, 2), (300, 260, 40), (3, 90, 7), (90, 3, 1)])
def test_any_shape_makes_a_picture_for_a_screen(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)
    write_preview(tmp_path, "p", nib.nifti1.Nifti1Image(voxels, RAS), scores_of(voxels), 4 * voxels)
    with Image.open(tmp_path / "p_preview.png") as picture, Image.open(tmp_path / "p_thumbnail.jpg") as thumbnail:
        assert 600 <= picture.width <= 1500
        assert picture.height <= 1200
        assert 0 < thumbnail.width <= picture.width
        assert 0 < thumbnail.height <= picture.height


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 7, -7, 65535, np.nan, np.inf])
@pytest.mark.parametrize("calibrated", [True, False])
def test_a_scan_of_one_value_is_shown(tmp_path: Path, value: float, calibrated: bool) -> None:
    voxels = np.full((20, 20, 3), value, np.float32)
    scores = scores_of(np.zeros(voxels.shape, np.float32))
    surprise = np.zeros(voxels.shape, np.float32) if calibrated else None
    scan = nib.nifti1.Nifti1Image(voxels, RAS)
    write_preview(tmp_path, "p", scan, scores, surprise)
    panel = overlay_of(scan, scores, surprise)
    assert (panel[::9, ::9].max(2) == panel[::9, ::9].min(2)).all()  # nothing is coloured


def test_the_files_name_no_program_and_no_patient(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((20, 20, 1)).astype(np.float32)
    scan = nib.nifti1.Nifti1Image(voxels, RAS)
    scan.header["descrip"] = b"DOE JANE"
    write_preview(tmp_path, "p", scan, scores_of(voxels))
    with Image.open(tmp_path / "p_preview.png") as picture:
        assert not picture.info
    with Image.open(tmp_path / "p_thumbnail.jpg") as picture:
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
