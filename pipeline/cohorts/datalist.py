"""Cohorts: datalists in MONAI's Decathlon form, which are checked when they are read."""

import difflib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.files import to_printable
from pipeline.nifti import SUFFIXES

logger = logging.getLogger(__name__)

SPLITS = ("training", "validation", "test")
"""Names of the splits that commands take by themselves; a datalist may have others."""

KEYS = ("image", "mask", "label")
"""Keys of an entry that name files."""

MISSING = ("", "nan", "NaN", "None", "NaT", "<NA>")
"""Texts that stand for no value in tables."""

_KNOWN = "`image`, `mask` and `label`"

Item = dict[str, Any]
"""The dictionary that MONAI's transforms take and return."""


@dataclass(frozen=True)
class Entry:
    """One scan of a cohort.

    Attributes:
        images: the file of each channel.
        mask: the file of the brain mask, None if there is none.
        label: the file of the lesion label, None if there is none.
    """

    images: tuple[str, ...]
    mask: str | None = None
    label: str | None = None

    @property
    def files(self) -> list[str]:
        """All files of the scan."""
        return [*self.images, *(file for file in (self.mask, self.label) if file is not None)]

    def item(self) -> Item:
        """Return the scan as a dictionary for MONAI's transforms: `image`, and `mask` and `label` if it has them."""
        item: Item = {"image": list(self.images) if len(self.images) > 1 else self.images[0]}
        return item | {key: file for key, file in (("mask", self.mask), ("label", self.label)) if file is not None}


def read_datalist(datalist: str | Path, must_exist: bool = True) -> dict[str, list[Entry]]:
    """Return the splits of a datalist with absolute paths; relative ones start from the datalist's folder.

    A value that is missing as pandas writes it (NaN, None) counts as missing. Keys that are not known are ignored; one
    that holds files is named.

    Args:
        datalist: the JSON file.
        must_exist: whether a missing file is an error.

    Raises:
        UsageError: if the datalist cannot be read, has another form, or names missing files.
    """
    path = Path(str(datalist))  # the MONAI bundle gives a number for 2024
    content = read_json(path)
    if not isinstance(content, dict):
        raise UsageError(f'{path}: not a datalist; it must be like {{"training": [{{"image": "a.nii.gz"}}]}}')
    _warn_of_splits(path, content)
    splits = {split: _entries(path, split, listed) for split, listed in content.items() if _is_split(split, listed)}
    missing = [file for entries in splits.values() for file in files_of(entries) if not Path(file).exists()]
    if missing and must_exist:
        raise UsageError(f"{path}: {len(missing)} of its files do not exist; the first is {missing[0]}")
    return splits


