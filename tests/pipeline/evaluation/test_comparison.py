"""Comparison: mean and spread over seeds, and going on where it was stopped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import SMALL

from pipeline.errors import UsageError
from pipeline.evaluation import comparison
from pipeline.evaluation.comparison import _combinations, compare
from pipeline.evaluation.results import Metrics
from pipeline.model import settings_of


def test_a_comparison_can_be_taken_up_again(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (cohort, tmp_path / "out", [0.5, 1.0], 2, "train", SMALL)
    original, evaluated = comparison.evaluate, []

    def stopped(run: Path, *rest: object, **named: object) -> Metrics:
        evaluated.append(run.name)
        if len(evaluated) == 3:
            raise KeyboardInterrupt
        return original(run, *rest, **named)  # type: ignore[arg-type]

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


def test_a_sweep_trains_all_combinations_of_its_values(cohort: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "epochs=1"]
    sweeps = ["kl_weight=1,30", "noise=squares,coarse"]
    table = compare(cohort, tmp_path, [0.5], 1, "train", settings, device="cpu", sweeps=sweeps)
    variants = [variant for variant in table["variant"].unique() if variant]
    assert variants == [f"kl_weight={weight}, noise={noise}" for weight in (1, 30) for noise in ("squares", "coarse")]
    for folder in (tmp_path / "runs").iterdir():
        written = settings_of((folder / "configs" / "train.yaml").read_text())
        assert folder.name == f"kl_weight-{written['kl_weight']}_noise-{written['noise']}_lambda-0.5_seed-0"
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert lines[0].startswith("| variant | model | score | AP |")
    assert any(line.startswith("| kl_weight=30, noise=coarse | ceVAE | combined |") for line in lines)
    assert (tmp_path / "comparison.png").is_file()


@pytest.mark.parametrize("sweep", ["kl_weight", "kl_weight=", "kl_weight=[1"])
def test_a_sweep_without_values_is_wrong_usage(cohort: Path, tmp_path: Path, sweep: str) -> None:
    with pytest.raises(UsageError, match="--sweep"):
        compare(cohort, tmp_path, sweeps=[sweep])


def test_the_values_of_a_sweep_may_be_lists() -> None:
    assert _combinations(["features=[4,4,8,8],[8,8,8,8]"]) == [
        ("features=[4, 4, 8, 8]",),
        ("features=[8, 8, 8, 8]",),
    ]
