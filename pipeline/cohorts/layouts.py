"""Layouts: where the scans of downloaded cohorts lie, as one table of patterns.

A pattern is a path below the cohort's folder, with or without .nii or .nii.gz (it fits both), in upper or lower case.
It may contain

    *  **/         a part of a name; any folders or none
    {case}         the case's name: the scan's pattern finds it, and the patterns of mask and label reuse it
    {modality}     the sequence, in the layout's spelling
    {folder}       the scan's folder; {parent} is the one above it, both with a slash at the end
    {name}         the scan's file name; {start} is its part before the last underscore
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.nifti import stem_of


@dataclass(frozen=True)
class Layout:
    """Patterns of scans, masks and labels, the best first.

    Attributes:
        image: patterns of the scans.
        modalities: the sequences: the default, then those to use if a cohort lacks it; any sequence if empty.
        mask: patterns of the brain masks.
        label: patterns of the lesion labels.
        labelled: whether every case should have a label.
        not_scans: patterns of other files that the scans' patterns fit too.
        volumes: whether a scan is a 4D file, with the sequences in the order of `modalities`.
        case: regular expression of {case}.
    """

    image: tuple[str, ...]
    modalities: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    labelled: bool = False
    not_scans: tuple[str, ...] = ()
    volumes: bool = False
    case: str = "[^/]+"

    def scans(self, modality: str) -> list[str]:
        """Return the patterns of the scans of a sequence."""
        return [pattern.replace("{modality}", modality) for pattern in self.image]


def _beside(ends: Sequence[str], folder: str) -> tuple[str, ...]:
    """Return patterns of files beside their scan with an ending, or in a separate folder with or without an ending."""
    places = {"{folder}": ends, f"{{folder}}{folder}/": (*ends, ""), f"{{parent}}{folder}/": (*ends, "")}
    return tuple(place + name + end for place in places for name in ("{name}", "{start}") for end in places[place])


MASK_ENDINGS = ("_mask", "_brain_mask", "_bet_mask", "_bet", "_brain")
LABEL_ENDINGS = ("_lesion", "_lesion_mask", "_label", "_seg", "-lesion", "-label", "-seg")
LAYOUTS = {
    "folder": Layout(
        ("{case}_{modality}", "{case}-{modality}"),  # without --modality: {case}, which means every file
        mask=_beside(MASK_ENDINGS, "masks"),
        label=_beside(LABEL_ENDINGS, "labels"),
        not_scans=("**/masks/**", "**/labels/**", *(f"**/*{end}" for end in MASK_ENDINGS + LABEL_ENDINGS)),
        case=".+",  # includes the folders, so that scans of the same name in several folders are several cases
    ),
    "bids": Layout(
        ("sub-*/**/anat/{case}_*{modality}",),
        ("T2w", "FLAIR", "T1w"),
        mask=("derivatives/**/{start}_desc-brain_mask", "derivatives/**/{case}_desc-brain_mask"),
        label=tuple(f"derivatives/**/{{case}}_{end}" for end in ("label-lesion_mask", "desc-lesion_mask", "*lesion*")),
        case="sub-[^_/]+(?:_ses-[^_/]+)?",
    ),
    "brats2017": Layout(
        ("**/{case}/{case}_{modality}",), ("t2", "flair", "t1", "t1ce"), label=("**/{case}/{case}_seg",), labelled=True
    ),
    "isles2015": Layout(
        ("**/{case}/VSD.Brain*.MR_{modality}.*/VSD.Brain*.MR_{modality}.*",),
        ("T2", "Flair", "T1", "DWI"),
        label=("**/{case}/VSD.Brain*.OT.*/VSD.Brain*.OT.*",),
        labelled=True,
    ),
    "hcp": Layout(
        ("**/{case}/T1w/{modality}_acpc_dc_restore_brain",), ("T2w", "T1w"), mask=("**/{case}/T1w/brainmask_fs",)
    ),
    "ixi": Layout(
        ("**/{case}-{modality}", "**/{case}_{modality}"),
        ("T2", "T1", "PD", "MRA"),
        mask=("**/masks/{name}", *(f"**/{name}{end}" for name in ("{name}", "{case}") for end in MASK_ENDINGS)),
        not_scans=("**/masks/**",),
    ),
    "msd": Layout(
        ("**/imagesTr/{case}",),
        ("FLAIR", "T1w", "T1gd", "T2w"),
        label=("**/labelsTr/{case}",),
        labelled=True,
        volumes=True,
    ),
}

TOKENS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
TOKENS |= dict.fromkeys(("{case}", "{folder}", "{parent}", "{name}", "{start}"), ".*")
"""Wildcards and placeholders of a pattern, each with its regular expression."""
TOKEN = re.compile("(" + "|".join(map(re.escape, TOKENS)) + ")")


def plain(modality: str) -> str:
    """Return a sequence's name in lower case and without a final w: T2w and T2 are the same."""
    return modality.lower().removesuffix("w")


def without_suffix(pattern: str) -> str:
    """Return a pattern, or a path, without .nii* or a suffix of a scan at its end."""
    return stem_of(pattern.removesuffix("*") if pattern.endswith(".nii*") else pattern)


def expression_of(pattern: str, known: Mapping[str, str] | None = None) -> str:
    """Return a pattern as a regular expression of stems, with the known placeholders filled in."""
    meaning = TOKENS | {token: re.escape(text) for token, text in (known or {}).items()}
    return "".join(meaning.get(token, re.escape(token)) for token in TOKEN.split(without_suffix(pattern)))


def matches(expression: str, stems: Iterable[str]) -> list[re.Match[str]]:
    """Return the matches of a regular expression with whole stems, in upper or lower case."""
    compiled = re.compile(expression, re.IGNORECASE)
    return [match for stem in stems if (match := compiled.fullmatch(stem))]
