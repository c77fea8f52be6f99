"""Metrics of scores against labels, streaming: memory does not grow with the number of voxels or cases."""

import numpy as np

BITS = 18
"""Bits of a float32 that tell scores apart: sign, exponent and 9 of the mantissa, a relative difference of 0.2 %."""


def bin_of(scores: np.ndarray) -> np.ndarray:
    """Return the histogram bins of scores: the leading bits of float32, put in the order of the numbers."""
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    negative = bits >> 31 == 1
    return (np.where(negative, ~bits, bits | np.uint32(1 << 31)) >> (32 - BITS)).astype(np.int64)


class ScoreHistogram:
    """Counts of scores of positives and negatives, from which the metrics of all thresholds follow.

    Adding a histogram to another pools their voxels. AP and AUROC differ from those of the single scores by less than
    0.001, for scores that share a bin count as tied.
    """

    def __init__(self) -> None:
        self.positives = np.zeros(1 << BITS, np.int64)
        self.negatives = np.zeros(1 << BITS, np.int64)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> "ScoreHistogram":
        """Count scores (n,) with boolean labels (n,)."""
        bins, labels = bin_of(scores.ravel()), labels.ravel().astype(bool)
        self.positives += np.bincount(bins[labels], minlength=1 << BITS)
        self.negatives += np.bincount(bins[~labels], minlength=1 << BITS)
        return self

    def _above(self) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives at each threshold that changes anything, from the highest down."""
        used = np.flatnonzero(self.positives + self.negatives)[::-1]
        return np.cumsum(self.positives[used]), np.cumsum(self.negatives[used])

    def average_precision(self) -> float:
        """Return AP = sum over thresholds of (R_n - R_(n-1)) P_n, as scikit-learn has it; NaN without positives."""
        true, false = self._above()
        if not len(true) or true[-1] == 0:
            return float("nan")
        precision = true / (true + false)
        return float(np.sum(np.diff(true, prepend=0) / true[-1] * precision))

    def auroc(self) -> float:
        """Return the area under the ROC curve; NaN without positives or negatives."""
        true, false = self._above()
        if not len(true) or true[-1] == 0 or false[-1] == 0:
            return float("nan")
        return float(np.trapezoid(np.r_[0, true] / true[-1], np.r_[0, false] / false[-1]))

    def best_dice(self) -> float:
        """Return the highest Dice = 2 TP / (2 TP + FP + FN) over all thresholds; NaN without positives."""
        true, false = self._above()
        if not len(true) or true[-1] == 0:
            return float("nan")
        return float(np.max(2 * true / (true + false + true[-1])))
