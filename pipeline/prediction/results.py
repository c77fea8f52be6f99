"""The result of each case: the record in its folder, and its row in summary.csv and in the report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.files import write_json, written_aside
from pipeline.nifti import voxel_ml
from pipeline.scoring import Prediction, Predictor
from pipeline.version import __version__

RECORD = "case.json"
"""Name of the file that is written last into a case's folder, with the result and the hashes of its inputs."""


@dataclass(frozen=True)
class Result:
    """The result of a case.

    Attributes:
        case: name of the case and of its folder.
        input: the file, or the folder of a DICOM series.
        status: "done", "failed", or "not done" if the command was interrupted before.
        reason: why it is not done: what is wrong, and what to do.
        warnings: warnings about the scan, each a sentence.
        anomaly_ml: volume that passes the threshold, ml; None without calibration, like the other findings.
        clusters: number of connected parts of that volume.
        largest_cluster_ml: volume of the largest part, ml.
        largest_cluster_ras_mm: its centre, "x y z" in mm to the right, front and top; empty if there is none.
        max_surprise: the highest surprise.
        seconds: duration, s.
    """

    case: str
    input: str
    status: str = "not done"
    reason: str = "interrupted before it was done; run the same command again"
    warnings: tuple[str, ...] = ()
    anomaly_ml: float | None = None
    clusters: int | None = None
    largest_cluster_ml: float | None = None
    largest_cluster_ras_mm: str = ""
    max_surprise: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of everything that the outputs of a case depend on: its files, the model and the settings."""

    image: tuple[str, ...]
    mask: str | None
    model: str
    calibration: str | None
    settings: str


@dataclass(frozen=True)
class BrainUsed:
    """The brain mask that a case was scored with.

    Attributes:
        origin: "given", "stripped" (the foreground of a scan without skull), "head" (no brain: the whole head was
            scored), or the name and version of the tool that made it.
        ml: its volume, ml.
    """

    origin: str
    ml: float

    @classmethod
    def of(cls, prediction: Prediction) -> "BrainUsed":
        """Return the mask's origin and volume of a prediction."""
        ml = prediction.scores.mask.sum() * voxel_ml(prediction.source.affine)
        return cls(prediction.brain_origin, round(float(ml), 1))


@dataclass(frozen=True)
class Marking:
    """What the anomalies of a case were marked with.

    Attributes:
        model: name of the model.
        fpr: share of a healthy brain's voxels that may be marked.
        threshold: the lowest value of `recommended` that is marked, None without calibration.
        minimum_cluster_ml: smaller connected anomalies were dropped, ml.
    """

    model: str
    fpr: float
    threshold: float | None
    minimum_cluster_ml: float

    @classmethod
    def of(cls, predictor: Predictor) -> "Marking":
        """Return what a predictor marks anomalies with."""
        return cls(predictor.model.name, predictor.fpr, predictor.threshold, predictor.minimum_cluster_ml)


@dataclass(frozen=True)
class Record:
    """The content of case.json.

    Attributes:
        result: the result of the case.
        hashes: the hashes of its inputs.
        files: the size of each other file in its folder, bytes.
        brain: the brain mask, None if a former version wrote the file.
        marking: what its anomalies were marked with, None if a former version wrote the file.
    """

    result: Result
    hashes: Hashes
    files: dict[str, int]
    brain: BrainUsed | None = None
    marking: Marking | None = None

    def is_complete(self, folder: Path) -> bool:
        """Return whether all files that were written still exist with the same size."""
        files = self.files.items()
        return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files)


def write_record(folder: Path, result: Result, hashes: Hashes, brain: BrainUsed, marking: Marking) -> None:
    """Write case.json, the last of a case's files, with the sizes of the others."""
    content = asdict(result) | {
        "brain": asdict(brain),
        "marking": asdict(marking),
        "hashes": asdict(hashes),
        "version": __version__,
        "files": _sizes(folder),
    }
    (folder / RECORD).write_text(json.dumps(content, indent=1), encoding="utf-8")


def add_to_record(folder: Path, warnings: Sequence[str]) -> None:
    """Write case.json of a case that is done again, with the files that were added to it, and with these warnings."""
    content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    write_json(folder / RECORD, content | {"warnings": list(warnings), "files": _sizes(folder)})


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file in the folder of a case but its record, bytes."""
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name != RECORD}


def read_record(folder: Path) -> Record | None:
    """Return the record of a case's folder, None if prediction did not make the folder."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        fields = {key: content[key] for key in Result.__dataclass_fields__}
        result = Result(**fields | {"warnings": tuple(fields["warnings"])})
        hashes = Hashes(**content["hashes"] | {"image": tuple(content["hashes"]["image"])})
        brain = BrainUsed(**content["brain"]) if "brain" in content else None
        marking = Marking(**content["marking"]) if "marking" in content else None
        return Record(result, hashes, dict(content["files"]), brain, marking)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_summary(results: Sequence[Result], output: Path) -> None:
    """Write summary.csv, one row per case."""
    rows = [asdict(result) | {"warnings": "; ".join(result.warnings)} for result in results]
    rows = [{key: without_formula(value) for key, value in row.items()} for row in rows]
    table = pd.DataFrame(rows, columns=list(Result.__dataclass_fields__)).astype({"clusters": "Int64"})
    with written_aside(output / "summary.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def read_summary(output: Path) -> list[Result]:
    """Return case, input, status and reason of each row of summary.csv; none if there is no such table."""
    columns = ["case", "input", "status", "reason"]
    try:
        table = pd.read_csv(output / "summary.csv", usecols=columns, dtype=str, keep_default_na=False)
    except (OSError, ValueError):
        return []
    rows = (map(_without_quote, row) for row in table[columns].itertuples(index=False, name=None))
    return [Result(case, given, status, reason) for case, given, status, reason in rows]


def _without_quote(text: str) -> str:
    """Return a text as it was before `without_formula`."""
    return text[1:] if text.startswith("'") and without_formula(text[1:]) == text else text


def without_formula(value: Any) -> Any:
    """Return a value of the table; a text that a spreadsheet would take for a formula gets a quote before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    is_number = value.replace(" ", "").replace("-", "").replace(".", "").isdigit()
    return value if is_number else f"'{value}"
