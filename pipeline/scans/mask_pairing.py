"""Brain masks of a folder, paired with their scans by name: a mask of another patient is never taken."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.nifti import stem_of
from pipeline.scans.naming import safe_name

MASK = re.compile(r"[ ._-]+(desc-)?(brain|mask|bet|hd-?bet)[^0-9]*", re.IGNORECASE)
"""How a mask's name goes on after the patient's: a letter or number in its place may be another patient."""


def masks_for(names: Sequence[str], files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the mask of each case, and why there is none for the others.

    A mask's name starts with the case's. Where there is none, one will do that starts with the part before the case's
    last underscore, if brain, mask or bet follows and no other case has that part. Of several that fit, one that ends
    in `mask` is taken, then one that is not named exactly as the case: HD-BET writes CASE.nii.gz, the stripped scan,
    beside CASE_bet.nii.gz (version 2) or CASE_mask.nii.gz (version 1).

    Args:
        names: of all cases.
        files: what lies in the folder of masks.
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
                f"{len(fitting)} brain masks fit it, such as {first}; keep one of them in the folder of --mask"
            )
        else:
            problems[name] = f"no brain mask for it in the folder of --mask; its name must start with {name}"
    number = Counter(masks.values())
    for name in [name for name, file in masks.items() if number[file] > 1]:
        mask = stems[masks.pop(name)]
        problems[name] = f"the brain mask {mask} fits several scans; name each mask by the whole name of its scan"
    return masks, problems


def _starts(stem: str, start: str) -> bool:
    """Return whether a name starts with another one, up to the end of a word or number: sub-10 does not with sub-1."""
    return bool(start) and stem.startswith(start) and not re.match(r"[A-Za-z0-9]", stem[len(start) :])


def _fits_start(stem: str, name: str) -> bool:
    """Return whether a mask starts with a case's name before its last underscore, and goes on as masks do."""
    start = name.rpartition("_")[0]
    return _starts(stem, start) and bool(MASK.fullmatch(stem[len(start) :]))


def _best(stems: dict[Path, str], name: str) -> list[Path]:
    """Return those that say they are masks, else those that are not named exactly as the scan, else all."""
    masks = [file for file, stem in stems.items() if stem.lower().endswith("mask")]
    return masks or [file for file, stem in stems.items() if stem != name] or list(stems)
