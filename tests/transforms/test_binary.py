"""Masks and labels: whole numbers as they are, all else cut at half of the largest value, and told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from transforms import as_binary

SHAPE = (12, 14, 10)


def box() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[3:8, 4:9, 2:7] = True
    return mask


@given(st.sampled_from([(0, 1), (1, 2), (-1, 1), (0, 255), (7, 9)]), st.floats(-0.0015, 0.0015))
def test_whole_numbers_up_to_rounding_are_taken_as_they_are(values: tuple[int, int], rounding: float) -> None:
    outside, inside = values
    binary = as_binary(np.where(box(), inside, outside) + rounding)
    assert np.array_equal(binary.mask, box())
    assert binary.warning(0.001) is None


@given(st.floats(1e-9, 1e-3))
def test_a_floor_everywhere_is_no_label(floor: float) -> None:
    assert not as_binary(np.full(SHAPE, floor)).mask.any()
    assert np.array_equal(as_binary(box() + floor).mask, box())


@given(st.floats(0.05, 100.0), st.floats(0.0, 0.2))
def test_a_probability_is_cut_at_half_of_its_largest_value_and_told(largest: float, floor: float) -> None:
    soft = ndimage.gaussian_filter(box().astype(float), 1.0)
    soft = np.where(soft > 0.02, soft / soft.max(), 0) * largest * (1 - floor) + floor * largest + 0.013 * largest
    binary = as_binary(soft)
    assert np.array_equal(binary.mask, soft >= (soft.min() + soft.max()) / 2)
    warning = binary.warning(0.5)
    assert warning is not None
    assert f"{np.count_nonzero(soft > 0) * 0.5:.4g} ml are above 0, and {binary.mask.sum() * 0.5:.4g} ml are" in warning


def test_a_sigmoid_of_two_values_is_cut_between_them() -> None:
    binary = as_binary(np.where(box(), 0.99, 1e-5))
    assert np.array_equal(binary.mask, box())
    assert binary.between == 0
    assert f"{box().size * 0.1:.4g} ml are above 0, and {box().sum() * 0.1:.4g} ml are" in str(binary.warning(0.1))
    assert as_binary(np.where(box(), 0.99, 0)).warning(0.1) is None


@pytest.mark.parametrize("factor", [1.2, 1.5, 1.9])
def test_a_spline_that_rings_around_zero_is_cut_to_its_object(factor: float) -> None:
    ball = np.linalg.norm(np.indices((30, 30, 30)) - 14.5, axis=0) < 9
    zoomed = ndimage.zoom(ball.astype(float), factor, order=3)
    truth = ndimage.zoom(ball.astype(float), factor, order=1) >= 0.5
    assert zoomed.min() < 0
    mask = as_binary(zoomed).mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


def test_several_labels_are_one_mask() -> None:
    labels = np.zeros(SHAPE, int)
    labels[3:8], labels[8:10] = 1, 4
    assert np.array_equal(as_binary(labels).mask, labels > 0)


def test_a_mask_that_fills_its_file_is_still_one() -> None:
    full = np.ones(SHAPE)
    assert as_binary(full).mask.all()
    full[0, 0, 0] = 0.0
    assert as_binary(full).mask.sum() == full.size - 1
    assert as_binary(full + 1).mask.sum() == full.size - 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    values = box().astype(float)
    values[0, 0, 0] = value
    with pytest.raises(ValueError, match="1 of its values are not finite"):
        as_binary(values)
