"""What an evaluation counts: histograms of all cases' voxels, and the numbers that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.baselines import BASELINES, Baselines
from pipeline.evaluation.metrics import Counts, ScoreHistograms, dice_of_splits
from pipeline.evaluation.paired import PairedDifference
from pipeline.evaluation.reasoned import Interval
from pipeline.evaluation.results import VoxelMetrics
from pipeline.evaluation.slices import NOT_TRAINED
from pipeline.scoring import MAPS

REPLICATES = 200
"""Bootstrap samples of the cases, for the intervals."""
SPLITS = 100
"""Random splits of the cases, for the Dice at a threshold from a fifth of them."""
COARSE_BITS = 14
"""Bits of the scores in the many histograms for intervals and splits."""
FEWEST_CASES = 5
"""Below, neither intervals nor splits mean anything."""
SCORES = (*MAPS, *BASELINES)
NO_LESIONS = "there are no annotated voxels, or no others"


@dataclass(frozen=True)
class CaseCounts:
    """What a case contributes, without its maps, and the warnings about its scan."""

    name: str
    counts: dict[str, Counts]
    lesion_ml: float
    outside: int
    slices: pd.DataFrame
    mu: np.ndarray
    voxel_ml: float
    warnings: tuple[str, ...] = ()


class Totals:
    """The histograms that all cases are counted into.

    Args:
        cases: their number.
        seed: of the bootstrap and of the splits.
        threshold: of `recommended`, by the model's calibration; None where it has none.
    """

    def __init__(self, cases: int, seed: int, threshold: float | None = None) -> None:
        self.threshold = threshold
        self.random = np.random.default_rng(seed)
        # A fifth of the cases chooses the threshold, in each of the splits another fifth.
        self.chooses = np.argsort(self.random.random((SPLITS, cases)), 1) < max(1, round(cases / 5))
        self.pooled = {name: ScoreHistograms() for name in SCORES}
        self.bootstrap = {name: ScoreHistograms(REPLICATES, COARSE_BITS) for name in SCORES}
        self.choosing = {name: ScoreHistograms(SPLITS, COARSE_BITS) for name in SCORES}
        self.measuring = {name: ScoreHistograms(SPLITS, COARSE_BITS) for name in SCORES}
        self.outside = self.cases = 0
        self.mu_number, self.mu_sum, self.mu_squares = 0, np.zeros(1), np.zeros(1)

    def add(self, number: int, case: CaseCounts) -> dict[str, Any]:
        """Count a case, and return its own metrics."""
        weights = self.random.poisson(1, REPLICATES)  # the bootstrap of a stream
        chooses = self.chooses[:, number]
        row: dict[str, Any] = {
            "case": case.name,
            "voxel_ml": case.voxel_ml,
            "lesion_ml": case.lesion_ml,
        }
        for name, counts in case.counts.items():
            self.pooled[name].add_counts(counts)
            self.bootstrap[name].add_counts(counts, weights)
            self.choosing[name].add_counts(counts, chooses)
            self.measuring[name].add_counts(counts, ~chooses)
            if case.lesion_ml:
                own = ScoreHistograms().add_counts(counts)
                row |= {f"{name}_ap": own.average_precision()[0], f"{name}_best_dice": own.best_dice()[0]}
        self.outside += case.outside
        self.cases += 1
        self.mu_number += len(case.mu)
        self.mu_sum = self.mu_sum + case.mu.sum(0)
        self.mu_squares = self.mu_squares + np.square(case.mu).sum(0)
        return row

    def model_metrics(self, name: str, kl_is_trained: bool) -> VoxelMetrics:
        """Return the voxel-wise metrics of a score of the model."""
        if name in ("kl", "combined") and not kl_is_trained:
            return VoxelMetrics(reason=NOT_TRAINED)
        return self._voxel_metrics(name)

    def baseline_metrics(self, name: str, baselines: Baselines) -> VoxelMetrics:
        """Return the voxel-wise metrics of a score without a model."""
        if name.startswith("voxelwise") and baselines.reason is not None:
            return VoxelMetrics(reason=baselines.reason)
        return self._voxel_metrics(name)

    def _voxel_metrics(self, name: str) -> VoxelMetrics:
        pooled = self.pooled[name]
        numbers = {
            "ap": pooled.average_precision()[0],
            "auroc_brain": pooled.auroc()[0],
            "auroc_all": pooled.with_outside(self.outside).auroc()[0],
            "best_dice": pooled.best_dice()[0],
        }
        if not np.isnan(numbers["best_dice"]):
            numbers["best_threshold"] = pooled.best_threshold()
        intervals: dict[str, Interval | None] = {}
        reasons = {}
        if self.threshold is None:
            reasons["dice_at_fpr"] = "the model carries no calibration"
        elif name != "recommended":
            reasons["dice_at_fpr"] = "only `recommended` is calibrated"
        else:
            numbers["dice_at_fpr"] = pooled.dice_at(self.threshold)
        if self.cases < FEWEST_CASES:
            reasons |= dict.fromkeys(("dice_20_80", "ap_ci", "best_dice_ci"), self._few_cases)
        else:
            split = dice_of_splits(self.choosing[name], self.measuring[name])
            split = split[np.isfinite(split)]
            if len(split):
                numbers |= {"dice_20_80": split.mean(), "dice_20_80_sd": split.std()}
            else:
                reasons["dice_20_80"] = NO_LESIONS
            intervals["ap_ci"] = _interval(self.bootstrap[name].average_precision())
            intervals["best_dice_ci"] = _interval(self.bootstrap[name].best_dice())
            reasons |= {key: NO_LESIONS for key, interval in intervals.items() if interval is None}
        reasons |= {key: NO_LESIONS for key, value in numbers.items() if np.isnan(value)}
        known: dict[str, Any] = {key: float(value) for key, value in numbers.items() if not np.isnan(value)}
        return VoxelMetrics(**known | intervals, reasons=reasons)

    @property
    def _few_cases(self) -> str:
        return f"{self.cases} cases are fewer than {FEWEST_CASES}"

    def paired(self, baselines: Mapping[str, VoxelMetrics]) -> dict[str, PairedDifference]:
        """Return what `recommended` has more than each baseline.

        Each replicate draws the same cases for all scores, so the difference of two scores has its own replicates.

        Args:
            baselines: the metrics of each.
        """
        ours = self._pooled_and_replicates("recommended")
        return {
            name: PairedDifference(reason=metrics.why("ap")) if metrics.ap is None else self._paired(ours, name)
            for name, metrics in baselines.items()
        }

    def _paired(self, ours: Mapping[str, tuple[float, np.ndarray]], name: str) -> PairedDifference:
        values: dict[str, Any] = {}
        for key, (pooled, replicates) in self._pooled_and_replicates(name).items():
            values[key] = float(ours[key][0] - pooled)
            values[f"{key}_ci"] = _interval(ours[key][1] - replicates) if self.cases >= FEWEST_CASES else None
        reasons = {} if self.cases >= FEWEST_CASES else dict.fromkeys(("ap_ci", "best_dice_ci"), self._few_cases)
        return PairedDifference(**values, reasons=reasons)

    def _pooled_and_replicates(self, name: str) -> dict[str, tuple[float, np.ndarray]]:
        """Return AP and best Dice of a score: that of all cases, and those of the bootstrap samples (R,)."""
        pooled, samples = self.pooled[name], self.bootstrap[name]
        return {
            "ap": (pooled.average_precision()[0], samples.average_precision()),
            "best_dice": (pooled.best_dice()[0], samples.best_dice()),
        }

    def active_latents(self) -> int:
        """Return the number of latents whose mean varies: Var_x(mu(x)) > 0.01 (Burda et al. 2016)."""
        variance = self.mu_squares / self.mu_number - np.square(self.mu_sum / self.mu_number)
        return int((variance > 0.01).sum())


def _interval(values: np.ndarray) -> Interval | None:
    """Return the 95 % interval of bootstrap values (R,), None if all are NaN."""
    if not np.isfinite(values).any():
        return None
    low, high = np.nanquantile(values, (0.025, 0.975)).tolist()
    return low, high
