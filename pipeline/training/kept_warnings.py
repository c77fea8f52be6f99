"""The warnings about the scans of a slice bank: each stands beside the slices, so that every training tells it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.files import write_json


def keep_warnings(slices: Path, warnings: Sequence[str]) -> None:
    """Write the warnings about a scan beside the file of its slices; without warnings there is no such file."""
    if warnings:
        write_json(_beside(slices), list(warnings))


def kept_warnings(slices: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the warnings about scans, given the file of the slices of each, by the scan's name."""
    files = {name: _beside(file) for name, file in slices.items()}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def _beside(slices: Path) -> Path:
    return slices.with_suffix(".warnings.json")
