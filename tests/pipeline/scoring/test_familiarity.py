"""Familiarity: scans like the healthy ones pass; a warning names the differences of the others."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from pipeline.scoring.familiarity import ALPHA, Facts, Familiarity


def facts(random: np.random.Generator, **changes: Any) -> Facts:
    values: dict[str, Any] = {
        "length_mm": random.normal(175, 8),
        "width_mm": random.normal(140, 6),
        "height_mm": random.normal(130, 6),
        "slice_spacing_mm": 2.0,
        "edge_contrast": random.normal(0.9, 0.1),
        "residual": random.normal(0.35, 0.03),
        "intensities": [(np.linspace(-1.5, 1.5, 25) + random.normal(0, 0.03, 25)).tolist()],
    }
    return Facts(**values | changes)


def familiarity(scans: int, seed: int = 0) -> Familiarity:
    random = np.random.default_rng(seed)
    return Familiarity.of([facts(random) for _ in range(scans)])


@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_a_scan_like_the_healthy_ones_passes(seed: int, scans: int) -> None:
    random = np.random.default_rng(seed)
    middle = facts(random, length_mm=175.0, width_mm=140.0, height_mm=130.0, residual=0.35)
    assert familiarity(scans, seed).warnings_of(middle) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length_mm": 260.0}, "length of the brain mask from front to back 260 mm"),
        ({"width_mm": 70.0}, "width of the brain mask 70 mm"),
        ({"height_mm": 40.0}, "height of the brain mask 40 mm"),
        ({"slice_spacing_mm": 6.0}, "distance between slices 6.00 mm"),
        ({"edge_contrast": 0.1}, "brightness across the edge of the brain mask 0.10 standard deviations (limits "),
        ({"residual": 0.9}, "typical reconstruction error 0.90"),
        ({"intensities": [(-(np.linspace(-1.5, 1.5, 25) ** 3)).tolist()]}, "grey-level distribution (distance "),
    ],
)
def test_what_is_unlike_is_named(change: dict[str, Any], words: str) -> None:
    (warning,) = familiarity(20).warnings_of(facts(np.random.default_rng(1), **change))
    assert words in warning
    assert "differs from the 20 healthy reference scans" in warning


def test_limits_of_a_former_version_are_used_as_far_as_they_go() -> None:
    known = familiarity(20)
    former = replace(known, limits={name: limit for name, limit in known.limits.items() if name != "edge_contrast"})
    assert former.warnings_of(facts(np.random.default_rng(1), edge_contrast=0.1)) == []


def test_a_value_and_its_limit_have_the_same_digits_and_never_look_equal() -> None:
    limits = dict.fromkeys(("length_mm", "width_mm", "height_mm", "slice_spacing_mm"), (0.0, 1000.0))
    known = Familiarity(32, limits | {"residual": (-1.0, 0.509)}, facts(np.random.default_rng(0)).intensities)
    (warning,) = known.warnings_of(facts(np.random.default_rng(0), residual=0.51))
    assert "typical reconstruction error 0.510 standard deviations (limit 0.509)" in warning
    (warning,) = known.warnings_of(facts(np.random.default_rng(0), width_mm=1000.2, residual=0.1))
    assert "width of the brain mask 1000.2 mm (limits 0.0 to 1000.0)" in warning


def test_a_better_reconstruction_than_that_of_healthy_scans_is_no_reason_to_warn() -> None:
    assert familiarity(20).warnings_of(facts(np.random.default_rng(1), residual=0.01)) == []


def test_the_limits_are_the_prediction_interval() -> None:
    values = [150.0, 200.0, 160.0, 190.0, 175.0]
    random = np.random.default_rng(0)
    limits = Familiarity.of([facts(random, length_mm=value) for value in values]).limits["length_mm"]
    half = t.ppf(1 - ALPHA / 2, 4) * np.std(values, ddof=1) * np.sqrt(1.2)
    assert limits == pytest.approx((175 - half, 175 + half))


def test_too_few_healthy_scans_say_nothing() -> None:
    assert familiarity(2).warnings_of(facts(np.random.default_rng(1), length_mm=900.0)) == []