def entries_of(splits: Mapping[str, list[Entry]], split: str, datalist: str | Path) -> list[Entry]:
    """Return the entries of a split of a datalist.

    Raises:
        UsageError: if the datalist has no such split.
    """
    if split not in splits:
        hint = f"give one by --split: {', '.join(splits)}" if splits else "it has none at all"
        raise UsageError(f"{datalist}: it has no split `{split}`; {hint}")
    return splits[split]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, or in cp1252.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the datalist cannot be read ({error.strerror})") from error
    for encoding in (json.detect_encoding(data), "cp1252"):
        try:
            return json.loads(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        except ValueError as error:
            raise UsageError(f"{path}: not a datalist, because it is not valid JSON ({error})") from error
    raise UsageError(f"{path}: the encoding of its text is not known; save it as UTF-8")


def _is_split(name: str, content: Any) -> bool:
    """Return whether a key holds entries; others, such as `labels` and `modality`, describe the cohort."""
    if not isinstance(content, list):
        return name in SPLITS
    return name in SPLITS or any(isinstance(entry, dict) or _is_file(entry) for entry in content)


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.lower().endswith(SUFFIXES)


def _warn_of_splits(path: Path, content: Mapping[str, Any]) -> None:
    """Warn of a split whose name is nearly that of a known split that is not there."""
    for name in (name for name in content if name not in SPLITS):
        near = _near(name, SPLITS)
        if near is not None and near not in content and _is_split(name, content[name]):
            logger.warning("%s: its split `%s` is not `%s`; rename it if it is meant", path, name, near)


def _near(key: str, known: Sequence[str]) -> str | None:
    """Return the known key that another one may be a misspelling of, None if it is not like any."""
    letters = re.sub("[^a-z]", "", key.lower())
    begins = (
        [name for name in known if name.startswith(letters) or letters.startswith(name)] if len(letters) >= 3 else []
    )
    return next(iter([*begins, *difflib.get_close_matches(letters, list(known), n=1, cutoff=0.75)]), None)


def _entries(path: Path, split: str, listed: Any) -> list[Entry]:
    """Return the entries of a split with absolute paths."""
    if not isinstance(listed, list):
        raise UsageError(f"{path}: `{split}` must be a list of entries, but is {_shown(listed)}")
    entries, others = [], set()
    for number, content in enumerate(listed, 1):
        place = f"{path}: entry {number} of `{split}`"
        if not isinstance(content, (dict, str)):
            raise UsageError(f'{place} must be like {{"image": "a.nii.gz"}}, but is {_shown(content)}')
        content = content if isinstance(content, dict) else {"image": content}
        others |= _other_files(place, content)
        files = {key: _files(place, key, content.get(key), path.parent) for key in KEYS}
        if not files["image"]:
            raise UsageError(f"{place} has no `image`{_instead_of_image(content)}")
        entries.append(Entry(files["image"], *(next(iter(files[key]), None) for key in ("mask", "label"))))
    for key in sorted(others):
        logger.warning("%s: the files of key `%s` in `%s` are not used; known keys are %s", path, key, split, _KNOWN)
    return entries


def _files(place: str, key: str, value: Any, folder: Path) -> tuple[str, ...]:
    """Return the absolute paths that a key of an entry names, none if the value is missing."""
    files = value if isinstance(value, list) else [] if _is_missing(value) else [value]
    wrong = [file for file in files if not isinstance(file, str) or _is_missing(file)]
    if wrong:
        raise UsageError(f"{place}: `{key}` must be the path of a file, but is {_shown(value)}")
    if key != "image" and len(files) > 1:
        raise UsageError(f"{place}: `{key}` lists {len(files)} files; give one")
    return tuple(str((folder / file).absolute()) for file in files)


def _is_missing(value: Any) -> bool:
    """Return whether a value stands for no value, also as pandas writes it."""
    return value is None or value != value or (isinstance(value, str) and value.strip() in MISSING)


def _other_files(place: str, content: Mapping[str, Any]) -> set[str]:
    """Return the unknown keys of an entry that hold files.

    Raises:
        UsageError: if one of them is nearly a known key that is not there, so that it is probably a misspelling.
    """
    others = set()
    for key, value in content.items():
        if key in KEYS or not any(map(_is_file, value if isinstance(value, list) else [value])):
            continue
        near = _near(key, KEYS)
        if near is not None and _is_missing(content.get(near)):
            raise UsageError(f"{place} has the unknown key `{key}`; rename it to `{near}` if it is meant")
        others.add(str(key))
    return others


def _instead_of_image(content: Mapping[str, Any]) -> str:
    return f"; its keys are {', '.join(f'`{key}`' for key in content)}" if content else ""


def _shown(value: Any) -> str:
    """Return a wrong value as JSON, cut to what fits in a message."""
    text = json.dumps(value, ensure_ascii=False)
    return to_printable(text if len(text) <= 60 else f"{text[:57]}...")


def files_of(entries: Iterable[Entry]) -> list[str]:
    """Return all files of entries."""
    return [file for entry in entries for file in entry.files]


def channels_of(entries: Iterable[Entry]) -> int:
    """Return the number of image channels, which is the same for all entries.

    Raises:
        UsageError: if the numbers differ.
    """
    numbers = {len(entry.images) for entry in entries}
    if len(numbers) != 1:
        raise UsageError(f"the scans have different numbers of channels: {sorted(numbers)}")
    return numbers.pop()
