"""Lesion-wise detection, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.lesions import lesion_metrics, lesions_of
from pipeline.evaluation.results import LesionGroup


def test_lesions_hit_and_false_positives_are_counted() -> None:
    label = np.zeros((20, 20, 5), bool)
    label[2:4, 2:4, 1] = True  # hit
    label[10:12, 10:12, 1] = True  # missed
    scores = np.zeros(label.shape)
    scores[3:6, 3:6, 1] = 1  # overlaps the first
    scores[15, 15, 3] = scores[18, 2, 0] = 1  # two false positives
    lesions, false = lesions_of(scores, label, threshold=0.5, voxel_ml=0.1)
    assert lesions["hit"].tolist() == [True, False]
    assert lesions["volume_ml"].tolist() == pytest.approx([0.4, 0.4])
    assert false == 2


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    label = np.zeros((4, 4, 4), bool)
    label[0, 0, 0] = label[1, 1, 1] = True
    assert len(lesions_of(np.zeros(label.shape), label, 0.5, 1.0)[0]) == 1


def test_a_case_without_lesions_has_false_positives_only() -> None:
    lesions, false = lesions_of(np.ones((3, 3, 3)), np.zeros((3, 3, 3), bool), 0.5, 1.0)
    assert (len(lesions), false) == (0, 1)


def test_shares_are_by_size() -> None:
    lesions = pd.DataFrame({"volume_ml": [0.5, 0.5, 5.0, 20.0], "hit": [True, False, True, True]})
    metrics = lesion_metrics(lesions, [1, 2], 0.7)
    assert metrics.all == LesionGroup(lesions=4, hit=0.75)
    assert metrics.by_size["below 1 ml"] == LesionGroup(lesions=2, hit=0.5)
    assert metrics.by_size["10 ml and more"].hit == 1
    assert metrics.false_positives_per_case == 1.5
