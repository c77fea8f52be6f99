"""Layouts: where the scans of downloaded cohorts lie, and the datalist that is made of them.

The story of `index_cohort`: every NIfTI file below the directory is held against the patterns of its layout; cases that
lack a file are named; brain masks and lesion labels are looked up for each scan; one split of the datalist is written.

A pattern is a path below the directory, with or without its .nii or .nii.gz (it fits both), upper or lower case. In it

    *  ?  **/      stand for a part of a name, one letter of it, and any folders, none as well
    {case}         is the case's name: found by the scan's pattern, known in those of mask and label
    {modality}     is the sequence, as in the layout's `modalities`
    {folder}       is the scan's folder, {parent} that folder's folder, both with a slash at the end
    {name}         is the scan's file name, {start} its part before the last underscore
"""

import difflib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
from tqdm import tqdm

from pipeline.cohort import Entry
from pipeline.errors import ScanError, UsageError
from pipeline.nifti import copy_of, write
from pipeline.scans import SUFFIXES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Where scans, labels and masks lie: patterns, the best first."""

    image: tuple[str, ...]
    modalities: tuple[str, ...] = ()
    """The sequences, the default first: it gives way to the next where a cohort has none of it. Empty: any name."""
    label: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    not_scans: tuple[str, ...] = ()
    """What the scans' patterns would fit as well."""
    labelled: bool = False
    """Every case should have a label."""
    volumes: bool = False
    """The sequences are the volumes of one 4D file, in the order of `modalities`."""
    case: str = "[^/]+"
    """Regular expression of {case}."""


MASK_SUFFIXES = ("_mask", "_brain_mask", "_bet_mask", "_bet", "_brain")
LABEL_SUFFIXES = ("_label", "_lesion", "_lesion_mask", "_seg")


