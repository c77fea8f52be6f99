"""What an evaluation counts: histograms of all cases' voxels, and the numbers that follow from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluation.baselines import BASELINES, Baselines
from pipeline.evaluation.metrics import Counts, ScoreHistograms, dice_of_splits
from pipeline.scoring import MAPS

REPLICATES = 200
"""Bootstrap samples of the cases, for the intervals."""
SPLITS = 100
"""Random splits of the cases, for the Dice at a threshold from a fifth of them."""
COARSE_BITS = 14
"""Bits of the scores in the many histograms for intervals and splits."""
ANOMALOUS_PIXELS = 20
"""A slice with more annotated pixels is anomalous, one with none normal (Zimmerer et al. 2019)."""
FEWEST_CASES = 5
"""Below, neither intervals nor splits mean anything."""
SCORES = (*MAPS, *BASELINES)
SLICE_SCORES = ("elbo", "kl", "rec", "max_recommended", "max_intensity_same_path")
NO_LESIONS = "there are no annotated voxels, or no others"
NOT_TRAINED = "not trained: at lambda = 1 nothing trains the variance"


@dataclass(frozen=True)
class CaseCounts:
    """What a case contributes, without its maps."""

    name: str
    counts: dict[str, Counts]
    lesion_ml: float
    outside: int
    slices: pd.DataFrame
    mu: np.ndarray
    voxel_ml: float


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

    def voxel_metrics(self, name: str) -> dict[str, Any]:
        """Return the voxel-wise metrics of a score, what cannot be said as null with the reason beside it."""
        pooled = self.pooled[name]
        metrics: dict[str, Any] = {
            "ap": pooled.average_precision()[0],
            "auroc_brain": pooled.auroc()[0],
            "auroc_all": pooled.with_outside(self.outside).auroc()[0],
            "best_dice": pooled.best_dice()[0],
            "best_threshold": pooled.best_threshold(),
        }
        if name == "recommended" and self.threshold is not None:
            metrics["dice_at_fpr"] = pooled.dice_at(self.threshold)
        else:
            reason = (
                "the model carries no calibration" if self.threshold is None else "only `recommended` is calibrated"
            )
            metrics |= {"dice_at_fpr": None, "dice_at_fpr_reason": reason}
        few = f"{self.cases} cases are fewer than {FEWEST_CASES}"
        if self.cases < FEWEST_CASES:
            for key in ("dice_20_80", "ap_ci", "best_dice_ci"):
                metrics |= {key: None, f"{key}_reason": few}
        else:
            split = dice_of_splits(self.choosing[name], self.measuring[name])
            known = split[np.isfinite(split)]
            if len(known):
                metrics |= {"dice_20_80": float(known.mean()), "dice_20_80_sd": float(known.std())}
            else:
                metrics |= {"dice_20_80": None, "dice_20_80_reason": NO_LESIONS}
            for key, values in (
                ("ap_ci", self.bootstrap[name].average_precision()),
                ("best_dice_ci", self.bootstrap[name].best_dice()),
            ):
                if np.isfinite(values).any():
                    metrics[key] = np.nanquantile(values, (0.025, 0.975)).tolist()
                else:
                    metrics |= {key: None, f"{key}_reason": NO_LESIONS}
        return _without_nan(metrics, NO_LESIONS)

    def active_latents(self) -> int:
        """Return the number of latents whose mean varies: Var_x(mu(x)) > 0.01 (Burda et al. 2016)."""
        variance = self.mu_squares / self.mu_number - np.square(self.mu_sum / self.mu_number)
        return int((variance > 0.01).sum())


def _without_nan(metrics: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return metrics with null and a reason where a number is NaN."""
    for key in [key for key, value in metrics.items() if isinstance(value, float) and np.isnan(value)]:
        metrics |= {key: None, f"{key}_reason": reason}
    return {key: float(value) if isinstance(value, np.floating) else value for key, value in metrics.items()}


def _unknown(reason: str) -> dict[str, Any]:
    keys = ("ap", "auroc_brain", "auroc_all", "best_dice", "dice_20_80", "dice_at_fpr", "ap_ci", "best_dice_ci")
    return {**dict.fromkeys(keys), "reason": reason}


def model_metrics(totals: Totals, name: str, kl_is_trained: bool) -> dict[str, Any]:
    if name in ("kl", "combined") and not kl_is_trained:
        return _unknown(NOT_TRAINED)
    return totals.voxel_metrics(name)


def baseline_metrics(totals: Totals, name: str, baselines: Baselines) -> dict[str, Any]:
    if name.startswith("voxelwise") and baselines.reason is not None:
        return _unknown(baselines.reason)
    return totals.voxel_metrics(name)


def slice_metrics(table: pd.DataFrame, totals: Totals, kl_is_trained: bool) -> dict[str, Any]:
    """Return how well slice scores tell anomalous slices (more than 20 annotated pixels) from normal ones (none)."""
    clear = table[(table["annotated_pixels"] == 0) | (table["annotated_pixels"] > ANOMALOUS_PIXELS)]
    anomalous = clear["annotated_pixels"] > 0
    metrics: dict[str, Any] = {"normal": int((~anomalous).sum()), "anomalous": int(anomalous.sum())}
    for name in SLICE_SCORES:
        if name in ("elbo", "kl") and not kl_is_trained:
            metrics[name] = {"auroc": None, "ap": None, "reason": NOT_TRAINED}
        elif anomalous.nunique() < 2:
            metrics[name] = {"auroc": None, "ap": None, "reason": "all slices are normal, or all anomalous"}
        else:
            score = -clear[name] if name == "elbo" else clear[name]  # the score is -ELBO
            metrics[name] = {
                "auroc": float(roc_auc_score(anomalous, score)),
                "ap": float(average_precision_score(anomalous, score)),
            }
    metrics["kl_q95"] = float(table["kl"].quantile(0.95)) if kl_is_trained else None
    if not kl_is_trained:
        metrics["kl_q95_reason"] = NOT_TRAINED
    metrics["active_latents"] = totals.active_latents()
    return metrics


def verdict(metrics: dict[str, Any]) -> str:
    """Return in words whether the model is worth anything: `recommended` against the best baseline."""
    known = {name: values["ap"] for name, values in metrics["baselines"].items() if values["ap"] is not None}
    ap = metrics["pixels"]["recommended"]["ap"]
    if ap is None or not known:
        return "Nothing can be said: there are no annotated voxels."
    best = max(known, key=lambda name: known[name])
    if ap > known[best]:
        return (
            f"`recommended` (AP {ap:.3f}) is better than the best baseline without a model, {best} ({known[best]:.3f})."
        )
    return (
        f"`recommended` (AP {ap:.3f}) does NOT beat the baseline {best} (AP {known[best]:.3f}), which needs no model: "
        "as it is, this model is of no use on this cohort."
    )
