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
    assert findings.clusters == 2
    assert findings.anomaly_ml == pytest.approx(35 * 12 / 1000)
    assert findings.largest_cluster_ml == pytest.approx(27 * 12 / 1000)
    x, y, z = AFFINE[:3] @ [11, 11, 11, 1]
    assert findings.largest_cluster_ras_mm == f"{x:.1f} {y:.1f} {z:.1f}"
    assert np.array_equal(findings.anomalies > 0, (recommended > 1) & (np.arange(20)[:, None, None] < 18))


def test_nothing_is_found_outside_the_mask(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration)
    assert findings.surprise[18:].max() == 0
    assert findings.max_surprise == pytest.approx(np.log10(1001), abs=1e-3)


def test_small_clusters_are_dropped_where_asked(recommended: np.ndarray, calibration: Calibration) -> None:
    findings = found(recommended, calibration, minimum_cluster_ml=0.2)
    assert findings.clusters == 1
    assert findings.anomalies.sum() == 27
    assert findings.anomaly_ml == findings.largest_cluster_ml


def test_a_map_without_anomalies_has_no_cluster(calibration: Calibration) -> None:
    findings = found(np.zeros((20, 20, 20), np.float32), calibration)
    assert (findings.clusters, findings.anomaly_ml, findings.largest_cluster_ml) == (0, 0.0, 0.0)
    assert findings.largest_cluster_ras_mm == ""
    assert findings.max_surprise == 0
