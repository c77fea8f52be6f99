"""Tests of what a brain mask must be like."""

import nibabel as nib
import numpy as np
import pytest

from pipeline.scans.brain_checks import BrainMaskError, MaskFacts, edge_contrast, refuse_absurd

SHAPE = (60, 60, 60)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
"""A volume of 180 mm to each side."""


def ball(radius_mm: float, centre: tuple[float, float, float] = (30, 30, 30)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij")) - np.reshape(centre, (3, 1, 1, 1))
    return np.linalg.norm(grid, axis=0) * 3 <= radius_mm


def test_an_adults_brain_is_as_it_should_be() -> None:
    facts = MaskFacts.of(ball(68), AFFINE)
    assert facts.ml == pytest.approx(4 / 3 * np.pi * 6.8**3, rel=0.02)
    assert facts.largest_share == 1
    assert facts.warnings == []
    assert facts.absurd == ""


@pytest.mark.parametrize(("radius_mm", "ml"), [(45, 382), (84, 2483)])
def test_a_brain_of_unusual_size_is_warned_of(radius_mm: float, ml: float) -> None:
    facts = MaskFacts.of(ball(radius_mm), AFFINE)
    assert facts.ml == pytest.approx(ml, rel=0.02)
    assert facts.absurd == ""
    assert f"{facts.ml:.0f} ml" in facts.warnings[0]


@pytest.mark.parametrize(
    ("mask", "wrong"),
    [
        (np.zeros(SHAPE, bool), "no brain at all"),
        (ball(20), "a brain of 3"),
        (np.ones(SHAPE, bool), "a brain of 5832 ml"),
        (ball(45, (15, 15, 30)) | ball(45, (45, 45, 30)), "in pieces, of which the largest holds 50%"),
    ],
)
def test_an_absurd_mask_is_refused_with_what_is_wrong(mask: np.ndarray, wrong: str) -> None:
    scan = nib.nifti1.Nifti1Image(mask.astype(np.uint8), AFFINE)
    with pytest.raises(BrainMaskError, match=f"tool 1 found .*{wrong}") as refused:
        refuse_absurd(scan, mask, "tool 1")
    assert refused.value.mask is mask


def test_small_pieces_beside_the_brain_are_warned_of() -> None:
    facts = MaskFacts.of(ball(65) | ball(25, (9, 9, 50)), AFFINE)
    assert facts.largest_share == pytest.approx(65**3 / (65**3 + 25**3), abs=0.01)
    assert "in pieces" in facts.warnings[0]


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_brain_that_the_volume_cuts_off_is_warned_of_by_its_side(flips: tuple[int, int, int]) -> None:
    affine = AFFINE @ np.diag([*flips, 1])
    mask = ball(68, (30, 30, 8 if flips[2] > 0 else 51))
    facts = MaskFacts.of(mask, affine)
    assert facts.cut == ("bottom",)
    assert "the bottom end of the volume" in facts.warnings[-1]


@pytest.mark.parametrize("spacing", [1.0, 3.0, 6.0])
def test_the_contrast_at_the_edge_is_that_of_inside_and_outside(spacing: float) -> None:
    shape = (round(60 / spacing),) * 3
    affine = np.diag([spacing, spacing, spacing, 1.0])
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = True
    noise = np.random.default_rng(0).normal(0, 1, shape)
    voxels = np.where(mask, 10, 7) + noise
    assert edge_contrast(voxels, mask, affine) == pytest.approx(3, rel=0.15)
    assert edge_contrast(voxels, np.roll(mask, shape[0] // 4, 0), affine) < 1.5
    assert edge_contrast(np.ones(shape), mask, affine) == 0
