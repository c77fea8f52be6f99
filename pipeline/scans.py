"""Scans as people give them: files, folders and datalists become named cases, and each scan is checked."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohort import Entry, read_datalist
from pipeline.errors import ScanError, UsageError

SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Case:
    """One scan to predict: its name in the outputs and its entry, as in a datalist."""

    name: str
    entry: Entry

    @property
    def image(self) -> Path:
        """The file of channel 0."""
        image = self.entry["image"]
        return Path(image[0] if isinstance(image, list) else image)


def find_cases(inputs: Sequence[str | Path], masks: Sequence[str | Path] = ()) -> list[Case]:
    """Return the cases of scans, folders (searched recursively) and datalists.

    Args:
        inputs: NIfTI files, folders or datalists.
        masks: brain masks by position, or one folder with files that start with the case's name or with its part
            before the last underscore.

    Raises:
        UsageError: where an input is not there, nothing is found, or the masks do not fit the scans.
    """
    mask_folder = Path(masks[0]).resolve() if len(masks) == 1 and Path(masks[0]).is_dir() else None
    entries = [entry for path in inputs for entry in _entries(Path(path), mask_folder)]
    if not entries:
        raise UsageError(f"no scan found in {', '.join(map(str, inputs))}; scans end in {' or '.join(SUFFIXES)}")
    names = _names([Path(files[0]) for files in (_images(entry) for entry in entries)])
    if mask_folder is not None:
        found = _masks_in(mask_folder, names)
        entries = [{**entry, "mask": found[name]} for entry, name in zip(entries, names, strict=True)]
    elif masks:
        if len(masks) != len(entries):
            raise UsageError(
                f"--mask gives {len(masks)} masks for {len(entries)} scans; give one for each, or a folder"
            )
        entries = [{**entry, "mask": str(mask)} for entry, mask in zip(entries, masks, strict=True)]
    return [Case(name, entry) for name, entry in zip(names, entries, strict=True)]


def _images(entry: Entry) -> list[str]:
    return entry["image"] if isinstance(entry["image"], list) else [entry["image"]]


def _entries(path: Path, mask_folder: Path | None) -> list[Entry]:
    if path.is_dir():
        files = sorted(file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}"))
        # Neither masks nor what prediction wrote before are scans.
        files = [file for file in files if not (file.parent / "case.json").exists()]
        return [{"image": str(file)} for file in files if mask_folder not in file.resolve().parents]
    if path.suffix == ".json" and path.is_file():
        return [entry for entries in read_datalist(path).values() for entry in entries]
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    return [{"image": str(path)}]


def _names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: its own without the suffix, parent folders before it where two would be the same."""
    names = [_stem(file) for file in files]
    depth = 1
    while len(set(names)) < len(names) and depth < max(len(file.parts) for file in files):
        twice = {name for name, number in Counter(names).items() if number > 1}
        names = [
            "_".join([*_parents(file, depth), _stem(file)]) if name in twice else name
            for file, name in zip(files, names, strict=True)
        ]
        depth += 1
    if len(set(names)) < len(names):
        given = next(file for file, name in zip(files, names, strict=True) if names.count(name) > 1)
        raise UsageError(f"{given}: it is given twice, or as .nii and as .nii.gz; give it once")
    return names


def _stem(file: Path) -> str:
    """Return a file's name without .nii or .nii.gz, fit to be a folder's name."""
    return re.sub(r"[\x00-\x1f<>:\"/\\|?*]", "_", re.sub(r"\.nii(\.gz)?$", "", file.name)).strip(". ") or "scan"


def _parents(file: Path, depth: int) -> list[str]:
    return [_stem(Path(part)) for part in file.absolute().parts[1:-1][-depth:]]


