"""A file is there whole, or as it was before."""

import hashlib
import time
from pathlib import Path

import pytest

from pipeline.files import FORGOTTEN_SECONDS, remove_remains, sha256_of, written_aside


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.nii.gz"
    with written_aside(file) as partial:
        partial.write_text("whole")
        assert not file.exists()
        assert partial.name.endswith(".nii.gz")
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_the_file_of_before_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("before")

    def fail() -> None:
        with written_aside(file) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_the_hash_is_that_of_the_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"contents")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"contents").hexdigest()


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.touch()
    with written_aside(tmp_path / "a") as partial:
        partial.touch()
        remove_remains(tmp_path)
        assert partial.exists()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + FORGOTTEN_SECONDS + 1)
        remove_remains(tmp_path)
        assert list(tmp_path.iterdir()) == [other]
        partial.touch()
