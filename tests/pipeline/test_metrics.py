"""Streaming metrics agree with scikit-learn, and give what they must in the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from pipeline.metrics import ScoreHistogram, bin_of


def random_map(seed: int, n: int = 20_000, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.05
    return (rng.normal(size=n) + shift * labels).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.0, 4.0])
@pytest.mark.parametrize("positive_only", [False, True])
def test_ap_and_auroc_are_scikit_learns(seed: int, shift: float, positive_only: bool) -> None:
    scores, labels = random_map(seed, shift=shift)
    scores = np.exp(scores) if positive_only else scores
    histogram = ScoreHistogram().add(scores, labels)
    assert histogram.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-3)
    assert histogram.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


def test_best_dice_is_the_best_of_all_thresholds() -> None:
    scores, labels = random_map(0, n=500)
    best = max(f1_score(labels, scores >= threshold) for threshold in scores)
    assert ScoreHistogram().add(scores, labels).best_dice() == pytest.approx(best, abs=1e-3)


def test_a_perfect_map_has_ones() -> None:
    labels = np.arange(100) >= 90
    histogram = ScoreHistogram().add(labels.astype(np.float32), labels)
    assert (histogram.average_precision(), histogram.auroc(), histogram.best_dice()) == (1, 1, 1)


def test_an_inverted_map_has_auroc_zero() -> None:
    labels = np.arange(100) >= 90
    assert ScoreHistogram().add(-labels.astype(np.float32), labels).auroc() == 0


def test_a_constant_map_has_the_prevalence_and_a_half() -> None:
    labels = np.arange(100) >= 90
    histogram = ScoreHistogram().add(np.zeros(100), labels)
    assert histogram.average_precision() == pytest.approx(0.1)
    assert histogram.auroc() == pytest.approx(0.5)
    assert histogram.best_dice() == pytest.approx(2 * 10 / 110)


def test_adding_scan_by_scan_is_pooling() -> None:
    scores, labels = random_map(1)
    parts = ScoreHistogram()
    for part in np.array_split(np.arange(len(scores)), 7):
        parts.add(scores[part], labels[part])
    assert parts.average_precision() == ScoreHistogram().add(scores, labels).average_precision()


def test_without_positives_nothing_can_be_said() -> None:
    histogram = ScoreHistogram().add(np.arange(5.0), np.zeros(5, bool))
    assert np.isnan([histogram.average_precision(), histogram.auroc(), histogram.best_dice()]).all()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50))
@settings(max_examples=200, deadline=None)
def test_bins_keep_the_order_of_the_scores(values: list[float]) -> None:
    scores = np.sort(np.asarray(values, np.float32))
    assert (np.diff(bin_of(scores)) >= 0).all()
