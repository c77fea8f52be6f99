"""Names of cases: no two alike, and harmless whatever the files are called."""

import os
from pathlib import Path

import pytest

from pipeline.files import to_printable
from pipeline.scans.naming import names_of


def names(*files: str) -> list[str]:
    return names_of([Path(file) for file in files], [f"{i} {file}" for i, file in enumerate(files)])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/d/Müller scan.v2.nii.gz", "Müller scan.v2"),
        ("/d/brain 🧠.NII.GZ", "brain 🧠"),
        ("/d/Mu\u0308ller.nii", "Müller"),  # as macOS writes it
        ("/d/=cmd|' C calc'!A0.nii", "_cmd_' C calc'!A0"),
        ("/d/@sum.nii", "_sum"),
        ("/d/-rf.nii", "_rf"),
        ("/d/+1.nii", "_1"),
        ("/d/...nii.gz", "scan"),
        ("/d/..nii", "scan"),
        ("/d/<script>alert(1)<\\script>.nii", "_script_alert(1)__script_"),
        ("/d/a\nb\u202ec\udcfc.nii", "a_b_c_"),
        ("/d/con.nii", "_con"),
        ("/d/LPT1.v2.nii.gz", "_LPT1.v2"),
        ("/d/report.html.nii", "_report.html"),
        ("/d/Cases.nii", "_Cases"),
        ("/d/console.nii", "console"),
        ("/d/viewer_files.nii", "_viewer_files"),
    ],
)
def test_a_name_is_the_files_own_made_harmless(file: str, name: str) -> None:
    assert names(file) == [name]


def test_scans_of_one_name_get_the_parent_folders_that_tell_them_apart_and_no_more() -> None:
    assert names("/s/a/x/t1.nii", "/s/b/x/t1.nii.gz", "/s/flair.nii") == ["a_x_t1", "b_x_t1", "flair"]
    assert names("/s/a/t1.nii", "/s/b/t1.nii") == ["a_t1", "b_t1"]


@pytest.mark.parametrize(
    "files",
    [
        ("/d/Scan.nii", "/d/scan.nii"),
        ("/d/Müller.nii", "/d/Mu\u0308ller.nii"),
        ("/d/a.nii", "/d/a.nii.gz"),
        ("/d/a<.nii", "/d/a>.nii"),
        ("series-3", "series-3"),
        ("/d/a/t1.nii", "/d/a/t1.nii.gz", "/d/b/t1.nii", "/d/a_t1.nii"),
    ],
)
def test_names_that_a_disk_takes_for_the_same_are_told_apart(files: tuple[str, ...]) -> None:
    found = names(*files)
    assert len({name.casefold() for name in found}) == len(files)
    assert found == names(*files)
    assert all(os.sep not in name and "_d_" not in name for name in found)


def test_long_names_are_shortened_and_stay_distinct(tmp_path: Path) -> None:
    ends = ("1", "2", "1" * 50)
    found = names(*(f"/d/{'ü🧠' * 60}{end}.nii" for end in ends), f"/{'p' * 250}/{'q' * 250}/a.nii", "/z/a.nii")
    assert len(set(found)) == 5
    for name in found:
        folder = tmp_path / f".{name}.old.partial"
        folder.mkdir()
        (folder / f"{name}_recommended.nii.gz").touch()


def test_what_cannot_be_shown_is_a_question_mark() -> None:
    assert to_printable("/d/a b/Müller\n\u202e\udcfc.nii") == "/d/a b/Müller???.nii"
    to_printable("\udcfc").encode()
