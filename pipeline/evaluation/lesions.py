"""The lesions of a case: which of them a thresholded map finds, and what it marks where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.scoring import CONNECTIVITY


@dataclass(frozen=True)
class Marks:
    """What the voxels of a case from a threshold on find.

    Attributes:
        hit: whether a marked cluster touches each lesion, boolean (L,).
        false_clusters: number of marked clusters that touch none.
        false_ml: their volume, ml.
        marked_ml: volume of all marked clusters, ml.
        overlap_ml: volume of what they have in common with the lesions, ml.
    """

    hit: np.ndarray
    false_clusters: int
    false_ml: float
    marked_ml: float
    overlap_ml: float


class Lesions:
    """The connected lesions of a case; voxels that share a corner are connected.

    Args:
        label: boolean lesions (X, Y, Z).
        voxel_ml: volume of a voxel, ml.
        minimum_cluster_ml: smaller marked clusters are dropped, ml.

    Attributes:
        volumes_ml: of each lesion (L,), ml.
    """

    def __init__(self, label: np.ndarray, voxel_ml: float, minimum_cluster_ml: float = 0.0) -> None:
        numbered, self.number = ndimage.label(label, CONNECTIVITY)
        self.voxel_ml, self.minimum_cluster_ml = voxel_ml, minimum_cluster_ml
        self.inside = np.flatnonzero(label)
        self.lesion = numbered.ravel()[self.inside] - 1
        self.volumes_ml = np.bincount(self.lesion, minlength=self.number) * voxel_ml

    def marks_of(self, scores: np.ndarray, threshold: float) -> Marks:
        """Return what the voxels of a map (X, Y, Z) that score `threshold` or more find."""
        marked = scores >= threshold
        clusters, number = ndimage.label(marked, CONNECTIVITY)
        volumes = np.bincount(clusters[marked], minlength=number + 1) * self.voxel_ml
        kept = volumes >= max(self.minimum_cluster_ml, np.finfo(float).tiny)
        touching = clusters.ravel()[self.inside]
        hit = np.bincount(self.lesion[kept[touching]], minlength=self.number) > 0
        false = kept.copy()
        false[touching] = False
        overlap_ml = float(kept[touching].sum() * self.voxel_ml)
        return Marks(hit, int(false.sum()), float(volumes[false].sum()), float(volumes[kept].sum()), overlap_ml)


@dataclass(frozen=True)
class CaseMarks:
    """The lesions of a case and what is found of them.

    Attributes:
        volumes_ml: of each lesion (L,), ml.
        at_threshold: what `recommended` finds at the threshold.
        curves: what each score finds at each of its own thresholds.
    """

    volumes_ml: np.ndarray
    at_threshold: Marks
    curves: dict[str, list[Marks]]

    @property
    def dice(self) -> float:
        """Dice of what `recommended` marks at the threshold; NaN if there is no lesion and nothing is marked."""
        total = float(self.volumes_ml.sum()) + self.at_threshold.marked_ml
        return 2 * self.at_threshold.overlap_ml / total if total else float("nan")


def marks_of_case(
    maps: Mapping[str, np.ndarray], lesions: Lesions, threshold: float, thresholds: Mapping[str, np.ndarray]
) -> CaseMarks:
    """Return what is found of a case.

    Args:
        maps: the map (X, Y, Z) of `recommended`, and of each other score.
        lesions: those of the case.
        threshold: of `recommended`.
        thresholds: those of each score's curve.
    """
    curves = {name: [lesions.marks_of(maps[name], value) for value in thresholds[name]] for name in thresholds}
    return CaseMarks(lesions.volumes_ml, lesions.marks_of(maps["recommended"], threshold), curves)
