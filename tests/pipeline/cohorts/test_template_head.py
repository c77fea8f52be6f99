"""The head with a planted stroke: the template everywhere else, fluid in the stroke, one stroke for one seed."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.cohorts.phantom_anatomy import load_template
from pipeline.cohorts.template_head import make_template_head
from pipeline.nifti import nib

SPACING = 2.0


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[nib.nifti1.Nifti1Image, np.ndarray]:
    """The head, and the stroke's label (X, Y, Z)."""
    monkeypatch.setattr("pipeline.cohorts.template_head.SPACING", SPACING)
    scan, label = (nib.nifti1.Nifti1Image.from_filename(file) for file in make_template_head(tmp_path))
    return scan, np.asarray(label.dataobj) == 1


def test_only_the_stroke_and_a_rim_of_fluid_differ_from_the_template(
    head: tuple[nib.nifti1.Nifti1Image, np.ndarray],
) -> None:
    scan, stroke = head
    voxels, template = np.asarray(scan.dataobj), 1000 * load_template("t1", SPACING)
    brain = load_template("t1", SPACING, smallest=1) > 0.5
    difference = np.abs(voxels - template)
    assert difference[brain & ~stroke].max() <= 1  # rounded, and at least 1 in the brain
    assert np.median(difference[stroke]) > 100
    (fluid,) = np.unique(voxels[~brain & (voxels > 0)])
    assert 0.2 * template.max() < fluid < 0.6 * template.max()


def test_the_stroke_is_dark_and_of_its_volume(head: tuple[nib.nifti1.Nifti1Image, np.ndarray]) -> None:
    scan, stroke = head
    voxels = np.asarray(scan.dataobj)
    assert np.median(voxels[stroke]) < 0.6 * np.median(voxels[voxels > 0])
    assert 5 < stroke.sum() * SPACING**3 / 1000 < 40  # ml
    assert (voxels[stroke] > 0).all()


def test_it_lies_in_mni_space(head: tuple[nib.nifti1.Nifti1Image, np.ndarray]) -> None:
    scan, _ = head
    assert scan.header.get_sform(coded=True)[1] == 4
    assert scan.header.get_xyzt_units()[0] == "mm"
    brain = np.argwhere(np.asarray(scan.dataobj) > 0)
    left, posterior, low = nib.affines.apply_affine(scan.affine, brain.min(0))
    assert -80 < left < -60
    assert -115 < posterior < -95
    assert -80 < low < -60


def test_the_same_seed_gives_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cohorts.template_head.SPACING", SPACING)
    labels = [make_template_head(tmp_path / name, seed)[1] for name, seed in (("a", 3), ("b", 3), ("c", 4))]
    voxels = [np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj) for file in labels]
    np.testing.assert_array_equal(voxels[0], voxels[1])
    assert (voxels[0] != voxels[2]).any()
