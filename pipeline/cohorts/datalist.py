"""Cohorts: datalists in MONAI's Decathlon form, which are checked when they are read."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError

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

    Args:
        datalist: the JSON file.
        must_exist: whether a missing file is an error.

    Raises:
        UsageError: if the datalist cannot be read, has another form, or names missing files.
    """
    path = Path(str(datalist))  # the MONAI bundle gives a number for 2024
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the datalist cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: not a datalist, because it is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f'{path}: not a datalist; it must be like {{"training": [{{"image": "a.nii.gz"}}]}}')
    splits = {
        split: [_entry(entry if isinstance(entry, dict) else {"image": entry}, path, split) for entry in entries]
        for split, entries in content.items()
        if isinstance(entries, list) and all(isinstance(entry, (dict, str)) for entry in entries)
    }
    missing = [file for entries in splits.values() for file in files_of(entries) if not Path(file).exists()]
    if missing and must_exist:
        raise UsageError(f"{path}: {len(missing)} of its files do not exist; the first is {missing[0]}")
    return splits


def _entry(content: Mapping[str, Any], datalist: Path, split: str) -> Entry:
    """Return an entry with absolute paths."""
    if "image" not in content:
        raise UsageError(f"{datalist}: an entry of `{split}` has no `image`")

    def paths(key: str) -> list[str]:
        given = content.get(key)
        files = given if isinstance(given, list) else [given] if given not in (None, "") else []
        return [str((datalist.parent / file).absolute()) for file in files]

    return Entry(tuple(paths("image")), *(next(iter(paths(key)), None) for key in ("mask", "label")))


def files_of(entries: Iterable[Entry]) -> list[str]:
    """Return all files of entries."""
    return [file for entry in entries for file in entry.files]


def fingerprint_of_cohort(entries: Iterable[Entry]) -> str:
    """Return a hash of the files of a cohort: their paths, sizes and times of change."""
    files = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files_of(entries)]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def channels_of(entries: Iterable[Entry]) -> int:
    """Return the number of image channels, which is the same for all entries.

    Raises:
        UsageError: if the numbers differ.
    """
    numbers = {len(entry.images) for entry in entries}
    if len(numbers) != 1:
        raise UsageError(f"the scans have different numbers of channels: {sorted(numbers)}")
    return numbers.pop()


def read_training_cohort(datalist: str | Path, seed: int = 0) -> dict[str, list[Entry]]:
    """Return `training` and `validation` of a datalist; without `validation` a seeded tenth is held out.

    Raises:
        UsageError: if there are no training scans.
    """
    splits = read_datalist(datalist)
    training, validation = splits.get("training", []), splits.get("validation", [])
    if not training:
        raise UsageError(f"{datalist}: it has no scans under `training`; its splits are {', '.join(splits) or 'none'}")
    if not validation and len(training) > 1:
        held_out = set(np.random.default_rng(seed).permutation(len(training))[: max(1, len(training) // 10)].tolist())
        validation = [entry for i, entry in enumerate(training) if i in held_out]
        training = [entry for i, entry in enumerate(training) if i not in held_out]
    return {"training": training, "validation": validation}
