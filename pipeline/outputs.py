"""The folder of one case: what is written into it, and when it counts as complete."""

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib

from pipeline.findings import Findings
from pipeline.itksnap import write_workspace
from pipeline.nifti import copy_of, on_grid_of, write
from pipeline.pictures import write_preview
from pipeline.results import Result
from pipeline.scoring import ScanScores

RECORD = "case.json"


def write_case(
    folder: Path, case: str, source: nib.nifti1.Nifti1Image, scores: ScanScores, findings: Findings | None
) -> None:
    """Write a case's image, maps, slice table, preview and ITK-SNAP workspace into its folder.

    Args:
        folder: where they are written.
        case: the name that theirs begin with.
        source: the scan.
        scores: its scores.
        findings: None without calibration: then there are no surprise and no anomalies.
    """
    image = copy_of(source)
    maps = dict(scores.maps)
    if findings is not None:
        maps |= {"surprise": findings.surprise, "anomalies": findings.anomalies}
    write(image, folder / f"{case}_image.nii.gz")
    for name, voxels in maps.items():
        write(on_grid_of(source, voxels), folder / f"{case}_{name}.nii.gz")
    scores.slices.to_csv(folder / f"{case}_slices.csv", index=False, float_format="%.6g")
    write_preview(folder / f"{case}_preview.png", image, scores, maps.get("surprise"))
    write_workspace(folder, case, findings.max_surprise if findings is not None else None)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write case.json, the last of a case's files, with the size of each of the others."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / RECORD).write_text(json.dumps(record | {"files": sizes}, indent=1), encoding="utf-8")


def record_of(folder: Path) -> dict[str, Any] | None:
    """Return the record of a case's folder, None where it is not one that prediction made."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if {"hashes", "files", *Result.__dataclass_fields__} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def is_complete(folder: Path, record: dict[str, Any]) -> bool:
    """Return whether all files that were written are there still, of the same size."""
    files = record["files"].items()
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Give a folder to write a case into; what is in it when the block ends takes the place of `folder`.

    It is this process's own, so that two that predict the same scans do not disturb each other. What a process that is
    gone has left behind is removed.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        if not _is_running(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.partial")
    try:
        partial.mkdir()
        yield partial
        # Renamed, never merged or thinned out: a folder that is being removed must not look complete.
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
    except PermissionError:  # another user's
        return True
    return True
