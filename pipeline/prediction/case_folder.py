"""The folder of one case: its files, and how it replaces an older folder."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.nifti import copy_of, on_grid_of, write
from pipeline.prediction.itksnap import write_workspace
from pipeline.prediction.preview import write_preview
from pipeline.scoring import Prediction


def write_case(folder: Path, case: str, prediction: Prediction) -> None:
    """Write a case's image, maps, brain mask, slice table, preview, thumbnail and ITK-SNAP workspace into its folder.

    Args:
        folder: the folder to write to.
        case: the start of the files' names.
        prediction: the prediction of the scan. Without findings there are no surprise and no anomalies.
    """
    source, scores, findings = prediction.source, prediction.scores, prediction.findings
    image = copy_of(source)
    write(image, folder / f"{case}_image.nii.gz")
    for name, voxels in prediction.maps.items():
        write(on_grid_of(source, voxels), folder / f"{case}_{name}.nii.gz")
    write(on_grid_of(source, scores.mask.astype(np.uint8)), folder / f"{case}_brain.nii.gz")
    scores.slices.to_csv(folder / f"{case}_slices.csv", index=False, float_format="%.6g")
    write_preview(folder, case, image, scores, findings.surprise if findings is not None else None)
    write_workspace(folder, case, findings.max_surprise if findings is not None else None)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a case into; on exit it replaces `folder` atomically.

    Each process has its own such folder, so two processes that predict the same scans do not disturb each other. The
    remains of processes that no longer run are removed.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        if not _is_running(left.name.split(".")[-2]):
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
