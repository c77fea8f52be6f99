"""Grouping of DICOM slices: which files make up a series, and which series are localizers."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.scans.dicom_tags import Tags, numbers

LOCALIZER = re.compile("locali[sz]er|scout|survey|pilot", re.IGNORECASE)
"""Words in the descriptions of localizers."""


@dataclass(frozen=True)
class Group:
    """The slices of a series.

    Args:
        slices: the tags of each file.
        localizer: whether the series only serves to plan others.
        scattered: whether each slice has a series UID of its own, as some scanners and anonymizers write them.
    """

    slices: dict[Path, Tags]
    localizer: bool = False
    scattered: bool = False


def groups_of(slices: Mapping[Path, Tags]) -> list[Group]:
    """Return the series that slices belong to."""
    series: dict[str, dict[Path, Tags]] = defaultdict(dict)
    for file, tags in slices.items():
        series[tags.series_uid or str(file.parent)][file] = tags
    _take_in_damaged(series)
    scattered = _take_out_scattered(series)
    groups = []
    for group, is_scattered in (*((one, False) for one in series.values()), *((one, True) for one in scattered)):
        if _is_localizer(group):
            groups.append(Group(group, localizer=True))
        elif is_scattered:
            groups += [stack for part in _parts(group) for stack in _stacks(part)]
        else:
            groups += [Group(part) for part in _parts(group)]
    return groups


def _take_in_damaged(groups: dict[str, dict[Path, Tags]]) -> None:
    """Add damaged files that do not name their series to the series of their folder, if there is only one."""
    for key in [key for key, group in groups.items() if all(tags.damaged for tags in group.values())]:
        beside = [group for other, group in groups.items() if other != key and any(str(f.parent) == key for f in group)]
        if len(beside) == 1:
            beside[0].update(groups.pop(key))


def _is_localizer(group: dict[Path, Tags]) -> bool:
    """Tell whether a series only serves to plan others: it says so, or has few slices along each of three axes."""
    if any("LOCALIZER" in tags.image_type.upper() for tags in group.values()):
        return True
    given = [tags.orientation for tags in group.values() if tags.orientation]
    axes = [tuple(np.round(numbers(orientation, 6), 1)) for orientation in given]
    few = max(map(axes.count, axes), default=0) < 10
    named = any(LOCALIZER.search(tags.series_description) for tags in group.values())
    return few and (named or len(set(axes)) > 2)


def _parts(group: dict[Path, Tags]) -> list[dict[Path, Tags]]:
    """Return a series as one part if its slices lie in several folders, but each copy of them as a part of its own."""
    folders: dict[Path, dict[Path, Tags]] = defaultdict(dict)
    for file, tags in group.items():
        folders[file.parent][file] = tags
    parts: list[dict[Path, Tags]] = []
    for slices in folders.values():
        whole = next((part for part in parts if _complement(part, slices)), None)
        if whole is None:
            parts.append(slices)
        else:
            whole.update(slices)
    return parts


def _complement(one: dict[Path, Tags], other: dict[Path, Tags]) -> bool:
    """Tell whether no slice is in both, and both show one patient, as far as their tags tell."""
    instances = [{tags.instance_uid or str(file) for file, tags in part.items()} for part in (one, other)]
    patients = {tags.patient for part in (one, other) for tags in part.values() if not tags.damaged}
    return instances[0].isdisjoint(instances[1]) and len(patients) <= 1


def _take_out_scattered(series: dict[str, dict[Path, Tags]]) -> list[dict[Path, Tags]]:
    """Remove series of one place each that agree in study, number, description and patient, and return them joined."""
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for uid, group in series.items():
        file, tags = next(iter(group.items()))
        if tags.position and len({(own.position, own.damaged) for own in group.values()}) == 1 and not tags.damaged:
            study = tags.study_uid or str(file.parent)
            alike[study, tags.series_number, tags.series_description, tags.modality, tags.patient].append(uid)
    several = [uids for uids in alike.values() if len(uids) > 1]
    return [{file: tags for uid in uids for file, tags in series.pop(uid).items()} for uids in several]


def _stacks(slices: dict[Path, Tags]) -> list[Group]:
    """Return scattered slices as stacks of one orientation, spacing and size, and those that have no other together."""
    stacks: list[dict[Path, Tags]] = []
    for file, tags in slices.items():
        stack = next((one for one in stacks if _is_alike(next(iter(one.values())), tags)), None)
        if stack is None:
            stacks.append({file: tags})
        else:
            stack[file] = tags
    alone = {file: tags for stack in stacks if len(stack) == 1 for file, tags in stack.items()}
    groups = [Group(stack, scattered=True) for stack in stacks if len(stack) > 1]
    return groups + ([Group(alone, scattered=len(alone) > 1)] if alone else [])


def _is_alike(one: Tags, other: Tags) -> bool:
    """Tell whether two slices may be of one stack, but for rounding."""
    given = [numbers(f"{tags.orientation}\\{tags.spacing}", 8) for tags in (one, other)]
    return one.size == other.size and bool(np.abs(given[0] - given[1]).max() < 1e-3)
