"""Findings: the parts of a map that score higher than healthy scans, their places and volumes."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.nifti import voxel_ml
from pipeline.scoring.calibration import Calibration

CONNECTIVITY = np.ones((3, 3, 3), bool)
"""Neighbourhood of a voxel: voxels that share a corner are connected."""


@dataclass(frozen=True)
class Findings:
    """The calibrated result of a map, on the scan's grid.

    Attributes:
        surprise: (X, Y, Z) in float32, 0 outside the mask.
        anomalies: (X, Y, Z) in uint8, 1 where `recommended` passes the threshold.
        anomaly_ml: their volume, ml.
        clusters: their connected parts; voxels that share a corner are connected.
        largest_cluster_ml: volume of the largest, ml.
        largest_cluster_ras_mm: its centre, "x y z" in mm to the right, front and top; empty if there is no cluster.
        max_surprise: the highest surprise.
    """

    surprise: np.ndarray
    anomalies: np.ndarray
    anomaly_ml: float
    clusters: int
    largest_cluster_ml: float
    largest_cluster_ras_mm: str
    max_surprise: float

    def summary(self) -> dict[str, Any]:
        """Return the values for a table: all fields but the maps."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("surprise", "anomalies")
        }


def find_anomalies(
    recommended: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    calibration: Calibration,
    fpr: float,
    minimum_cluster_ml: float = 0.0,
) -> Findings:
    """Return the findings of a map.

    Args:
        recommended: the score (X, Y, Z).
        mask: the brain, boolean (X, Y, Z).
        affine: affine from voxels to mm, (4, 4).
        calibration: the calibration on healthy scans.
        fpr: share of a healthy brain's voxels that may be marked.
        minimum_cluster_ml: smaller connected parts are dropped, ml.
    """
    box = ndimage.find_objects(mask.view(np.uint8))[0]  # the space outside the brain only costs time
    surprise, anomalies = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.uint8)
    surprise[mask] = calibration.surprise(recommended[mask])
    marked = mask[box] & (recommended[box] >= calibration.threshold(fpr))
    labels, number = ndimage.label(marked, CONNECTIVITY)
    volumes = np.bincount(labels.ravel(), minlength=number + 1) * voxel_ml(affine)
    volumes[0] = 0
    kept = volumes >= max(minimum_cluster_ml, np.finfo(float).tiny)
    volumes = np.where(kept, volumes, 0)
    centre = ""
    if kept.any():
        place = np.asarray(ndimage.center_of_mass(labels == volumes.argmax())) + [side.start for side in box]
        x, y, z = affine[:3] @ [*place, 1]
        centre = f"{x:.1f} {y:.1f} {z:.1f}"
    anomalies[box] = kept[labels]
    return Findings(
        surprise,
        anomalies,
        float(volumes.sum()),
        int(kept.sum()),
        float(volumes.max()),
        centre,
        float(surprise.max()),
    )