def _beside(folder: str, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return where the folder layout looks for a mask or label: beside its scan, and in a folder of such files."""
    folders = (f"{{folder}}{folder}/", f"{{parent}}{folder}/")
    names = ("{name}", "{start}")
    return tuple(f"{{folder}}{name}{suffix}" for name in names for suffix in suffixes) + tuple(
        f"{place}{name}{suffix}" for place in folders for name in names for suffix in (*suffixes, "")
    )


LAYOUTS = {
    "folder": Layout(
        image=("{case}_{modality}", "{case}-{modality}"),
        mask=_beside("masks", MASK_SUFFIXES),
        label=_beside("labels", LABEL_SUFFIXES),
        not_scans=("**/masks/**", "**/labels/**", *(f"**/*{suffix}" for suffix in MASK_SUFFIXES + LABEL_SUFFIXES)),
        case=".+",  # so that scans of the same name in several folders are several cases
    ),
    "bids": Layout(
        image=("sub-*/**/anat/{case}_*{modality}",),
        modalities=("T2w", "FLAIR", "T1w"),
        mask=("derivatives/**/{start}_desc-brain_mask", "derivatives/**/{case}_desc-brain_mask"),
        label=(
            "derivatives/**/{case}_label-lesion_mask",
            "derivatives/**/{case}_desc-lesion_mask",
            "derivatives/**/{case}_*lesion*",
        ),
        case="sub-[^_/]+(?:_ses-[^_/]+)?",
    ),
    "brats2017": Layout(
        image=("**/{case}/{case}_{modality}",),
        modalities=("t2", "flair", "t1", "t1ce"),
        label=("**/{case}/{case}_seg",),
        labelled=True,
    ),
    "isles2015": Layout(
        image=("**/{case}/VSD.Brain*.MR_{modality}.*/VSD.Brain*.MR_{modality}.*",),
        modalities=("T2", "Flair", "T1", "DWI"),
        label=("**/{case}/VSD.Brain*.OT.*/VSD.Brain*.OT.*",),
        labelled=True,
    ),
    "hcp": Layout(
        image=("**/{case}/T1w/{modality}_acpc_dc_restore_brain",),
        modalities=("T2w", "T1w"),
        mask=("**/{case}/T1w/brainmask_fs",),
    ),
    "ixi": Layout(
        image=("**/{case}-{modality}", "**/{case}_{modality}"),
        modalities=("T2", "T1", "PD", "MRA"),
        mask=tuple(f"**/{name}{suffix}" for name in ("{name}", "{case}") for suffix in MASK_SUFFIXES)
        + ("**/masks/{name}", "**/masks/{case}"),
        not_scans=("**/masks/**",),
    ),
    "msd": Layout(
        image=("**/imagesTr/{case}",),
        modalities=("FLAIR", "T1w", "T1gd", "T2w"),
        label=("**/labelsTr/{case}",),
        labelled=True,
        volumes=True,
    ),
}

PLACEHOLDERS = ("{case}", "{folder}", "{parent}", "{name}", "{start}")
WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
TOKEN = re.compile("(" + "|".join(map(re.escape, (*WILDCARDS, *PLACEHOLDERS))) + ")")

Scans = dict[str, list[str]]
"""Files, by their path below the directory without .nii or .nii.gz, of each case."""


def index_cohort(
    directory: Path,
    layout: str,
    output: Path,
    modalities: Sequence[str] = (),
    healthy: bool = False,
    split: str | None = None,
    image: Sequence[str] = (),
    label: str | None = None,
    mask: str | None = None,
) -> dict[str, list[Entry]]:
    """Write the scans of a downloaded cohort as one split of a datalist, and return the datalist's splits.

    A datalist that is there already keeps its other splits. Volumes of 4D files are written to `volumes` beside it.

    Args:
        directory: where the cohort lies.
        layout: a name in LAYOUTS.
        output: the datalist.
        modalities: the channels of a scan, in this order; the layout's default when empty.
        healthy: list no labels, and make the split `training` by default.
        split: name of the split; `test` by default, for healthy scans `training`.
        image: patterns that replace the layout's, one for each channel.
        label: pattern of the lesion labels that replaces the layout's.
        mask: pattern of the brain masks that replaces the layout's.

    Raises:
        UsageError: where the arguments do not fit each other or the directory, no case is found, or the output cannot
            be written.
    """
    if not Path(directory).is_dir():
        raise UsageError(f"{directory}: there is no such folder")
    scheme = _layout(layout)
    if healthy and label:
        raise UsageError("--label does not go with --healthy, which lists no labels")
    if image and modalities:
        raise UsageError("--image does not go with --modality: each pattern is a channel already")
    for pattern in image:
        if "{case}" not in pattern:
            raise UsageError(f"--image {pattern}: it needs {{case}} where the case's name stands")
    wanted = [*image] or [_modality(layout, name) for name in modalities]
    if image:
        scheme = replace(scheme, not_scans=(), volumes=False, case=Layout.case)
    patterns = {name: (name,) for name in image} or _channels(scheme, wanted)
    labelled = scheme.labelled or label is not None
    splits = _existing(Path(output))

    root = Path(directory).resolve()
    files = _files(root)
    found = {channel: _scans(files, patterns[channel], scheme) for channel in patterns}
    wanted = wanted or [_default(found)]
    cases = _complete(found, wanted, patterns)
    labels = {} if healthy else _companions("label", (label,) if label else scheme.label, files, cases, labelled)
    masks = _companions("mask", (mask,) if mask else scheme.mask, files, cases, False)
    for role, pattern, companions in (("label", label, labels), ("mask", mask, masks)):
        if pattern and cases and not companions:
            raise UsageError(f"--{role} {pattern}: it fits no file of the {len(cases)} cases in {directory}")
    try:
        folder = Path(output).parent.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        images = {case: [files[stem] for stem in stems] for case, stems in cases.items()}
        if scheme.volumes:
            images = _extracted(images, [scheme.modalities.index(name) for name in wanted], wanted, folder / "volumes")
        if not images:
            looked_for = ", ".join(_shown(pattern) for channel in wanted for pattern in patterns[channel])
            raise UsageError(f"{directory}: no case of the layout `{layout}`; looked for {looked_for}")
        splits[split or ("training" if healthy else "test")] = [
            _entry([*channels], labels.get(case), masks.get(case), files, folder) for case, channels in images.items()
        ]
        partial = Path(output).with_name(f".{Path(output).name}.partial")
        partial.write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
        partial.replace(output)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({error.strerror or error})") from error
    return {name: entries for name, entries in splits.items() if isinstance(entries, list)}
