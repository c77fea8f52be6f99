"""The label of a model: what it was trained on and looks for, on pages and in pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Run, load_model
from pipeline.prediction.model_label import LONGEST_LINE, ModelLabel
from pipeline.scoring import open_predictor

LABEL = ModelLabel("flair", "FLAIR", "bright", 40, 12, 0.01, 0.014, 0.0002, "0.1.0", "2026-01-01", "clinic A")


def test_the_cohort_stands_on_pages_and_in_the_picture() -> None:
    assert ("Cohort", "clinic A") in LABEL.facts
    assert "cohort: clinic A" in LABEL.lines
    unknown = replace(LABEL, cohort="")
    assert "Cohort" not in dict(unknown.facts)
    assert len(unknown.lines) == 2
    assert all(len(line) <= LONGEST_LINE + 20 for line in replace(LABEL, name="n" * 300, cohort="c" * 300).lines)


def test_a_trained_model_names_the_folder_of_its_datalist(run: Path, cohort: Path) -> None:
    assert load_model(run, "cpu").cohort == cohort.parent.name
    label = ModelLabel.of(open_predictor(run, "cpu"))
    assert (label.cohort, label.healthy_scans) == (cohort.parent.name, 4)


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\ndata_source: Clinic B, 3 T; CC BY, see elsewhere\n---\ntext\n", "Clinic B, 3 T"),
        ("---\nname: A model\n---\ntext\n", "folder"),
        ("no card", "folder"),
        (None, "folder"),
    ],
)
def test_a_card_names_the_cohort_better_than_a_folder(tmp_path: Path, card: str | None, name: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "models" / "trained_on.json").write_text('{"cohort": "folder"}')
    if card is not None:
        (tmp_path / "docs" / "card.md").write_text(card)
    assert Run(tmp_path).cohort_name() == name


def test_a_model_of_an_older_version_has_no_cohort(tmp_path: Path) -> None:
    assert Run(tmp_path).cohort_name() == ""
