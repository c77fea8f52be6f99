"""Indexing: the datalist of a downloaded cohort, from the patterns of its layout (layouts.py).

The story of `index_cohort`: it matches each NIfTI file below the directory with the patterns, names the cases that lack
a file, finds the mask and label of each scan, and writes one split of the datalist.
"""

import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
from tqdm import tqdm

from pipeline.cohorts.datalist import Entry, Item, read_json
from pipeline.cohorts.layouts import LAYOUTS, TOKEN, Layout, expression_of, matches, plain, without_suffix
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.files import write_json, written_aside
from pipeline.nifti import SUFFIXES, copy_of, write
from pipeline.unread import line_about, named_as_labels, not_read

logger = logging.getLogger(__name__)

Files = dict[str, Path]  # files of scans by their stem: the path below the directory without its suffix
Cases = dict[str, list[str]]  # stems by case

NAMED_AS_LABEL = "left out, because the name is that of a mask or label; give its pattern as --mask, --label or --image"
"""What is said of a file that is named as a mask or label and belongs to no scan."""

DOUBLE = "left out: another file differs only in the ending"
"""What is said of a scan that is there in two formats."""


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
) -> dict[str, list[Item]]:
    """Write the scans of a downloaded cohort as one split of a datalist, and return the datalist's splits.

    An existing datalist keeps its other splits. The volumes of 4D files are written to `volumes` beside it.

    Args:
        directory: the folder of the cohort.
        layout: a name in LAYOUTS.
        output: the datalist.
        modalities: the channels of a scan, in this order; the layout's default if empty.
        healthy: whether the scans are healthy: then no labels are listed, and the split is `training` by default.
        split: name of the split; by default `training` for healthy scans, else `test`.
        image: patterns that replace the layout's, one for each channel.
        label: pattern of the lesion labels that replaces the layout's.
        mask: pattern of the brain masks that replaces the layout's.

    Raises:
        UsageError: if the arguments do not fit the directory or each other, or if the output cannot be written.
    """
    if not Path(directory).is_dir():
        raise UsageError(f"{directory}: there is no such folder")
    if healthy and label:
        raise UsageError("--label does not go with --healthy, which lists no labels; give one of them")
    scheme, wanted = _scheme(layout, modalities, image)
    splits = _splits_of(Path(output))
    files = _files(Path(directory).resolve())
    found = {modality: _scans(files, scheme, modality) for modality in scheme.modalities}
    wanted = wanted or [next(filter(found.get, found), scheme.modalities[0])]
    cases = _complete(found, wanted, scheme)
    masks = _companions("mask", scheme, mask, cases, files)
    labels = {} if healthy else _companions("label", scheme, label, cases, files)

    used = {files[stem] for stem in (*chain(*cases.values()), *masks.values(), *labels.values())}
    unused = [file for file in named_as_labels(files.values()) if file not in used]
    if unused and scheme.not_scans:
        logger.warning("%s", line_about(Path(directory).resolve(), unused, NAMED_AS_LABEL))

    folder = Path(output).parent.resolve()
    entries: list[Item] = []
    for case, stems in tqdm(cases.items(), "indexing", unit="scan", disable=None):
        channels = [files[stem] for stem in stems]
        if scheme.volumes:
            try:
                channels = [_volume(files[stems[0]], case, name, scheme, folder / "volumes") for name in wanted]
            except Exception as error:  # a damaged file can make nibabel raise any exception
                logger.warning("%s is left out: %s: %s", case, files[stems[0]], reason_of(error))
                continue
        paths = [_path_from(folder, file) for file in channels]
        companions = (_path_from(folder, files[role[case]]) if case in role else None for role in (masks, labels))
        entries.append(Entry(tuple(paths), *companions).item())
    if not entries:
        patterns = [without_suffix(pattern) for modality in wanted for pattern in scheme.scans(modality)]
        raise UsageError(f"{directory}: no case of layout `{layout}`; looked for {' or '.join(patterns)}.nii[.gz]")
    splits[split or ("training" if healthy else "test")] = entries
    try:
        write_json(Path(output), splits)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({error.strerror})") from error
    return {name: listed for name, listed in splits.items() if isinstance(listed, list)}


