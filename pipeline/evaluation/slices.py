"""Slice-wise detection: how well the scores of whole slices tell anomalous ones from normal ones."""

import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluation.results import SliceMetrics, SliceScore

ANOMALOUS_PIXELS = 20
"""A slice with more annotated voxels is anomalous, one with none normal (Zimmerer et al. 2019)."""

SLICE_SCORES = {
    "elbo": "-ELBO",
    "kl": "kl",
    "rec": "rec",
    "max_recommended": "max_recommended",
    "max_intensity_same_path": "max_intensity_same_path",
}
"""The scores of slices: their names in metrics.json, and what people read."""

NOT_TRAINED = "not trained: at lambda = 1 nothing trains the variance"


def slice_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of slices, a column each, all the higher the more anomalous: of the ELBO its negative."""
    return table[list(SLICE_SCORES)].assign(elbo=-table["elbo"])


def is_normal(table: pd.DataFrame) -> pd.Series:
    """Return which slices of a table are normal."""
    return table["annotated_pixels"] == 0


def is_anomalous(table: pd.DataFrame) -> pd.Series:
    """Return which slices of a table are anomalous."""
    return table["annotated_pixels"] > ANOMALOUS_PIXELS


def slice_metrics(table: pd.DataFrame, active_latents: int, kl_is_trained: bool) -> SliceMetrics:
    """Return how well slice scores tell anomalous slices from normal ones.

    Args:
        table: a row for each slice.
        active_latents: their number.
        kl_is_trained: whether KL and ELBO mean anything.
    """
    clear = is_normal(table) | is_anomalous(table)
    anomalous, scores = is_anomalous(table)[clear], slice_scores(table)[clear]

    def measured(name: str) -> SliceScore:
        if name in ("elbo", "kl") and not kl_is_trained:
            return SliceScore(reason=NOT_TRAINED)
        if anomalous.nunique() < 2:
            return SliceScore(reason="all slices are normal, or all anomalous")
        auroc, ap = (metric(anomalous, scores[name]) for metric in (roc_auc_score, average_precision_score))
        return SliceScore(float(auroc), float(ap))

    return SliceMetrics(
        normal=int((~anomalous).sum()),
        anomalous=int(anomalous.sum()),
        scores={name: measured(name) for name in SLICE_SCORES},
        kl_q95=float(table["kl"].quantile(0.95)) if kl_is_trained else None,
        active_latents=active_latents,
        kl_q95_reason="" if kl_is_trained else NOT_TRAINED,
    )
