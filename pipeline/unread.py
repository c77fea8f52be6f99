"""Files that look like scans and are not read: they are named, with what to do, never passed over in silence."""

import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pipeline.dicom_files import ENDINGS, START, is_dicom, starts_as_dicom
from pipeline.files import to_printable
from pipeline.nifti import stem_of

SCAN = re.compile(r".*\.(nii(\.\w+)?|mg[zh]|nrrd|nhdr|mha|mhd|img|mnc|dcm|ima)|(.*/)?DICOMDIR", re.IGNORECASE)
"""Names of scans, in lower or upper case."""

KINDS = {
    r"\.nii\.(bz2|xz|zst|lzma|z|lz4|zip|7z|rar)": "only gzip is read; unpack the file, or compress it to .nii.gz",
    r"\.(img|hdr)(\.gz)?": "a pair of header and voxels (Analyze or NIfTI); convert it to .nii.gz, with care for left "
    "and right: Analyze does not say where they are",
    r"\.(nhdr|mhd)": "the voxels lie in another file; convert it to .nrrd, .mha or .nii.gz (for example in Slicer)",
    r"\.(mnc2?)(\.gz)?": "MINC; convert it to .nii.gz (for example with mnc2nii)",
    r"\.(head|brik(\.gz)?)": "AFNI; convert it to .nii.gz (for example with 3dAFNItoNIFTI)",
    r"\.mif(\.gz)?": "MRtrix; convert it to .nii.gz (for example with mrconvert)",
    r"\.rec": "Philips PAR and REC; convert it to .nii.gz (for example with dcm2niix)",
    r"\.gipl(\.gz)?": "GIPL; convert it to .nii.gz (for example with ITK-SNAP)",
    r"\.(mgh|nrrd|mha)\.gz": "compressed as a whole; unpack the file with gunzip",
}
"""Endings of names, in lower case, with the reason why such files are not read and what to do."""

ARCHIVE = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz|7z|rar)$", re.IGNORECASE)
ARCHIVED = "an archive of scans; unpack it"
DANGLING = "a dangling link: its target is missing; get the target"
NOT_INDEXED = (
    "DICOM; each file holds a slice, not the volume: convert the series to .nii.gz (for example with dcm2niix)"
)

MASK_OR_LABEL = re.compile(
    r"(.*[-_. ])?(d?seg|probseg|segmentations?|labels?|lesions?|masks?|roi|gt|annotations?)|.+[-_. ]brainmask", re.I
)
"""Names of masks and labels, without their ending. FreeSurfer's brainmask.mgz is a stripped scan."""
FREESURFER_LABEL = re.compile(
    r"(lh|rh)\..*|(.*[.+])?(aseg|aparc|wmparc|ribbon|filled|wm|ctrl_pts)([.+].*)?\.mg[zh]", re.I
)
"""Names of segmentations and surfaces in a FreeSurfer subject."""

ENDING = re.compile(r"(\.(nii|mgh|nrrd|mha|img|hdr|mnc2?|mif|brik|gipl|tar))?\.\w+$", re.IGNORECASE)
"""The ending of a name, together with that of its compression."""

NAMED = 5
"""At most this many files of a kind are all named."""

LOOKED_AT = 20
"""At most this many files at the start of an archive are looked at."""


def why_unread(file: Path, dicom: bool = True) -> str | None:
    """Return why a file that looks like a scan is not read, None for any other file.

    Args:
        file: a file in no format that is read.
        dicom: whether DICOM files are read.
    """
    name = file.name.lower()
    reason = next((reason for ending, reason in KINDS.items() if re.search(f"{ending}$", name)), None)
    if not file.exists():
        suffix = file.suffix[1:]
        might_be_dicom = not suffix or suffix.isdigit() or name.endswith(ENDINGS)  # a UID ends in digits
        is_named_so = reason or might_be_dicom or SCAN.fullmatch(name) or ARCHIVE.search(name)
        return DANGLING if file.is_symlink() and is_named_so else None
    if not file.is_file():
        return None
    if reason is None and ARCHIVE.search(name):
        return ARCHIVED if _holds_scans(file) else None
    return NOT_INDEXED if reason is None and not dicom and is_dicom(file) else reason


def not_read(folder: Path, files: Iterable[Path], dicom: bool = True) -> list[str]:
    """Return a line about each kind of files below a folder that look like scans and are not read."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if reason := why_unread(file, dicom):
            kinds[reason].append(file)
    return [line_about(folder, those, f"not read: {reason}") for reason, those in kinds.items()]


def line_about(folder: Path, files: list[Path], what: str) -> str:
    """Return one line about files below a folder, which names all of a few files and the first one of many."""
    names = [file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file) for file in files]
    if len(names) <= NAMED:
        named = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    else:
        endings = sorted({found[0] if (found := ENDING.search(name)) else "" for name in names})
        kind = f"{' and '.join(endings)} files" if len(endings) <= 3 and all(endings) else "files"
        named = f"{len(names)} {kind} such as {names[0]}"
    return to_printable(f"{folder}: {named} {'is' if len(names) == 1 else 'are'} {what}")


def named_as_labels(scans: Collection[Path]) -> list[Path]:
    """Return the masks and labels among scans, by their names, which tell only beside others: none if all are."""
    labels = [
        file for file in scans if MASK_OR_LABEL.fullmatch(stem_of(file.name)) or FREESURFER_LABEL.fullmatch(file.name)
    ]
    return labels if len(labels) < len(scans) else []


def _holds_scans(archive: Path) -> bool:
    """Return whether an archive holds scans, as far as can be told; one that cannot be opened may hold some."""
    try:
        return any(SCAN.fullmatch(name) or starts_as_dicom(start) for name, start in _members(archive))
    except Exception:  # a damaged or encrypted archive can raise any exception
        return True


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names in an archive, and of the first files their first bytes."""
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as opened:
            yield from ((name, b"") for name in opened.namelist())
            for name in [name for name in opened.namelist() if not name.endswith("/")][:LOOKED_AT]:
                with opened.open(name) as stream:
                    yield name, stream.read(START)
    else:
        with tarfile.open(archive) as tar:
            for _, member in zip(range(LOOKED_AT), tar, strict=False):
                content = tar.extractfile(member) if member.isfile() else None
                yield member.name, content.read(START) if content is not None else b""
