"""The lesions of a case, counted by hand."""

import numpy as np
import pytest

from pipeline.evaluation.lesions import CaseMarks, Lesions


def test_lesions_hit_and_false_clusters_are_counted() -> None:
    label = np.zeros((20, 20, 5), bool)
    label[2:4, 2:4, 1] = True  # hit
    label[10:12, 10:12, 1] = True  # missed
    scores = np.zeros(label.shape)
    scores[3:6, 3:6, 1] = 1  # overlaps the first
    scores[15, 15, 3] = scores[18, 2:4, 0] = 1  # two false clusters, of one and of two voxels
    lesions = Lesions(label, voxel_ml=0.1)
    marks = lesions.marks_of(scores, threshold=0.5)
    assert lesions.volumes_ml.tolist() == pytest.approx([0.4, 0.4])
    assert marks.hit.tolist() == [True, False]
    assert marks.false_clusters == 2
    assert marks.false_ml == pytest.approx(0.3)
    assert marks.marked_ml == pytest.approx(1.2)
    assert marks.overlap_ml == pytest.approx(0.1)
    assert CaseMarks(lesions.volumes_ml, marks, {}).dice == pytest.approx(2 * 0.1 / (0.8 + 1.2))


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    label = np.zeros((4, 4, 4), bool)
    label[0, 0, 0] = label[1, 1, 1] = True
    assert len(Lesions(label, 1.0).volumes_ml) == 1


def test_a_case_without_lesions_has_false_clusters_only() -> None:
    marks = Lesions(np.zeros((3, 3, 3), bool), 1.0).marks_of(np.ones((3, 3, 3)), 0.5)
    assert (len(marks.hit), marks.false_clusters, marks.false_ml) == (0, 1, 27)


def test_without_lesions_and_marks_there_is_no_dice() -> None:
    lesions = Lesions(np.zeros((3, 3, 3), bool), 1.0)
    assert np.isnan(CaseMarks(lesions.volumes_ml, lesions.marks_of(np.zeros((3, 3, 3)), 0.5), {}).dice)
    assert CaseMarks(lesions.volumes_ml, lesions.marks_of(np.ones((3, 3, 3)), 0.5), {}).dice == 0


def test_a_cluster_that_touches_two_lesions_finds_both_and_is_not_false() -> None:
    label = np.zeros((9, 1, 1), bool)
    label[1] = label[7] = True
    marks = Lesions(label, 1.0).marks_of(np.ones(label.shape), 0.5)
    assert (marks.hit.tolist(), marks.false_clusters, marks.false_ml) == ([True, True], 0, 0)


def test_clusters_below_the_smallest_volume_find_nothing_and_are_not_false() -> None:
    label = np.zeros((12, 1, 1), bool)
    label[0:4] = label[8] = True
    scores = np.zeros(label.shape)
    scores[0:2] = scores[8] = scores[11] = 1
    marks = Lesions(label, voxel_ml=0.5, minimum_cluster_ml=1.0).marks_of(scores, 0.5)
    assert (marks.hit.tolist(), marks.false_clusters) == ([True, False], 0)
    assert (marks.marked_ml, marks.overlap_ml) == (1.0, 1.0)


def test_nothing_is_marked_above_all_scores() -> None:
    label = np.zeros((4, 4, 4), bool)
    label[0, 0, 0] = True
    marks = Lesions(label, 1.0).marks_of(np.zeros(label.shape), 0.5)
    assert (marks.hit.tolist(), marks.false_clusters, marks.false_ml) == ([False], 0, 0)
