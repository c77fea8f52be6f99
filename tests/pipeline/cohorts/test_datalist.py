"""Datalists: read, made absolute, and checked."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cohorts import Entry
from pipeline.cohorts.datalist import channels_of, read_datalist
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


def test_all_entries_must_have_the_same_channels() -> None:
    assert channels_of([Entry(("a", "b")), Entry(("c", "d"))]) == 2
    with pytest.raises(UsageError, match="different numbers of channels"):
        channels_of([Entry(("a",)), Entry(("b", "c"))])


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_datalist_is_read_in_the_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "Müller é.nii.gz").touch()
    text = json.dumps({"test": [{"image": "Müller é.nii.gz"}]}, ensure_ascii=False)
    (tmp_path / "datalist.json").write_bytes(text.encode(encoding))
    assert read_datalist(tmp_path / "datalist.json")["test"][0].images == (str(tmp_path / "Müller é.nii.gz"),)


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_bytes(b'{"test": ["\x81\x8d.nii.gz"]}')
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_datalist(tmp_path / "datalist.json")


@pytest.mark.parametrize("missing", [float("nan"), None, "", "nan", "NaN", "None", "<NA>", []])
@pytest.mark.parametrize("key", ["mask", "label"])
def test_a_missing_value_is_as_if_the_key_were_missing(tmp_path: Path, key: str, missing: Any) -> None:
    file = write(tmp_path, {"test": [{"image": "a.nii.gz", key: missing}]})
    assert read_datalist(file)["test"] == [Entry((str(tmp_path / "a.nii.gz"),))]


@pytest.mark.parametrize("missing", [float("nan"), None, "", []])
def test_an_entry_whose_image_is_missing_is_named(tmp_path: Path, missing: Any) -> None:
    file = write(tmp_path, {"tune": ["a.nii.gz", {"image": missing}]})
    with pytest.raises(UsageError, match=r"entry 2 of `tune` has no `image`"):
        read_datalist(file)


WRONG = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.dictionaries(st.text(), st.integers()),
    st.lists(st.one_of(st.integers(), st.just(float("nan")), st.lists(st.text())), min_size=1),
)


@given(wrong=WRONG, key=st.sampled_from(["image", "mask", "label"]), number=st.integers(0, 2))
def test_a_value_of_the_wrong_type_is_named_by_split_entry_key_and_value(wrong: Any, key: str, number: int) -> None:
    entries: list[dict[str, Any]] = [{"image": "a.nii.gz"} for _ in range(3)]
    entries[number][key] = wrong
    with TemporaryDirectory() as folder:
        file = write(Path(folder), {"training": entries})
        with pytest.raises(UsageError) as caught:
            read_datalist(file)
    message = str(caught.value)
    assert f"entry {number + 1} of `training`: `{key}` must be the path of a file, but is " in message
    assert json.dumps(wrong, ensure_ascii=False)[:20].split("\n")[0][:1] in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [{"0": {"image": "a.nii.gz"}}, "a.nii.gz", 5, {"image": {"0": "a.nii.gz"}}])
def test_a_split_that_is_no_list_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UsageError, match="`training` must be a list of entries, but is "):
        read_datalist(write(tmp_path, {"training": content}))


@pytest.mark.parametrize("entry", [5, None, ["a.nii.gz"], float("nan")])
def test_an_entry_of_another_form_is_refused_by_its_number(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(UsageError, match="entry 2 of `validation` must be like"):
        read_datalist(write(tmp_path, {"validation": ["a.nii.gz", entry]}))


def test_two_masks_of_a_scan_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="entry 1 of `test`: `mask` lists 2 files; give one"):
        read_datalist(write(tmp_path, {"test": [{"image": "a.nii.gz", "mask": ["b.nii.gz", "c.nii.gz"]}]}))


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("masks", "mask"),
        ("Mask", "mask"),
        ("labels", "label"),
        ("Label", "label"),
        ("labell", "label"),
        ("mask_path", "mask"),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_a_key_that_is_nearly_a_known_one_is_refused(tmp_path: Path, key: str, near: str, as_list: bool) -> None:
    value = ["b.nii.gz"] if as_list else "b.nii.gz"
    with pytest.raises(UsageError, match=f"entry 1 of `training` has the unknown key `{key}`; rename it to `{near}`"):
        read_datalist(write(tmp_path, {"training": [{"image": "a.nii.gz", key: value}]}))


def test_other_keys_with_files_are_named_once_and_those_without_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {"image": "a.nii.gz", "t2": "b.nii.gz", "age": 60, "image_id": "IXI012", "fold": 0}
    read_datalist(write(tmp_path, {"training": [entry, entry], "labels": {"1": "lesion"}, "modality": ["T1"]}))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "`t2` in `training` are not used" in line


@pytest.mark.parametrize(
    ("name", "near"),
    [("Training", "training"), ("train", "training"), ("val", "validation"), ("Test", "test"), ("testing", "test")],
)
def test_a_split_that_is_nearly_a_known_one_is_named(
    tmp_path: Path, name: str, near: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(read_datalist(write(tmp_path, {name: ["a.nii.gz"], "tune": ["b.nii.gz"]}))) == [name, "tune"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"its split `{name}` is not `{near}`" in line
