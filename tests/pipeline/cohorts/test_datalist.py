"""Datalists: read, made absolute, and checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cohorts import Entry
from pipeline.cohorts.datalist import channels_of, read_datalist, read_training_cohort
from pipeline.errors import UsageError


def write(folder: Path, content: Any) -> Path:
    for name in ("a", "b", "c"):
        (folder / f"{name}.nii.gz").touch()
    file = folder / "datalist.json"
    file.write_text(json.dumps(content))
    return file


def test_paths_are_relative_to_the_datalist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    file = write(tmp_path, {"training": [{"image": "a.nii.gz", "mask": "b.nii.gz"}]})
    assert read_datalist(file)["training"] == [Entry((str(tmp_path / "a.nii.gz"),), str(tmp_path / "b.nii.gz"))]


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    file = write(tmp_path, {"training": [{"image": "a.nii.gz", "mask": "gone.nii.gz"}, {"image": "lost.nii.gz"}]})
    with pytest.raises(UsageError, match=r"2 of its files do not exist; the first is .*gone.nii.gz"):
        read_datalist(file)
    assert len(read_datalist(file, must_exist=False)["training"]) == 2


@pytest.mark.parametrize(
    ("content", "message"), [([1], "not a datalist"), ({"training": [{"label": "a.nii.gz"}]}, "has no `image`")]
)
def test_another_form_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_datalist(write(tmp_path, content))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        read_datalist(tmp_path / "datalist.json")


def test_without_validation_a_seeded_tenth_is_held_out(tmp_path: Path) -> None:
    names = [f"{i:02d}.nii.gz" for i in range(30)]
    for name in names:
        (tmp_path / name).touch()
    file = write(tmp_path, {"training": [{"image": name} for name in names]})
    cohort = read_training_cohort(file, seed=3)
    found = {split: [Path(entry.images[0]).name for entry in entries] for split, entries in cohort.items()}
    assert len(found["validation"]) == 3
    assert sorted(found["training"] + found["validation"]) == names
    assert read_training_cohort(file, seed=3) == cohort
    assert read_training_cohort(file, seed=4) != cohort


def test_a_given_validation_is_taken_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, {"training": [{"image": "a.nii.gz"}], "validation": [{"image": "b.nii.gz"}]})
    cohort = read_training_cohort(file)
    assert [len(entries) for entries in cohort.values()] == [1, 1]


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scans under `training`"):
        read_training_cohort(write(tmp_path, {"test": [{"image": "a.nii.gz"}]}))


def test_all_entries_must_have_the_same_channels() -> None:
    assert channels_of([Entry(("a", "b")), Entry(("c", "d"))]) == 2
    with pytest.raises(UsageError, match="different numbers of channels"):
        channels_of([Entry(("a",)), Entry(("b", "c"))])
