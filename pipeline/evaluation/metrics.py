"""Metrics of voxel scores against labels, streaming: memory does not grow with the number of voxels or cases."""

from typing import NamedTuple

import numpy as np

from pipeline.scoring import bin_of, edge_of

BITS = 18
"""Bits of a float32 that tell scores apart: sign, exponent and 9 of the mantissa."""


class Counts(NamedTuple):
    """How many positives and negatives, (n,), have a score in each of the bins (n,), which ascend."""

    bins: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


def count_scores(scores: np.ndarray, labels: np.ndarray) -> Counts:
    """Return the counts of scores (n,) with boolean labels (n,), in bins of `BITS` bits."""
    bins, labels = bin_of(scores, BITS).ravel(), np.asarray(labels, bool).ravel()
    positives = np.bincount(bins[labels], minlength=1 << BITS)
    negatives = np.bincount(bins[~labels], minlength=1 << BITS)
    used = np.flatnonzero(positives + negatives)
    return Counts(used, positives[used], negatives[used])


class ScoreHistograms:
    """Weighted counts of the scores of positives and negatives, from which the metrics of all thresholds follow.

    There are several histograms of the same voxels, each with weights of its own for the cases: one with weights 1 for
    the metrics themselves, many for their bootstrap intervals or for splits of the cases. Scores that share a bin count
    as tied: with 18 bits AP and AUROC are off by less than 0.001.

    Args:
        number: histograms, R.
        bits: bits of a float32 that tell scores apart.
    """

    def __init__(self, number: int = 1, bits: int = BITS) -> None:
        self.bits = bits
        self.positives = np.zeros((number, 1 << bits), np.float32 if number > 1 else np.float64)
        self.negatives = np.zeros_like(self.positives)

    def add(self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | float = 1.0) -> "ScoreHistograms":
        """Count scores (n,) with boolean labels (n,), weighted by (R,)."""
        return self.add_counts(count_scores(scores, labels), weights)

    def add_counts(self, counts: Counts, weights: np.ndarray | float = 1.0) -> "ScoreHistograms":
        """Add what was counted already, weighted by (R,)."""
        weights = np.atleast_1d(np.asarray(weights, self.positives.dtype))[:, None]
        bins, first = np.unique(counts.bins >> (BITS - self.bits), return_index=True)
        if len(bins):
            self.positives[:, bins] += weights * np.add.reduceat(counts.positives, first)
            self.negatives[:, bins] += weights * np.add.reduceat(counts.negatives, first)
        return self

    def with_outside(self, voxels: int) -> "ScoreHistograms":
        """Return a copy with so many further negatives of score 0: the voxels outside the brain."""
        copy = ScoreHistograms(len(self.positives), self.bits)
        copy.positives, copy.negatives = self.positives, self.negatives.copy()
        copy.negatives[:, bin_of(np.zeros(1), self.bits)] += voxels
        return copy

    def above(self, bins: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives, each (R, thresholds), from the highest threshold (bin) down."""
        used = self._used() if bins is None else bins
        return np.cumsum(self.positives[:, used], 1, np.float64), np.cumsum(self.negatives[:, used], 1, np.float64)

    def _used(self) -> np.ndarray:
        return np.flatnonzero((self.positives + self.negatives).any(0))[::-1]

    def average_precision(self) -> np.ndarray:
        """Return AP = sum over thresholds of (R_n - R_(n-1)) P_n, (R,), as scikit-learn; NaN with one class only."""
        true, false = self.above()
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(true / (true + false))
            average = np.sum(np.diff(true, axis=1, prepend=0) * precision, 1) / true[:, -1]
        return np.where(false[:, -1] > 0, average, np.nan)

    def auroc(self) -> np.ndarray:
        """Return the areas under the ROC curves, (R,); NaN without positives or negatives."""
        true, false = (np.pad(counts, ((0, 0), (1, 0))) for counts in self.above())
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.trapezoid(true, false, axis=1) / (true[:, -1] * false[:, -1])

    def dice(self, bins: np.ndarray | None = None) -> np.ndarray:
        """Return Dice = 2 TP / (2 TP + FP + FN) at each threshold, (R, thresholds); NaN with one class only."""
        true, false = self.above(bins)
        has_both = (true[:, -1:] > 0) & (false[:, -1:] > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(has_both, 2 * true / (true + false + true[:, -1:]), np.nan)

    def best_dice(self) -> np.ndarray:
        """Return the highest Dice over all thresholds, (R,)."""
        return self.dice().max(1)

    def dice_at(self, threshold: float) -> float:
        """Return the first histogram's Dice where voxels that score `threshold` or more are marked."""
        first = int(bin_of(np.asarray([threshold]), self.bits)[0])
        true, false, total = self.positives[0, first:].sum(), self.negatives[0, first:].sum(), self.positives[0].sum()
        return float(2 * true / (true + false + total)) if total and self.negatives[0].any() else float("nan")

    def best_threshold(self) -> float:
        """Return the score from which on a voxel counts as positive where the first histogram's Dice is highest."""
        best = int(self._used()[np.argmax(self.dice()[0])])
        return float(edge_of(np.asarray([best]), self.bits)[0])

    def thresholds_at(self, shares: np.ndarray) -> np.ndarray:
        """Return the lowest scores from which on at most such shares (n,) of the first histogram's negatives count.

        Shares that give the same score give one threshold; none if even the highest score belongs to more of them.
        """
        used = self._used()
        false = np.cumsum(self.negatives[0, used])
        if not len(used) or not false[-1]:
            return np.empty(0)
        places = np.unique(np.searchsorted(false / false[-1], np.sort(shares), side="right")) - 1
        return edge_of(used[places[places >= 0]], self.bits).astype(float)


def dice_of_splits(chosen: ScoreHistograms, measured: ScoreHistograms) -> np.ndarray:
    """Return the Dice of each split (R,): the best threshold of its `chosen` cases, on its `measured` cases.

    The two have the same bins; a threshold is a bin. NaN where a part has no positives.
    """
    everything = chosen.positives + chosen.negatives + measured.positives + measured.negatives
    used = np.flatnonzero(everything.any(0))[::-1]
    best = np.nan_to_num(chosen.dice(used)).argmax(1)
    possible = chosen.positives.any(1)
    return np.where(possible, measured.dice(used)[np.arange(len(best)), best], np.nan)
