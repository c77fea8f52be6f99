"""Findings: volumes, clusters and places that are known."""

import numpy as np
import pytest

from pipeline.scoring.calibration import Calibration, count_scores
from pipeline.scoring.findings import Findings, find_anomalies

AFFINE = np.asarray([[-2.0, 0, 0, 10], [0, 0, 3.0, -20], [0, 2.0, 0, 5], [0, 0, 0, 1]])
"""Left to right reversed, the last two axes exchanged; a voxel has 12 mm3."""


@pytest.fixture
def calibration() -> Calibration:
    return Calibration.of([count_scores(np.linspace(0.0, 1.0, 1000, dtype=np.float32))], brain_ml=1000.0)


@pytest.fixture
def recommended() -> np.ndarray:
    volume = np.zeros((20, 20, 20), np.float32)
    volume[2:4, 2:4, 2:4] = 5.0  # 8 voxels
    volume[10:13, 10:13, 10:13] = 3.0  # 27 voxels
    volume[18, 18, 18] = 9.0  # outside the mask
    return volume


def found(recommended: np.ndarray, calibration: Calibration, **options: float) -> Findings:
    mask = np.ones(recommended.shape, bool)
    mask[18:] = False
    return find_anomalies(recommended, mask, AFFINE, calibration, **{"fpr": 0.01, **options})


def test_clusters_have_their_volume_and_place(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration)
    assert findings.anomaly_ml == pytest.approx(35 * 12 / 1000)
    x, y, z = AFFINE[:3] @ [11, 11, 11, 1]
    assert findings.summary() == {
        "anomaly_ml": findings.anomaly_ml,
        "clusters": 2,
        "largest_cluster_ml": pytest.approx(27 * 12 / 1000),
        "largest_cluster_ras_mm": f"{x:.1f} {y:.1f} {z:.1f}",
        "max_surprise": findings.max_surprise,
    }
    assert np.array_equal(findings.anomalies > 0, (recommended > 1) & (np.arange(20)[:, None, None] < 18))


def test_nothing_is_found_outside_the_mask(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration)
    assert findings.surprise[18:].max() == 0
    assert findings.max_surprise == pytest.approx(np.log10(1001), abs=1e-3)


def test_small_clusters_are_dropped_where_asked(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration, minimum_cluster_ml=0.2)
    assert [cluster.volume_ml for cluster in findings.clusters] == [findings.anomaly_ml]
    assert findings.anomalies.sum() == 27
    assert findings.cluster_map.max() == 1


def test_a_map_without_anomalies_has_no_cluster(calibration: Calibration) -> None:
    findings = found(np.zeros((20, 20, 20), np.float32), calibration)
    assert (findings.clusters, findings.anomaly_ml, findings.max_surprise) == ((), 0.0, 0.0)
    assert findings.summary()["largest_cluster_ras_mm"] == ""
    assert findings.cluster_map.max() == 0


def test_a_row_for_each_cluster_the_largest_first(recommended: np.ndarray, calibration: Calibration) -> None:
    recommended[12, 10, 11] = 4.0
    findings = found(recommended, calibration)
    larger, smaller = findings.clusters
    assert (larger.cluster, smaller.cluster) == (1, 2)
    np.testing.assert_allclose(larger.peak_ras_mm, AFFINE[:3] @ [12, 10, 11, 1])
    np.testing.assert_allclose(smaller.centre_ras_mm, AFFINE[:3] @ [2.5, 2.5, 2.5, 1])
    assert larger.peak_recommended == 4.0
    assert larger.mean_recommended == pytest.approx((26 * 3 + 4) / 27)
    assert larger.max_surprise == findings.max_surprise
    assert (larger.slices, smaller.slices) == ((10, 12), (2, 3))
    # The middle of the brain is at index 8.5, and the first axis runs to the left.
    assert (larger.side, smaller.side) == ("left", "right")


def test_the_map_has_the_numbers_of_the_table(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration)
    assert findings.cluster_map.dtype == np.uint16
    assert np.array_equal(findings.cluster_map > 0, findings.anomalies > 0)
    voxels = np.bincount(findings.cluster_map.ravel())[1:]
    assert [cluster.volume_ml for cluster in findings.clusters] == pytest.approx(list(voxels * 12 / 1000))
    assert findings.cluster_map[11, 11, 11] == 1


def test_a_cluster_over_the_middle_is_on_both_sides(calibration: Calibration) -> None:
    recommended = np.zeros((20, 20, 20), np.float32)
    recommended[6:12, 5, 5] = 3.0
    assert found(recommended, calibration).clusters[0].side == "both"


@pytest.mark.parametrize(("start", "touches"), [(14, True), (13, False)])
def test_a_cluster_beside_the_edge_of_the_brain_says_so(calibration: Calibration, start: int, touches: bool) -> None:
    recommended = np.zeros((20, 20, 1), np.float32)
    recommended[start : start + 4, 3:5] = 3.0  # the mask ends at 18; the only slice has no slice beside it
    assert found(recommended, calibration, scan_axis=0).clusters[0].touches_brain_border == touches