def _scheme(name: str, modalities: Sequence[str], image: Sequence[str]) -> tuple[Layout, list[str]]:
    """Return the layout, with the user's own patterns of scans, and the requested channels in the layout's spelling."""
    if name not in LAYOUTS:
        nearest = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.0)[0]
        raise UsageError(f"unknown layout `{name}`; the nearest known one is `{nearest}` of {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    if image and modalities:
        raise UsageError("--image does not go with --modality, because each --image is one channel; give one of them")
    if image:
        if any("{case}" not in pattern for pattern in image):
            raise UsageError(f"--image {' '.join(image)}: each pattern needs {{case}} in place of the case's name")
        own = replace(layout, image=("{modality}",), modalities=(*image,))  # each pattern is a sequence's name as well
        return replace(own, not_scans=(), volumes=False, case=Layout.case), [*image]
    if not layout.modalities:  # any sequence, or every file
        layout = layout if modalities else replace(layout, image=("{case}",))
        return replace(layout, modalities=(*modalities,) or ("scan",)), [*modalities]
    known = {plain(modality): modality for modality in layout.modalities}
    for modality in modalities:
        if plain(modality) not in known:
            raise UsageError(f"unknown modality `{modality}` of {name}; it has {', '.join(layout.modalities)}")
    return layout, [known[plain(modality)] for modality in modalities]


def _splits_of(output: Path) -> dict[str, Any]:
    """Return the content of the datalist, empty if it does not exist."""
    try:
        content = read_json(output) if output.exists() else {}
    except UsageError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{output}: this file exists and is not a datalist; choose another --output")
    return content


def _files(root: Path) -> Files:
    """Return the files of scans below a folder, without hidden ones: these come from archives or version control."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*"))
    visible = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    scans = [path for path in visible if path.name.lower().endswith(SUFFIXES) and (root / path).is_file()]
    scans.sort(key=lambda path: path.suffix.lower() in (".nii", ".gz"))  # of two formats, NIfTI comes last and stays
    files = {without_suffix(path.as_posix()): root / path for path in scans}
    known = set(scans)
    doubles = sorted({root / path for path in scans} - set(files.values()))
    lines = not_read(root, (root / path for path in visible if path not in known), dicom=False)
    for line in [*lines, *([line_about(root, doubles, DOUBLE)] if doubles else [])]:
        logger.warning("%s", line)
    return dict(sorted(files.items()))


def _scans(files: Files, scheme: Layout, modality: str) -> Cases:
    """Return the scans of one sequence."""
    others = {match.string for pattern in scheme.not_scans for match in matches(expression_of(pattern), files)}
    if scheme.not_scans:  # patterns that fit any file
        labels = set(named_as_labels(files.values()))
        others |= {stem for stem, file in files.items() if file in labels}
    cases: Cases = {}
    for pattern in scheme.scans(modality):
        start, *rest = (expression_of(part) for part in without_suffix(pattern).split("{case}"))
        expression = f"{start}(?P<case>{scheme.case})" + "(?P=case)".join(rest)
        for match in matches(expression, files):
            if match.string not in others:
                cases.setdefault(match["case"], []).append(match.string)
    return cases


def _complete(found: Mapping[str, Cases], wanted: Sequence[str], scheme: Layout) -> Cases:
    """Return the cases that have all channels, one file for each channel; warn of the others."""
    cases: Cases = {}
    for case in sorted({case for cases in found.values() for case in cases}):
        missing = [without_suffix(scheme.scans(modality)[0]) for modality in wanted if case not in found[modality]]
        if missing:
            logger.warning("%s is left out: no %s.nii[.gz]", case, " and no ".join(missing).replace("{case}", case))
        else:
            cases[case] = [_one_of(found[modality][case], case) for modality in wanted]
    return cases


def _one_of(stems: Sequence[str], case: str) -> str:
    """Return the shortest stem, which has the fewest additions; warn of the others."""
    first, *others = sorted(stems, key=lambda stem: (len(stem), stem))
    if others:
        logger.warning("%s: several scans fit; %s is used, not %s", case, first, ", ".join(others))
    return first


def _companions(role: str, scheme: Layout, own: str | None, cases: Cases, files: Files) -> dict[str, str]:
    """Return masks or labels by case; warn of cases that should have one and do not."""
    found: dict[str, str] = {}
    known = {case: _placeholders(case, scan) for case, (scan, *_) in cases.items()}
    patterns: tuple[str, ...] = (own,) if own else getattr(scheme, role)
    others = files.keys() - {scan for scans in cases.values() for scan in scans}
    for pattern in patterns:
        # The files that fit any case come first, so that the pattern of each case is matched with few files.
        fitting = [match.string for match in matches(expression_of(pattern), others)]
        for case in [case for case in cases if fitting and case not in found]:
            stems = [match.string for match in matches(expression_of(pattern, known[case]), fitting)]
            if stems:
                found[case] = _one_of(stems, case)
    if own and cases and not found:
        raise UsageError(f"--{role} {own}: no file fits this pattern for any of the {len(cases)} cases")
    if own or (found if role == "mask" else scheme.labelled):
        for case in sorted(cases.keys() - found):
            missing = "".join(known[case].get(token, token) for token in TOKEN.split(without_suffix(patterns[0])))
            logger.warning("%s has no %s: no %s.nii[.gz]", case, role, missing)
    return found


def _placeholders(case: str, scan: str) -> dict[str, str]:
    folder, _, name = scan.rpartition("/")
    parent, _, _ = folder.rpartition("/")
    known = {"{case}": case, "{name}": name, "{start}": name.rpartition("_")[0] or name}
    return known | {"{folder}": folder and f"{folder}/", "{parent}": parent and f"{parent}/"}


def _volume(source: Path, case: str, modality: str, scheme: Layout, folder: Path) -> Path:
    """Return the file of one volume of a 4D file, and write it if it does not exist."""
    file = folder / f"{case}_{plain(modality)}.nii.gz"
    if not file.exists():  # a file of this name is always complete
        image, number = nib.nifti1.load(source), scheme.modalities.index(modality)
        if image.ndim != 4 or number >= image.shape[3]:
            raise ScanError(f"its shape is {image.shape}, without a volume {number + 1}")
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(file) as partial:
            write(copy_of(image.slicer[..., number : number + 1]), partial)
    return file


def _path_from(folder: Path, file: Path) -> str:
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return file.as_posix()
