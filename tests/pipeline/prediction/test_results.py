"""The table of results: its columns, and text that is harmless in a spreadsheet."""

from pathlib import Path

import pandas as pd

from pipeline.prediction.results import Result, write_summary

COLUMNS = [
    "case", "input", "status", "reason", "warnings", "anomaly_ml", "clusters", "largest_cluster_ml",
    "largest_cluster_ras_mm", "max_surprise", "seconds",
]  # fmt: skip


def test_the_columns_are_the_contracts(tmp_path: Path) -> None:
    done = Result(
        "a",
        "/a.nii.gz",
        "done",
        "",
        warnings=["one", "two"],
        anomaly_ml=1.5,
        clusters=3,
        largest_cluster_ras_mm="-1 2 3",
    )
    write_summary([done, Result("b", "/b.nii.gz", "failed", "empty")], tmp_path)
    table = pd.read_csv(tmp_path / "summary.csv", keep_default_na=False)
    assert table.columns.tolist() == COLUMNS
    assert table["warnings"].tolist() == ["one; two", ""]
    assert table["clusters"].tolist() == ["3", ""]
    assert table["largest_cluster_ras_mm"].tolist() == ["-1 2 3", ""]


def test_no_cell_begins_a_formula(tmp_path: Path) -> None:
    write_summary([Result("=1+1", "@x", "failed", "-cmd|' /C calc'!A0", ["+2"])], tmp_path)
    row = pd.read_csv(tmp_path / "summary.csv", keep_default_na=False).iloc[0]
    assert all(row[key].startswith("'") for key in ("case", "input", "reason", "warnings"))


def test_without_cases_there_is_a_table_of_no_rows(tmp_path: Path) -> None:
    write_summary([], tmp_path)
    assert pd.read_csv(tmp_path / "summary.csv").columns.tolist() == COLUMNS
