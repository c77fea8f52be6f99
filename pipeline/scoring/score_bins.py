"""Bins of scores: the leading bits of a float32, so no range has to be chosen beforehand."""

import numpy as np


def bin_of(scores: np.ndarray, bits: int) -> np.ndarray:
    """Return the histogram bins of scores: the leading bits of float32, reordered so that bins ascend with scores."""
    pattern = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    negative = pattern >> 31 == 1
    return (np.where(negative, ~pattern, pattern | np.uint32(1 << 31)) >> np.uint32(32 - bits)).astype(np.int64)


def edge_of(bins: np.ndarray, bits: int) -> np.ndarray:
    """Return the lowest score of each bin: the inverse of `bin_of`."""
    pattern = bins.astype(np.uint32) << np.uint32(32 - bits)
    positive = pattern >> 31 == 1
    # Negative numbers run backwards: the lowest number of a bin has all its lower bits set.
    lowest = np.where(positive, pattern & np.uint32(0x7FFFFFFF), ~pattern)
    return lowest.astype(np.uint32).view(np.float32)
