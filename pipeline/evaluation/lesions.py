"""Lesion-wise detection: which connected lesions a thresholded map hits, and what it marks where there is none."""

import numpy as np
import pandas as pd
from scipy import ndimage

from pipeline.evaluation.results import LesionGroup, LesionMetrics
from pipeline.scoring import CONNECTIVITY

SIZES = {"below 1 ml": (0.0, 1.0), "1 to 10 ml": (1.0, 10.0), "10 ml and more": (10.0, float("inf"))}
"""Sizes of lesions that are reported apart, ml."""


def lesions_of(scores: np.ndarray, label: np.ndarray, threshold: float, voxel_ml: float) -> tuple[pd.DataFrame, int]:
    """Return a case's lesions and its number of false positives at a threshold.

    Args:
        scores: map (X, Y, Z).
        label: boolean lesions (X, Y, Z).
        threshold: score from which on a voxel is marked.
        voxel_ml: volume of a voxel, ml.

    Returns:
        A table with `volume_ml` and `hit` (any voxel marked) of each connected lesion, and the number of connected
        marked regions that touch none.
    """
    lesions, number = ndimage.label(label, CONNECTIVITY)
    marked, regions = ndimage.label(scores >= threshold, CONNECTIVITY)
    volumes = np.bincount(lesions.ravel(), minlength=number + 1)[1:] * voxel_ml
    hit = np.isin(np.arange(1, number + 1), lesions[marked > 0])
    touching = np.setdiff1d(np.unique(marked[label]), [0])
    return pd.DataFrame({"volume_ml": volumes, "hit": hit}), regions - len(touching)


def lesion_metrics(lesions: pd.DataFrame, false_positives: list[int], threshold: float) -> LesionMetrics:
    """Return the share of lesions hit, in all and by size, and the false positives a case."""

    def group(chosen: pd.DataFrame) -> LesionGroup:
        return LesionGroup(len(chosen), float(chosen["hit"].mean()) if len(chosen) else None)

    volume = lesions["volume_ml"]
    return LesionMetrics(
        threshold=threshold,
        all=group(lesions),
        by_size={name: group(lesions[(volume >= low) & (volume < high)]) for name, (low, high) in SIZES.items()},
        false_positives_per_case=float(np.mean(false_positives)) if false_positives else None,
    )
