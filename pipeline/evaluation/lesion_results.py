"""The lesion-wise results as values, as metrics.json has them under `lesions`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluation.reasoned import Reasoned


@dataclass(frozen=True)
class LesionGroup(Reasoned):
    """Lesions of a size, and the shares of them that are found, None without any.

    A cluster finds each lesion that it touches.

    Attributes:
        lesions: their number.
        hit: share that `recommended` finds at the threshold.
        hit_at_one_false_cluster: share that it finds at one false cluster a case.
        hit_at_one_false_cluster_same_path: the same of `intensity_same_path`.
    """

    lesions: int
    hit: float | None = None
    hit_at_one_false_cluster: float | None = None
    hit_at_one_false_cluster_same_path: float | None = None


@dataclass(frozen=True)
class FrocPoint:
    """What a score finds from a threshold on.

    Attributes:
        threshold: the score from which on a voxel is marked.
        false_clusters_per_case: mean number of marked clusters that touch no lesion.
        found: share of the lesions that a cluster touches, None without any.
        found_by_size: the same of each size.
    """

    threshold: float
    false_clusters_per_case: float
    found: float | None
    found_by_size: dict[str, float | None]

    def found_of(self, size: str | None) -> float | None:
        """Return the share of the lesions of a size, of all if None."""
        return self.found if size is None else self.found_by_size[size]


Froc = tuple[FrocPoint, ...]
"""A FROC curve, from the highest threshold down."""


@dataclass(frozen=True)
class LesionMetrics:
    """The lesion-wise results.

    Attributes:
        threshold: the score from which on a voxel is marked.
        threshold_from: where the threshold comes from, in words.
        all: all lesions.
        by_size: the lesions of each size.
        false_positives_per_case: mean number of marked clusters that touch no lesion.
        false_positive_ml_per_case: their mean volume, ml.
        froc: the curve of `recommended`.
        froc_same_path: that of `intensity_same_path`.
    """

    threshold: float
    threshold_from: str
    all: LesionGroup
    by_size: dict[str, LesionGroup]
    false_positives_per_case: float
    false_positive_ml_per_case: float
    froc: Froc
    froc_same_path: Froc

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json has under `lesions`."""
        groups = {"all": self.all.to_json(), "by_size": {name: group.to_json() for name, group in self.by_size.items()}}
        curves = {key: [asdict(point) for point in getattr(self, key)] for key in _CURVES}
        return {key: getattr(self, key) for key in self.__dataclass_fields__} | groups | curves

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LesionMetrics":
        """Return what `to_json` has written."""
        by_size = {name: LesionGroup.from_json(group) for name, group in content["by_size"].items()}
        groups = {"all": LesionGroup.from_json(content["all"]), "by_size": by_size}
        curves = {key: tuple(FrocPoint(**point) for point in content[key]) for key in _CURVES}
        return cls(**dict(content) | groups | curves)


_CURVES = ("froc", "froc_same_path")
