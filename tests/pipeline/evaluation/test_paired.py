"""Paired differences and the verdict, on scores whose order is known."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import count_scores
from pipeline.evaluation.paired import PairedDifference
from pipeline.evaluation.results import VoxelMetrics
from pipeline.evaluation.totals import CaseCounts, Totals
from pipeline.evaluation.verdict import Outcome, Verdict, verdict

VOXELS = 400
LESION = np.arange(VOXELS) < 40


def scores(quality: float, seed: int) -> np.ndarray:
    """Return noise that a lesion raises by `quality`: the higher, the better the score."""
    return np.random.default_rng(seed).normal(size=VOXELS) + quality * LESION


def totals_of(cases: list[dict[str, np.ndarray]]) -> Totals:
    totals = Totals(len(cases), seed=0)
    for number, maps in enumerate(cases):
        counts = {name: count_scores(values, LESION) for name, values in maps.items()}
        totals.add(number, CaseCounts(str(number), counts, 1.0, 0, pd.DataFrame(), np.zeros((1, 1)), 0.001))
    return totals


def judged(
    ours: float, cases: int = 8, same_path: float = 2.0, median: float = 1.0
) -> tuple[dict[str, PairedDifference], Verdict]:
    """Return the paired differences and the verdict of scores of so much quality."""
    qualities = {"recommended": ours, "intensity_same_path": same_path, "intensity_median": median}
    # The noise of a case is the same in all scores.
    totals = totals_of([{name: scores(value, i) for name, value in qualities.items()} for i in range(cases)])
    metrics = {name: totals._voxel_metrics(name) for name in qualities}
    own = metrics.pop("recommended")
    paired = totals.paired(metrics)
    return paired, verdict(own.ap, {name: values.ap for name, values in metrics.items()}, paired)


def test_equal_scores_differ_by_exactly_nothing_and_it_cannot_be_told() -> None:
    paired, said = judged(ours=2.0)
    difference = paired["intensity_same_path"]
    assert (difference.ap, difference.ap_ci) == (0, (0, 0))
    assert (difference.best_dice, difference.best_dice_ci) == (0, (0, 0))
    assert said.outcome is Outcome.UNKNOWN
    assert said.sentence.startswith("It cannot be told")
    assert "better" not in said.sentence
    assert "worse" not in said.sentence


def test_a_score_that_is_better_on_every_patient_is_better() -> None:
    paired, said = judged(ours=4.0)
    assert paired["intensity_same_path"].ap_ci[0] > 0
    assert said.outcome is Outcome.BETTER
    assert "`recommended` is better than the same path without a model" in said.sentence


def test_a_score_that_is_worse_on_every_patient_is_worse() -> None:
    paired, said = judged(ours=1.0, median=0.5)
    assert paired["intensity_same_path"].ap_ci[1] < 0
    assert said.outcome is Outcome.WORSE
    assert "`recommended` is worse than the same path without a model" in said.sentence


def test_a_stronger_other_baseline_makes_the_model_useless_and_is_named() -> None:
    paired, said = judged(ours=3.0, same_path=2.0, median=5.0)
    assert paired["intensity_same_path"].ap_ci[0] > 0
    assert said.outcome is Outcome.WORSE
    assert "is worse than intensity_median" in said.sentence
    assert "better" not in said.sentence


def test_the_sentence_gives_both_values_the_difference_and_its_interval() -> None:
    difference = PairedDifference(ap=0.1, ap_ci=(0.02, 0.2))
    said = verdict(0.5, {"intensity_same_path": 0.4}, {"intensity_same_path": difference})
    for number in ("0.500", "0.400", "+0.100", "+0.020", "+0.200"):
        assert number in said.sentence


def test_below_five_cases_it_cannot_be_told_and_the_reason_is_given() -> None:
    paired, said = judged(ours=4.0, cases=4)
    content = paired["intensity_same_path"].to_json()
    assert content["ap"] > 0
    assert content["ap_ci"] is None
    assert content["best_dice_ci"] is None
    assert content["ap_ci_reason"] == content["best_dice_ci_reason"] == "4 cases are fewer than 5"
    assert said.outcome is Outcome.UNKNOWN
    assert "4 cases are fewer than 5" in said.sentence


def test_an_unknown_baseline_has_the_reason() -> None:
    totals = totals_of([{"recommended": scores(2, i), "intensity": scores(1, i)} for i in range(5)])
    unknown = totals.paired({"voxelwise_z": VoxelMetrics(reason="no training scans")})
    assert unknown == {"voxelwise_z": PairedDifference(reason="no training scans")}


def test_without_lesions_it_cannot_be_told() -> None:
    said = verdict(None, {"intensity_same_path": None}, {"intensity_same_path": PairedDifference(reason="none")})
    assert said.outcome is Outcome.UNKNOWN
    assert "no annotated voxels" in said.sentence


def test_the_interval_is_that_of_the_differences_of_the_same_draws() -> None:
    """Both scores vary a lot over the patients, their difference does not: it is known far better than either."""
    qualities = np.linspace(0.5, 4, 8)
    totals = totals_of(
        [
            {"recommended": scores(quality + 0.5, i), "intensity_same_path": scores(quality, i)}
            for i, quality in enumerate(qualities)
        ]
    )
    own, other = totals._voxel_metrics("recommended"), totals._voxel_metrics("intensity_same_path")
    low, high = totals.paired({"intensity_same_path": other})["intensity_same_path"].ap_ci
    assert own.ap_ci[0] < other.ap_ci[1]  # the intervals of the two overlap
    assert 0 < low < high < other.ap_ci[1] - other.ap_ci[0]


values = st.floats(0, 1)


@given(values, values, st.tuples(values, values))
@settings(max_examples=300, deadline=None)
def test_the_verdict_turns_round_with_the_scores(ours: float, theirs: float, widths: tuple[float, float]) -> None:
    """Property: better becomes worse if the scores are exchanged, and equal values are never better or worse."""
    difference = ours - theirs
    low, high = difference - widths[0], difference + widths[1]
    there = PairedDifference(ap=difference, ap_ci=(low, high))
    back = PairedDifference(ap=-difference, ap_ci=(-high, -low))
    assert there.sign == -back.sign
    said = verdict(ours, {"intensity_same_path": theirs}, {"intensity_same_path": there})
    if f"{ours:.3f}" == f"{theirs:.3f}":
        assert said.outcome is Outcome.UNKNOWN
    if low <= 0 <= high:
        assert said.outcome is Outcome.UNKNOWN


optional = st.none() | st.floats(-1, 1)
intervals = st.none() | st.tuples(st.floats(-1, 1), st.floats(-1, 1))


@given(optional, intervals, optional, intervals, st.dictionaries(st.sampled_from(["ap_ci", "best_dice_ci"]), st.text()))
@settings(max_examples=100, deadline=None)
def test_a_difference_survives_the_file(
    ap: float | None,
    ap_ci: tuple[float, float] | None,
    dice: float | None,
    dice_ci: tuple[float, float] | None,
    reasons: dict[str, str],
) -> None:
    difference = PairedDifference(ap, ap_ci, dice, dice_ci, reasons=reasons)
    assert PairedDifference.from_json(json.loads(json.dumps(difference.to_json()))) == difference


@pytest.mark.parametrize(("ap", "interval"), [(0.0004, (0.0002, 0.0007)), (0.2, (-0.01, 0.4)), (0.2, None)])
def test_what_is_below_the_resolution_or_uncertain_has_no_sign(ap: float, interval: tuple[float, float] | None) -> None:
    assert PairedDifference(ap=ap, ap_ci=interval).sign == 0