def _masks_in(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the mask of each case in a folder: no mask serves two cases."""
    files = sorted(file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}"))

    def starting(start: str) -> list[Path]:
        return [file for file in files if start and re.match(rf"{re.escape(start)}(?![A-Za-z0-9])", file.name)]

    # A file that fits a longer case name belongs to that case alone.
    own = {name: [file for file in starting(name) if not _fits_longer(file, name, names)] for name in names}
    taken = {file for fitting in own.values() for file in fitting}
    masks: dict[str, str] = {}
    for name in names:
        fitting = own[name] or [file for file in starting(name.rpartition("_")[0]) if file not in taken]
        if not fitting:
            raise UsageError(f"{folder}: no mask for the scan {name}; its name must start with {name}")
        if len(fitting) > 1:
            raise UsageError(f"{folder}: {len(fitting)} masks fit the scan {name}, such as {fitting[0].name}")
        masks[name] = str(fitting[0])
    twice = [name for name, number in Counter(masks.values()).items() if number > 1]
    if twice:
        raise UsageError(f"{twice[0]}: it fits several scans; name each mask by the whole name of its scan")
    return masks


def _fits_longer(file: Path, name: str, names: Sequence[str]) -> bool:
    return any(len(other) > len(name) and file.name.startswith(other) for other in names)


def check_scan(entry: Entry, channels: int | None = None) -> None:
    """Check by their headers that a scan's files are 3D NIfTI on one grid, with its mask and its label.

    Raises:
        ScanError: which names the file that is wrong, what is wrong with it and what to do.
    """
    images = _images(entry)
    if channels is not None and len(images) != channels:
        raise ScanError(
            f"it has {len(images)} channels, but the model {channels}; give a datalist with `image` as a list"
        )
    first = _named_header(images[0])
    others = [("channel", file) for file in images[1:]] + [
        (key, entry[key]) for key in ("mask", "label") if key in entry
    ]
    for role, file in others:
        other = _named_header(file)
        if other.shape[:3] != first.shape[:3] or not np.allclose(other.affine, first.affine, atol=1e-2):
            raise ScanError(f"its {role} {Path(file).name} lies on another grid; resample it to the scan's grid")


def _named_header(file: str) -> nib.nifti1.Nifti1Image:
    try:
        return read_header(file)
    except ScanError as error:
        raise ScanError(f"{Path(file).name}: {error}") from error


def read_header(file: str | Path) -> nib.nifti1.Nifti1Image:
    """Return a NIfTI image, its voxels not read yet.

    Raises:
        ScanError: where it is not a 3D NIfTI image of one grey value a voxel with a usable affine.
    """
    path = Path(file)
    if not path.is_file():
        raise ScanError("the file is not there (or is a dangling link); check the path")
    if path.stat().st_size == 0:
        raise ScanError("the file is empty (0 bytes); copy or convert it again")
    try:
        image = nib.load(path)
    except Exception as error:  # nibabel raises whatever the damaged bytes lead to
        raise ScanError("not a readable NIfTI file; convert it again (for example with dcm2niix)") from error
    if not isinstance(image, nib.nifti1.Nifti1Image):
        raise ScanError(f"a {type(image).__name__}, not NIfTI; convert it to .nii.gz")
    if image.get_data_dtype().fields is not None:
        raise ScanError("a colour image (RGB); give the scan itself, with one grey value a voxel")
    if np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise ScanError("a complex image; give its magnitude")
    shape = image.shape
    if len(shape) < 3 or min(shape) < 1:
        raise ScanError(f"its shape is {shape}, not that of a volume; give a 3D scan")
    if any(n != 1 for n in shape[3:]):
        raise ScanError(f"it holds {shape[3]} volumes (shape {shape}); give one 3D volume, for example with fslsplit")
    if max(shape) > 4096 or sum(n < 8 for n in shape[:3]) > 1:
        raise ScanError(f"its shape is {shape[:3]}, not that of a head")
    affine = image.affine
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError("its affine is missing or singular, so that its place in space is unknown; convert it again")
    return image
