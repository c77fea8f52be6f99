"""Findings: the parts of a map that score higher than healthy scans, their places and volumes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.nifti import voxel_ml
from pipeline.scoring.calibration import Calibration

CONNECTIVITY = np.ones((3, 3, 3), bool)
"""Neighbourhood of a voxel: voxels that share a corner are connected."""

MOST_CLUSTERS = np.iinfo(np.uint16).max
"""Clusters that have a number, the largest first."""

ONE_SIDE = 0.9
"""Share of a cluster's voxels that lie on one side of the brain's middle if the cluster is said to be on that side."""

Place = tuple[float, float, float]
"""A place in mm to the right, to the front and to the top."""


@dataclass(frozen=True)
class Cluster:
    """A connected part of the anomalies: a row of CASE_clusters.csv.

    Attributes:
        cluster: its number; 1 is the largest.
        volume_ml: its volume, ml.
        centre_ras_mm: its centre of mass.
        peak_ras_mm: the voxel with its highest score.
        side: "left" or "right" of the brain's centre of mass, or "both".
        peak_recommended, mean_recommended: its highest and its mean score.
        max_surprise: its highest surprise.
        slices: first and last of the slices that it lies in, as `index` in CASE_slices.csv counts them.
        touches_brain_border: whether one of its voxels has a neighbour outside the brain mask.
    """

    cluster: int
    volume_ml: float
    centre_ras_mm: Place
    peak_ras_mm: Place
    side: str
    peak_recommended: float
    mean_recommended: float
    max_surprise: float
    slices: tuple[int, int]
    touches_brain_border: bool


@dataclass(frozen=True)
class Findings:
    """The calibrated result of a map, on the scan's grid.

    Attributes:
        surprise: (X, Y, Z) in float32, 0 outside the mask.
        anomalies: (X, Y, Z) in uint8, 1 where `recommended` passes the threshold.
        cluster_map: (X, Y, Z) in uint16, the numbers of the clusters, 0 elsewhere.
        clusters: the connected parts of the anomalies, the largest first; voxels that share a corner are connected.
        anomaly_ml: volume of the anomalies, ml.
        max_surprise: the highest surprise.
    """

    surprise: np.ndarray
    anomalies: np.ndarray
    cluster_map: np.ndarray
    clusters: tuple[Cluster, ...]
    anomaly_ml: float
    max_surprise: float

    def summary(self) -> dict[str, Any]:
        """Return the values for the table of all cases."""
        largest = self.clusters[0] if self.clusters else None
        return {
            "anomaly_ml": self.anomaly_ml,
            "clusters": len(self.clusters),
            "largest_cluster_ml": largest.volume_ml if largest else 0.0,
            "largest_cluster_ras_mm": " ".join(f"{mm:.1f}" for mm in largest.centre_ras_mm) if largest else "",
            "max_surprise": self.max_surprise,
        }


def find_anomalies(
    recommended: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    calibration: Calibration,
    fpr: float,
    minimum_cluster_ml: float = 0.0,
    scan_axis: int = 2,
) -> Findings:
    """Return the findings of a map.

    Args:
        recommended: the score (X, Y, Z).
        mask: the brain, boolean (X, Y, Z).
        affine: affine from voxels to mm, (4, 4).
        calibration: the calibration on healthy scans.
        fpr: share of a healthy brain's voxels that may be marked.
        minimum_cluster_ml: smaller connected parts are dropped, ml.
        scan_axis: the axis along which slices are counted, 0 to 2.
    """
    box = ndimage.find_objects(mask.view(np.uint8))[0]  # the space outside the brain only costs time
    surprise, anomalies = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.uint8)
    surprise[mask] = calibration.surprise(recommended[mask])
    labels, number = ndimage.label(mask[box] & (recommended[box] >= calibration.threshold(fpr)), CONNECTIVITY)
    voxels = np.bincount(labels.ravel(), minlength=number + 1)
    voxels[0] = 0
    voxels[voxels * voxel_ml(affine) < minimum_cluster_ml] = 0
    order = np.argsort(-voxels, kind="stable")[: np.count_nonzero(voxels)]
    anomalies[box] = (voxels > 0)[labels]
    numbers = np.zeros(number + 1, np.uint16)
    order = order[:MOST_CLUSTERS]
    numbers[order] = np.arange(1, len(order) + 1)
    cluster_map = np.zeros(mask.shape, np.uint16)
    cluster_map[box] = numbers[labels]
    return Findings(
        surprise,
        anomalies,
        cluster_map,
        _clusters(cluster_map, box, len(order), recommended, surprise, mask, affine, scan_axis),
        float(voxels.sum() * voxel_ml(affine)),
        float(surprise.max()),
    )


def _clusters(
    cluster_map: np.ndarray,
    box: tuple[slice, ...],
    number: int,
    recommended: np.ndarray,
    surprise: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    scan_axis: int,
) -> tuple[Cluster, ...]:
    """Return the clusters 1 to `number` of a map; all volumes are (X, Y, Z), and the brain is in the box."""
    if not number:
        return ()
    places = np.argwhere(cluster_map[box]) + [side.start for side in box]
    at = tuple(places.T)
    labels, scores = cluster_map[at], recommended[at]
    index = np.arange(1, number + 1)
    voxels = np.bincount(labels, minlength=number + 1)[1:]
    # The middle of the brain, not x = 0: a scanner's coordinates do not begin in the middle of a head.
    middle = affine[0] @ [*_centre(mask), 1]
    right = ndimage.mean(places @ affine[0, :3] + affine[0, 3] > middle, labels, index)
    # A neighbour beyond the edge of the scan is not outside the brain: a scan of one slice has no others.
    border = np.zeros(len(places), bool)
    for axis, step in itertools.product(range(3), (-1, 1)):
        beside = list(at)
        beside[axis] = np.clip(at[axis] + step, 0, mask.shape[axis] - 1)
        border |= ~mask[tuple(beside)]
    centres = np.stack([ndimage.mean(along, labels, index) for along in places.T], axis=1)
    peaks = places[np.ravel(ndimage.maximum_position(scores, labels, index))]
    along = places[:, scan_axis]
    columns = (
        index.tolist(),
        (voxels * voxel_ml(affine)).tolist(),
        _in_mm(centres, affine),
        _in_mm(peaks, affine),
        ["right" if share >= ONE_SIDE else "left" if share <= 1 - ONE_SIDE else "both" for share in right],
        ndimage.maximum(scores, labels, index).tolist(),
        ndimage.mean(scores, labels, index).tolist(),
        ndimage.maximum(surprise[at], labels, index).tolist(),
        zip(
            ndimage.minimum(along, labels, index).tolist(),
            ndimage.maximum(along, labels, index).tolist(),
            strict=True,
        ),
        (ndimage.maximum(border, labels, index) > 0).tolist(),
    )
    return tuple(Cluster(*values) for values in zip(*columns, strict=True))


def _centre(mask: np.ndarray) -> list[float]:
    """Return the centre of mass of a mask (X, Y, Z), voxels; its sums along planes are faster than its places."""
    planes = (mask.sum(axis=others, dtype=np.int64) for others in ((1, 2), (0, 2), (0, 1)))
    return [float(np.average(np.arange(len(voxels)), weights=voxels)) for voxels in planes]


def _in_mm(voxels: np.ndarray, affine: np.ndarray) -> Sequence[Place]:
    """Return the places in mm of voxels (n, 3)."""
    return [(float(x), float(y), float(z)) for x, y, z in voxels @ affine[:3, :3].T + affine[:3, 3]]
