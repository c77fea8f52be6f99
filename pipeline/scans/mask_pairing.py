"""Brain masks of a folder, paired with their scans by name: a mask of another patient is never used."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.nifti import SUFFIXES, stem_of
from pipeline.scans.naming import safe_name

MASK_ENDING = re.compile(r"[ ._-]+(desc-)?(brain|mask|bet|hd-?bet)[^0-9]*", re.IGNORECASE)
"""What may follow the case name in a mask's name; anything else might be another patient's."""


def masks_below(folder: Path, places: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return what `masks_for` returns for the masks of a folder and of the folders in it.

    A mask in a folder of its own, such as A/T1_bet.nii.gz, is only for scans in a folder of the same name, such as
    SCANS/A/T1.nii.gz, and is named as the scan's file, or plainly mask.nii.gz if both are alone. All others
    are in the folder itself, named as the case.

    Args:
        folder: the folder of masks.
        places: the file of each case, by the case's name; for a DICOM series, its name in its folder.
    """
    files: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    scans = {place.resolve() for place in places.values()}  # some may lie below the folder of masks
    for file in sorted(folder.rglob("*")):
        below = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in below.parts)
        if file.name.lower().endswith(SUFFIXES) and not hidden and file.resolve() not in scans:
            files[below.parent.parts].append(file)
    masks, problems = masks_for(list(places), files[()])
    beside: dict[Path, list[str]] = defaultdict(list)
    for case, place in places.items():
        beside[place.parent].append(case)
    for place, cases in beside.items():
        fitting = [parts for parts in files if parts and place.parts[-len(parts) :] == parts]
        own = {safe_name(stem_of(places[case].name)): case for case in cases}
        if fitting and len(own) == len(cases):
            there = files[max(fitting, key=len)]
            paired, missing = masks_for(list(own), there)
            if missing and len(own) == len(there) == 1 and _is_plain_mask(there[0]):
                paired, missing = dict.fromkeys(own, there[0]), {}
            masks |= {own[name]: file for name, file in paired.items()}
            problems |= {own[name]: why for name, why in missing.items()}
    problems = {case: why for case, why in problems.items() if case not in masks}
    return _used_once(masks, problems)


def masks_for(names: Sequence[str], files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the mask of each case that has one, and the reason for each case that has none.

    A mask's name starts with the case's name. If there is no such mask, its name may start with the part before the
    case's last underscore, if brain, mask or bet follows and no other case has that part. If several masks fit, one
    that ends in `mask` is preferred, then one that is not named exactly like the case: HD-BET writes CASE.nii.gz, the
    stripped scan, beside CASE_bet.nii.gz (version 2) or CASE_mask.nii.gz (version 1).

    Args:
        names: the names of all cases.
        files: the files in the folder of masks.
    """
    stems = {file: safe_name(stem_of(file.name)) for file in files}
    # A file that fits a longer case name belongs to that case alone.
    longest = {
        file: max((name for name in names if _starts(stem, name)), key=len, default="") for file, stem in stems.items()
    }
    masks: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for name in names:
        own = [file for file in files if longest[file] == name]
        shared = [file for file in files if not longest[file] and _fits_start(stems[file], name)]
        fitting = _best({file: stems[file] for file in own or shared}, name)
        if len(fitting) == 1:
            masks[name] = fitting[0]
        elif fitting:
            first = stems[fitting[0]]
            problems[name] = (
                f"{len(fitting)} brain masks fit {name}, for example {first}; keep only one in the --mask folder"
            )
        else:
            problems[name] = (
                f"no brain mask for {name} in the --mask folder (expected a file whose name starts with {name})"
            )
    return _used_once(masks, problems)


def _is_plain_mask(file: Path) -> bool:
    """Return whether a mask is named mask, brain_mask or the like, without the name of a scan."""
    return bool(MASK_ENDING.fullmatch(f"_{stem_of(file.name)}"))


def _used_once(masks: dict[str, Path], problems: dict[str, str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return masks and problems, in which a mask that fits several cases is a problem of each."""
    number = Counter(masks.values())
    for name in [name for name, file in masks.items() if number[file] > 1]:
        mask = safe_name(stem_of(masks.pop(name).name))
        problems[name] = f"the brain mask {mask} fits several scans; begin each mask's name with the whole scan name"
    return masks, problems


def _starts(stem: str, start: str) -> bool:
    """Return whether a name starts with another whole name: sub-1_T1 starts with sub-1, but sub-10 does not."""
    return bool(start) and stem.startswith(start) and not re.match(r"[A-Za-z0-9]", stem[len(start) :])


def _fits_start(stem: str, name: str) -> bool:
    """Return whether a mask starts with the part before a case's last underscore, and has a mask's ending."""
    start = name.rpartition("_")[0]
    return _starts(stem, start) and bool(MASK_ENDING.fullmatch(stem[len(start) :]))


def _best(stems: dict[Path, str], name: str) -> list[Path]:
    """Return the files named as masks, else those that are not named exactly like the scan, else all."""
    masks = [file for file, stem in stems.items() if stem.lower().endswith("mask")]
    return masks or [file for file, stem in stems.items() if stem != name] or list(stems)
