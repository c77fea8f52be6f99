"""The folder of one case: its files, and how it replaces an older folder."""

import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.nifti import copy_of, on_grid_of, write
from pipeline.prediction.itksnap import write_workspace
from pipeline.prediction.meanings import meaning_of
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.preview import write_preview
from pipeline.prediction.viewer import write_viewer
from pipeline.scoring import Cluster, Prediction

CLUSTER_COLUMNS = [
    "cluster", "volume_ml", "centre_x_mm", "centre_y_mm", "centre_z_mm", "peak_x_mm", "peak_y_mm", "peak_z_mm", "side",
    "peak_recommended", "mean_recommended", "max_surprise", "slices", "touches_brain_border",
]  # fmt: skip
"""Columns of CASE_clusters.csv; x is to the right, y to the front, z to the top."""


def write_case(folder: Path, case: str, prediction: Prediction, label: ModelLabel, threshold: float | None) -> None:
    """Write a case's image, maps, brain mask, tables, pictures, ITK-SNAP workspace and page into its folder.

    Args:
        folder: the folder to write to.
        case: the start of the files' names.
        prediction: the prediction of the scan. Without findings there are no surprise, anomalies and clusters.
        label: which model made it.
        threshold: the lowest value of `recommended` that is marked, None without calibration.
    """
    source, scores, findings = prediction.source, prediction.scores, prediction.findings
    image = copy_of(source)
    write(image, folder / f"{case}_image.nii.gz")
    for name, voxels in (prediction.maps | {"brain": scores.mask.astype(np.uint8)}).items():
        write(on_grid_of(source, voxels, meaning_of(name, voxels)), folder / f"{case}_{name}.nii.gz")
    scores.slices.to_csv(folder / f"{case}_slices.csv", index=False, float_format="%.6g")
    write_preview(folder, case, image, scores, findings.surprise if findings is not None else None, label.lines)
    write_workspace(folder, case, findings)
    if findings is not None:
        write_clusters(findings.clusters, folder / f"{case}_clusters.csv")
    write_viewer(folder, case, image, prediction, label, threshold)


def write_clusters(clusters: Sequence[Cluster], file: Path) -> None:
    """Write the table of clusters; places have a column for each of x, y and z."""
    rows = []
    for cluster in clusters:
        row: dict[str, Any] = {}
        for name, value in asdict(cluster).items():
            if name in ("centre_ras_mm", "peak_ras_mm"):
                row |= {name.replace("ras", axis): round(mm, 2) for axis, mm in zip("xyz", value, strict=True)}
            else:
                row[name] = " to ".join(map(str, value)) if name == "slices" else value
        rows.append(row)
    pd.DataFrame(rows, columns=CLUSTER_COLUMNS).to_csv(file, index=False, float_format="%.6g")


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a case into; on exit it replaces `folder` atomically.

    Each process has its own such folder, so two processes that predict the same scans do not disturb each other. The
    remains of processes that no longer run are removed.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        process = left.name.split(".")[-2]
        if process == str(os.getpid()) or not _is_running(process):  # in containers, each process has the same number
            shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.partial")
    try:
        partial.mkdir()
        yield partial
        # The old folder is renamed before it is removed: a half-removed folder must not look complete.
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True
