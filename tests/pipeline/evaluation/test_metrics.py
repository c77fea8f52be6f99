"""Streaming metrics agree with scikit-learn, and give what they must in the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from pipeline.evaluation.metrics import ScoreHistograms, dice_of_splits
from pipeline.scoring.score_bins import bin_of, edge_of


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
    histogram = ScoreHistograms().add(scores, labels)
    assert histogram.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-3)
    assert histogram.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


def test_best_dice_is_the_best_of_all_thresholds() -> None:
    scores, labels = random_map(0, n=500)
    best = max(f1_score(labels, scores >= threshold) for threshold in scores)
    histogram = ScoreHistograms().add(scores, labels)
    assert histogram.best_dice() == pytest.approx(best, abs=1e-3)
    assert f1_score(labels, scores >= histogram.best_threshold()) == pytest.approx(best, abs=1e-3)


def test_a_perfect_map_has_ones() -> None:
    labels = np.arange(100) >= 90
    histogram = ScoreHistograms().add(labels.astype(np.float32), labels)
    assert [histogram.average_precision()[0], histogram.auroc()[0], histogram.best_dice()[0]] == [1, 1, 1]


def test_an_inverted_map_has_auroc_zero() -> None:
    labels = np.arange(100) >= 90
    assert ScoreHistograms().add(-labels.astype(np.float32), labels).auroc() == 0


def test_a_constant_map_has_the_prevalence_and_a_half() -> None:
    labels = np.arange(100) >= 90
    histogram = ScoreHistograms().add(np.zeros(100), labels)
    assert histogram.average_precision() == pytest.approx(0.1)
    assert histogram.auroc() == pytest.approx(0.5)
    assert histogram.best_dice() == pytest.approx(2 * 10 / 110)


def test_adding_scan_by_scan_is_pooling() -> None:
    scores, labels = random_map(1)
    parts = ScoreHistograms()
    for part in np.array_split(np.arange(len(scores)), 7):
        parts.add(scores[part], labels[part])
    assert parts.average_precision() == ScoreHistograms().add(scores, labels).average_precision()


@pytest.mark.parametrize("annotated", [False, True])
def test_with_one_class_only_nothing_can_be_said(annotated: bool) -> None:
    histogram = ScoreHistograms().add(np.arange(5.0), np.full(5, annotated))
    assert np.isnan([histogram.average_precision(), histogram.auroc(), histogram.best_dice()]).all()
    assert np.isnan(histogram.dice_at(2.0))


@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=2, max_size=50))
@settings(max_examples=200, deadline=None)
def test_bins_keep_the_order_of_the_scores(values: list[float]) -> None:
    scores = np.sort(np.asarray(values, np.float32))
    bins = bin_of(scores, 18)
    assert (np.diff(bins) >= 0).all()
    assert (edge_of(bins, 18) <= scores).all()
    assert (bin_of(edge_of(bins, 18), 18) == bins).all()


def test_auroc_of_the_whole_image_counts_zeros_outside() -> None:
    scores, labels = random_map(2)
    scores = np.abs(scores)
    whole = ScoreHistograms().add(scores, labels).with_outside(5000)
    expected = roc_auc_score(np.r_[labels, np.zeros(5000, bool)], np.r_[scores, np.zeros(5000)])
    assert whole.auroc() == pytest.approx(expected, abs=1e-3)


def test_weights_count_a_case_several_times() -> None:
    (a, la), (b, lb) = random_map(3), random_map(4, shift=2)
    weighted = ScoreHistograms(2).add(a, la, np.array([2, 0])).add(b, lb, np.array([1, 3]))
    twice = ScoreHistograms().add(np.r_[a, a, b], np.r_[la, la, lb])
    only = ScoreHistograms().add(b, lb)
    expected = [twice.average_precision()[0], only.average_precision()[0]]
    assert weighted.average_precision() == pytest.approx(expected, rel=1e-4)


def test_few_bits_are_enough_for_intervals() -> None:
    scores, labels = random_map(5)
    coarse, fine = ScoreHistograms(bits=14).add(scores, labels), ScoreHistograms().add(scores, labels)
    assert coarse.average_precision() == pytest.approx(fine.average_precision(), abs=0.01)


def test_the_dice_of_a_split_uses_the_threshold_of_the_other_part() -> None:
    labels = np.arange(100) >= 50
    chosen_scores, measured_scores = np.where(labels, 2.0, 1.0), np.where(labels, 1.0, 0.5)
    chosen = (
        ScoreHistograms(2).add(chosen_scores, labels, np.array([1, 0])).add(measured_scores, labels, np.array([0, 1]))
    )
    measured = ScoreHistograms(2).add(measured_scores, labels, np.ones(2))
    # Chosen on itself the threshold is 1 and Dice is 1; chosen on the other scores it is 2, and nothing is found.
    assert dice_of_splits(chosen, measured).tolist() == [0, 1]


def test_monai_gives_the_same_dice_at_the_best_threshold() -> None:
    import torch
    from monai.metrics import DiceMetric

    scores, labels = random_map(6)
    histogram = ScoreHistograms().add(scores, labels)
    predicted = torch.from_numpy(scores >= histogram.best_threshold()).reshape(1, 1, -1, 1)
    dice = DiceMetric()(predicted.float(), torch.from_numpy(labels).reshape(1, 1, -1, 1).float())
    assert float(dice) == pytest.approx(histogram.best_dice()[0], abs=1e-3)
