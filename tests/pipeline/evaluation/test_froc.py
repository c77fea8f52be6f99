"""Lesion-wise results of several cases and their FROC curves, by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.evaluation.figures import froc_figure
from pipeline.evaluation.froc import found_at, lesion_metrics
from pipeline.evaluation.lesion_results import Froc, FrocPoint, LesionGroup, LesionMetrics
from pipeline.evaluation.lesions import CaseMarks, Lesions, Marks, marks_of_case
from pipeline.evaluation.metrics import ScoreHistograms


def line(**values: float) -> np.ndarray:
    """Return a map of 12 voxels in a row, 0 but for the given ones: `v3=2` is a 2 at voxel 3."""
    row = np.zeros((12, 1, 1))
    for name, value in values.items():
        row[int(name[1:])] = value
    return row


def evaluated() -> LesionMetrics:
    """Return two cases: lesions of 0.5, 1 and 6 ml, found from scores of 2, never, and from 3 on."""
    first = Lesions(line(v0=1, v2=1, v3=1) > 0, voxel_ml=0.5)
    second = Lesions(line(v0=1, v1=1) > 0, voxel_ml=3.0)
    thresholds = {"recommended": np.array([4.0, 3.0, 2.0, 1.0]), "intensity_same_path": np.array([1.0])}
    maps = [
        # A false cluster from 4 on, one from 2 on, a third one from 1 on.
        {"recommended": line(v0=2, v5=4, v7=1, v11=2)},
        {"recommended": line(v1=3, v4=1, v7=1)},
    ]
    cases = [
        marks_of_case({**scores, "intensity_same_path": line()}, lesions, 2.0, thresholds)
        for scores, lesions in zip(maps, (first, second), strict=True)
    ]
    return lesion_metrics(cases, 2.0, "by hand", thresholds)


def test_a_froc_curve_is_that_by_hand() -> None:
    curve = evaluated().froc
    assert [point.threshold for point in curve] == [4, 3, 2, 1]
    assert [point.false_clusters_per_case for point in curve] == [0.5, 0.5, 1.0, 2.5]
    assert [point.found for point in curve] == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])
    assert [point.found_by_size["below 1 ml"] for point in curve] == [0, 0, 1, 1]
    assert [point.found_by_size["1 to 5 ml"] for point in curve] == [0, 0, 0, 0]
    assert [point.found_by_size["5 to 20 ml"] for point in curve] == [0, 1, 1, 1]
    assert [point.found_by_size["above 20 ml"] for point in curve] == [None] * 4


def test_shares_and_false_clusters_at_the_threshold_are_those_by_hand() -> None:
    metrics = evaluated()
    assert (metrics.threshold, metrics.threshold_from) == (2.0, "by hand")
    assert metrics.false_positives_per_case == 1.0
    assert metrics.false_positive_ml_per_case == 0.5
    assert (metrics.all.lesions, metrics.all.hit) == (3, pytest.approx(2 / 3))
    assert (metrics.by_size["below 1 ml"].lesions, metrics.by_size["below 1 ml"].hit) == (1, 1)
    assert metrics.by_size["1 to 5 ml"].hit == 0
    assert metrics.by_size["above 20 ml"] == LesionGroup(
        0,
        reasons=dict.fromkeys(
            ("hit", "hit_at_one_false_cluster", "hit_at_one_false_cluster_same_path"), "there is no such lesion"
        ),
    )


def test_the_share_at_one_false_cluster_is_on_the_curve_and_null_with_a_reason_if_the_curve_does_not_reach_it() -> None:
    everything = evaluated().all
    assert everything.hit_at_one_false_cluster == pytest.approx(2 / 3)
    assert everything.hit_at_one_false_cluster_same_path is None
    content = everything.to_json()
    assert "one false cluster" in content["hit_at_one_false_cluster_same_path_reason"]
    assert "hit_reason" not in content


def points(*pairs: tuple[float, float]) -> Froc:
    return tuple(FrocPoint(-i, false, found, {"size": found / 2}) for i, (false, found) in enumerate(pairs))


def test_shares_between_the_points_are_interpolated() -> None:
    curve = points((0.5, 0.2), (1.5, 0.6), (3.0, 0.9))
    assert found_at(curve, 1) == pytest.approx(0.4)
    assert found_at(curve, 1, "size") == pytest.approx(0.2)
    assert found_at(curve, 0.25) == pytest.approx(0.1)  # from nothing at all to the first point
    assert found_at(curve, 3.5) is None
    assert found_at((), 1) is None


def test_clusters_that_grow_together_do_not_flatter_the_share() -> None:
    assert found_at(points((0.5, 0.2), (2.0, 0.2), (0.2, 1.0)), 1) == pytest.approx(0.2)


def test_without_lesions_there_are_false_clusters_and_no_shares() -> None:
    none = Marks(np.zeros(0, bool), 2, 0.2, 0.2, 0.0)
    thresholds = {"recommended": np.array([1.0]), "intensity_same_path": np.array([1.0])}
    metrics = lesion_metrics(
        [CaseMarks(np.zeros(0), none, {name: [none] for name in thresholds})], 1.0, "hand", thresholds
    )
    assert (metrics.froc[0].found, metrics.froc[0].false_clusters_per_case) == (None, 2)
    assert metrics.all.hit is None
    assert metrics.all.why("hit") == "there is no such lesion"


def test_the_results_survive_the_file() -> None:
    metrics = evaluated()
    assert LesionMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_the_figure_has_a_panel_for_each_size_with_lesions_and_the_path_without_a_model_dashed() -> None:
    metrics = evaluated()
    figure = froc_figure(replace(metrics, froc_same_path=metrics.froc))
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["all: 3 lesions", "below 1 ml: 1 lesion", "1 to 5 ml: 1 lesion", "5 to 20 ml: 1 lesion"]
    ours, same_path = figure.axes[0].get_lines()[:2]
    assert (ours.get_linestyle(), same_path.get_linestyle()) == ("-", "--")
    assert ours.get_xdata().tolist() == [0, 0.5, 0.5, 1.0, 2.5]
    assert ours.get_ydata().tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 2 / 3])


def test_a_curve_goes_on_only_where_the_number_of_false_clusters_does() -> None:
    """At low thresholds clusters grow together, so there are fewer of them."""
    metrics = evaluated()
    points = [replace(metrics.froc[0], false_clusters_per_case=number) for number in (1.0, 3.0, 2.0, 4.0)]
    (line, *_) = froc_figure(replace(metrics, froc=tuple(points))).axes[0].get_lines()
    assert line.get_xdata().tolist() == [0, 1, 3, 4]


maps = st.lists(st.integers(0, 5), min_size=60, max_size=60).map(lambda values: np.reshape(values, (5, 4, 3)))


@given(maps, st.lists(st.booleans(), min_size=60, max_size=60).map(lambda values: np.reshape(values, (5, 4, 3))))
@settings(max_examples=100, deadline=None)
def test_a_lesion_is_found_up_to_its_highest_score(scores: np.ndarray, label: np.ndarray) -> None:
    lesions = Lesions(label, 1.0)
    numbered, number = ndimage.label(label, np.ones((3, 3, 3)))
    highest = np.asarray([scores[numbered == i + 1].max() for i in range(number)])
    for threshold in range(6):
        assert lesions.marks_of(scores, threshold).hit.tolist() == (highest >= threshold).tolist()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200), st.floats(0.0001, 0.5))
@settings(max_examples=200, deadline=None)
def test_a_threshold_marks_at_most_its_share_of_the_healthy_and_the_next_lower_one_more(
    values: list[int], share: float
) -> None:
    scores = np.asarray(values, np.float32)
    thresholds = ScoreHistograms().add(scores, np.zeros(len(scores), bool)).thresholds_at(np.array([share]))
    if len(thresholds) == 0:
        assert (scores == scores.max()).mean() > share
        return
    assert (scores >= thresholds[0]).mean() <= share
    lower = scores[scores < thresholds[0]]
    assert (scores >= lower.max()).mean() > share


def test_thresholds_run_from_the_highest_down_without_repetition() -> None:
    histogram = ScoreHistograms().add(np.arange(100.0), np.zeros(100, bool))
    assert histogram.thresholds_at(np.array([0.001, 0.02, 0.021, 0.1])).tolist() == [98, 90]


def test_without_healthy_voxels_there_are_no_thresholds() -> None:
    assert len(ScoreHistograms().add(np.arange(9.0), np.ones(9, bool)).thresholds_at(np.array([0.1]))) == 0
