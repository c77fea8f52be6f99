"""Lesion-wise results of all cases: the shares found at a threshold, and the FROC curves over all thresholds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.evaluation.lesion_results import Froc, FrocPoint, LesionGroup, LesionMetrics
from pipeline.evaluation.lesions import CaseMarks, Marks
from pipeline.evaluation.verdict import SAME_PATH

SIZES = {
    "below 1 ml": (0.0, 1.0),
    "1 to 5 ml": (1.0, 5.0),
    "5 to 20 ml": (5.0, 20.0),
    "above 20 ml": (20.0, float("inf")),
}
"""Sizes of lesions that are reported apart, ml, the upper end excluded."""

HEALTHY_SHARES = np.logspace(-6, -1, 41)
"""Shares of the healthy voxels that the thresholds of a FROC curve mark: the same for each score."""

FROC_SCORES = ("recommended", SAME_PATH)
"""Scores that have a FROC curve: the model, and the same path without it."""


def lesion_metrics(
    cases: Sequence[CaseMarks],
    threshold: float,
    threshold_from: str,
    thresholds: dict[str, np.ndarray],
) -> LesionMetrics:
    """Return the lesion-wise results.

    Args:
        cases: what is found of each.
        threshold: of `recommended`.
        threshold_from: where it comes from, in words.
        thresholds: those of each score's curve.
    """
    volumes = np.concatenate([case.volumes_ml for case in cases])
    sizes = {name: (volumes >= low) & (volumes < high) for name, (low, high) in SIZES.items()}
    froc, same_path = (_curve(thresholds[name], [case.curves[name] for case in cases], sizes) for name in FROC_SCORES)
    hit = _hits([case.at_threshold for case in cases])

    def group(size: str | None) -> LesionGroup:
        chosen = np.ones(len(hit), bool) if size is None else sizes[size]
        found = LesionGroup(
            int(chosen.sum()), _share(hit, chosen), found_at(froc, 1, size), found_at(same_path, 1, size)
        )
        why = "no threshold marks one false cluster a case" if found.lesions else "there is no such lesion"
        reasons = {key: why for key in found.numbers() if getattr(found, key) is None}
        return replace(found, reasons=reasons)

    return LesionMetrics(
        threshold=threshold,
        threshold_from=threshold_from,
        all=group(None),
        by_size={name: group(name) for name in SIZES},
        false_positives_per_case=float(np.mean([case.at_threshold.false_clusters for case in cases])),
        false_positive_ml_per_case=float(np.mean([case.at_threshold.false_ml for case in cases])),
        froc=froc,
        froc_same_path=same_path,
    )


def found_at(curve: Froc, false_clusters: float, size: str | None = None) -> float | None:
    """Return the share of lesions that a curve finds at so many false clusters a case, None if it has not so many.

    The share is interpolated where the number is reached first: at low thresholds clusters grow together, and there are
    fewer of them again.

    Args:
        curve: from the highest threshold down.
        false_clusters: their number a case.
        size: of the lesions; all if None.
    """
    before, found_before = 0.0, 0.0  # nothing is marked above all scores
    for point in curve:
        found, number = point.found_of(size), point.false_clusters_per_case
        if found is None:
            return None
        if number >= false_clusters:
            return float(np.interp(false_clusters, (before, number), (found_before, found)))
        before, found_before = number, found
    return None


def _curve(thresholds: np.ndarray, cases: Sequence[Sequence[Marks]], sizes: dict[str, np.ndarray]) -> Froc:
    """Return a FROC curve.

    Args:
        thresholds: from the highest down, (T,).
        cases: what each case's map finds at each threshold.
        sizes: which lesions of all cases have a size, boolean (L,).
    """
    points = []
    for threshold, marks in zip(thresholds, zip(*cases, strict=True), strict=True):
        hit = _hits(marks)
        points.append(
            FrocPoint(
                threshold=float(threshold),
                false_clusters_per_case=float(np.mean([mark.false_clusters for mark in marks])),
                found=_share(hit, np.ones(len(hit), bool)),
                found_by_size={name: _share(hit, chosen) for name, chosen in sizes.items()},
            )
        )
    return tuple(points)


def _hits(marks: Sequence[Marks]) -> np.ndarray:
    return np.concatenate([mark.hit for mark in marks])


def _share(hit: np.ndarray, chosen: np.ndarray) -> float | None:
    return float(hit[chosen].mean()) if chosen.any() else None
