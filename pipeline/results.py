"""What became of each case: the rows of summary.csv, and of the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.files import written_aside


@dataclass
class Result:
    """What became of a case.

    Attributes:
        case: its name, and that of its folder.
        input: the file, or the folder of a DICOM series.
        status: "done", "failed", or "not done" where the command was interrupted before.
        reason: why it is not done: what is wrong, and what to do.
        warnings: what is odd about the scan, each a sentence.
        anomaly_ml: volume that passes the threshold, ml; None without calibration, as the next four.
        clusters: connected parts of that volume.
        largest_cluster_ml: volume of the largest of them, ml.
        largest_cluster_ras_mm: its centre, "x y z" in mm to the right, front and top; empty where there is none.
        max_surprise: the highest surprise.
        seconds: how long it took.
    """

    case: str
    input: str
    status: str = "not done"
    reason: str = "interrupted before it was done; give the same command again"
    warnings: list[str] = field(default_factory=list)
    anomaly_ml: float | None = None
    clusters: int | None = None
    largest_cluster_ml: float | None = None
    largest_cluster_ras_mm: str = ""
    max_surprise: float | None = None
    seconds: float = 0.0


def write_summary(results: Sequence[Result], output: Path) -> None:
    """Write summary.csv: a row a case. Text that a spreadsheet would take for a formula is given a quote before it."""
    rows = [asdict(result) | {"warnings": "; ".join(result.warnings)} for result in results]
    rows = [{key: _harmless(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    table = pd.DataFrame(rows, columns=list(Result.__dataclass_fields__)).astype({"clusters": "Int64"})
    with written_aside(output / "summary.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def _harmless(text: str) -> str:
    is_number = text.replace(" ", "").replace("-", "").replace(".", "").isdigit()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number else text
