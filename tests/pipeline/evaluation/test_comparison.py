"""Comparison: mean and spread over seeds, and going on where it was stopped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import SMALL

from pipeline.errors import UsageError
from pipeline.evaluation import comparison
from pipeline.evaluation.comparison import compare
from pipeline.evaluation.results import Metrics


def test_a_comparison_can_be_taken_up_again(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (cohort, tmp_path / "out", [0.5, 1.0], 2, "train", SMALL)
    original, evaluated = comparison.evaluate, []

    def stopped(run: Path, *rest: object) -> Metrics:
        evaluated.append(run.name)
        if len(evaluated) == 3:
            raise KeyboardInterrupt
        return original(run, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, device="cpu")
    table = compare(*arguments, device="cpu")
    assert evaluated == [
        "lambda-0.5_seed-0", "lambda-0.5_seed-1", "lambda-1_seed-0", "lambda-1_seed-0", "lambda-1_seed-1",
    ]  # fmt: skip
    for name in ("comparison.csv", "comparison.json", "comparison.md", "comparison.png"):
        assert (tmp_path / "out" / name).is_file(), name

    single = [
        pd.read_csv(tmp_path / "out" / "evaluations" / f"lambda-0.5_seed-{seed}" / "metrics.csv").set_index("score")
        for seed in range(2)
    ]
    row = table[(table["model"] == "ceVAE") & (table["score"] == "rec")].iloc[0]
    values = [metrics.loc["rec", "ap"] for metrics in single]
    assert row["ap"] == pytest.approx(np.mean(values))
    assert row["ap_sd"] == pytest.approx(np.std(values))
    assert row["runs"] == 2
    ce = table[(table["model"] == "CE") & (table["score"] == "kl")].iloc[0]
    assert np.isnan(ce["ap"])


def test_no_seed_is_wrong_usage(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        compare(cohort, tmp_path, seeds=0)
