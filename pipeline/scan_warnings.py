"""Warnings about scans: those that preprocessing leaves, and how a terminal shows those of many scans.

A warning is a sentence. Two warnings are of one kind if they differ in numbers and file names only.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

NAMED = 3
"""Number of scans that a line names; --verbose names all."""

DETAIL = re.compile(r"\S+\.(?:nii(?:\.gz)?|mgz|nrrd|mha|mhd|img|hdr|dcm|ima)\b|\d+(?:\.\d+)?", re.IGNORECASE)
"""The file names and numbers of a warning, in which warnings of one kind may differ."""


def preprocessing_warnings(meta: Mapping[str, Any]) -> list[str]:
    """Return the warnings that preprocessing left in the `meta` of an image."""
    warnings = [str(meta[key]) for key in ("mask_warning", "bias_field_warning") if key in meta]
    outside = float(meta.get("outside_field_of_view", 0))
    if outside > 0.01:
        warnings.append(f"{outside:.0%} of the brain lies outside the model's field of view and is not scored")
    return warnings


def log_warnings(logger: logging.Logger, warnings: Mapping[str, Sequence[str]]) -> None:
    """Log the warnings of each scan, by its name, in as few lines as `lines_of` needs."""
    for line in lines_of(warnings, logger.isEnabledFor(logging.DEBUG)):
        logger.warning("warning: %s", line)


@dataclass(frozen=True)
class Kind:
    """Warnings of one kind.

    Attributes:
        text: the warning; numbers that differ between the scans are a range.
        names: the scans.
    """

    text: str
    names: tuple[str, ...]


def kinds_of(warnings: Mapping[str, Sequence[str]]) -> list[Kind]:
    """Return the kinds of the warnings of scans, by the scans' names: causes before consequences, as in each scan."""
    kinds: dict[str, dict[str, str]] = {}
    causes: dict[str, set[str]] = {}
    for name, texts in warnings.items():
        before: set[str] = set()
        for text in texts:
            kind = DETAIL.sub("#", text)
            kinds.setdefault(kind, {})[name] = text
            causes.setdefault(kind, set()).update(before - {kind})
            before.add(kind)
    return [Kind(_merged(list(kinds[kind].values())), tuple(kinds[kind])) for kind in _ordered(causes)]


def lines_of(warnings: Mapping[str, Sequence[str]], all_names: bool = False) -> list[str]:
    """Return a line for each kind of warning that several scans share, and one for the other warnings of each scan.

    Args:
        warnings: the warnings of each scan, by its name.
        all_names: whether a line names all of its scans, not just the first ones.
    """
    lines = []
    alone: dict[str, list[str]] = {}
    for kind in kinds_of(warnings):
        first, *others = kind.names
        if others:
            lines.append(f"{_named(kind.names, all_names)}: {kind.text}")
            continue
        if first not in alone:
            lines.append(first)
        alone.setdefault(first, []).append(kind.text)
    return [f"{line}: {'; '.join(alone[line])}" if line in alone else line for line in lines]


def _ordered(causes: Mapping[str, set[str]]) -> list[str]:
    """Return kinds, each after its causes; if scans contradict each other, in the order in which they came."""
    try:
        return list(TopologicalSorter(causes).static_order())
    except CycleError:
        return list(causes)


def _named(names: Sequence[str], all_names: bool) -> str:
    shown = names if all_names else names[:NAMED]
    return f"{len(names)} scans ({', '.join(shown)}{', ...' * (len(shown) < len(names))})"


def _merged(texts: Sequence[str]) -> str:
    """Return warnings of one kind as one: numbers that differ become a range, file names that differ become "..."."""
    details = [sorted(set(column), key=_size) for column in zip(*map(DETAIL.findall, texts), strict=True)]
    merged = iter(
        column[0] if len(column) == 1 else f"{column[0]} to {column[-1]}" if _size(column[0]) >= 0 else "..."
        for column in details
    )
    return DETAIL.sub(lambda _: next(merged), texts[0])


def _size(detail: str) -> float:
    """Return the value of a number, -1 for a file name."""
    return float(detail) if re.fullmatch(r"[\d.]+", detail) else -1.0


def short_names(files: Sequence[str]) -> list[str]:
    """Return the paths of files without the folders that all of them share."""
    shared = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    return [os.path.relpath(file, shared or None) for file in files]
