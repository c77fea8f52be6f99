"""The tutorial notebook: no outputs in the repository, and every cell runs, with what its text says."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from pipeline.model import shipped_models

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_its_outputs_are_cleared() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ixi-t1" not in [model.name for model in shipped_models() if not model.problem]:
        pytest.skip("the model ixi-t1 does not ship with this checkout")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number} of {NOTEBOOK.name}", "exec"), names)
    assert {"combined", "rec", "kl", "recommended", "surprise", "anomalies"} <= names["maps"].keys()
    assert names["clusters"]["volume_ml"].is_monotonic_decreasing
    table: pd.DataFrame = names["table"]
    assert table.index[-1] == "fpr 0.0003, median filter"
    assert table.loc["fpr 0.0003", "stroke marked"] > 0.5
    assert table.loc["fpr 0.0003", "outside, ml"] < table.loc["fpr 0.003", "outside, ml"]
