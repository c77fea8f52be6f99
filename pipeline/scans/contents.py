"""What scans hold, whatever their names: copies in a cohort are found, and its splits share no scan.

The content of a scan is a hash of its voxels. A copy under another name, in another format, with another compression or
with its axes stored in another order has the same one.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohorts import Entry, files_of, read_datalist
from pipeline.errors import UsageError
from pipeline.files import sha256_of
from pipeline.scans.formats import open_image

logger = logging.getLogger(__name__)

NAMED = 3
"""Number of scans that a message names."""

LEARNED = "scores of scans that were learned are too low for any result"
"""Why no scan may be in `training` and in another split."""


def content_of(image: nib.nifti1.Nifti1Image) -> str:
    """Return the SHA-256 of an image's voxels in float32, their axes in the order right, anterior, superior."""
    voxels = nib.as_closest_canonical(image).dataobj
    voxels = np.asfortranarray(np.asanyarray(voxels).astype(np.float32))
    digest = hashlib.sha256(str(voxels.shape[:3]).encode())
    digest.update(voxels.T.data)
    return digest.hexdigest()


def contents_of(files: Iterable[str]) -> dict[str, str]:
    """Return the content of each file; that of a file that cannot be opened is the hash of its bytes."""
    unique = list(dict.fromkeys(files))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(unique, pool.map(_content_of_file, unique), strict=True))


def _content_of_file(file: str) -> str:
    try:
        status = os.stat(file)
    except OSError:
        return f"missing: {file}"
    return _content_of_version(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=10_000)  # `compare` trains on one cohort many times
def _content_of_version(file: str, size: int, changed: int) -> str:
    try:
        return content_of(open_image(Path(file)))
    except Exception:  # a damaged file can raise any exception; what is wrong with it is said when it is used
        try:
            return sha256_of(file)
        except OSError:
            return f"unreadable: {file}"


def fingerprint_of_cohort(entries: Sequence[Entry]) -> str:
    """Return a hash of what a cohort's files hold, in their order; it does not depend on their names and places."""
    contents = contents_of(files_of(entries))
    scans = [
        [[contents[file] for file in entry.images], *(file and contents[file] for file in (entry.mask, entry.label))]
        for entry in entries
    ]
    return hashlib.sha256(json.dumps(scans).encode()).hexdigest()


def contents_of_images(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the content of each image of entries, by its file."""
    return contents_of(file for entry in entries for file in entry.images)


def scans_with(contents: Set[str], entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with an image that has one of these contents."""
    own = contents_of_images(entries)
    return [entry for entry in entries if any(own[file] in contents for file in entry.images)]


def without_copies(split: str, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a split, each scan once; what is dropped is logged on one line."""
    contents = contents_of_images(entries)
    kept: dict[tuple[str, ...], Entry] = {}
    dropped = []
    for entry in entries:
        first = kept.setdefault(tuple(contents[file] for file in entry.images), entry)
        if first is not entry:
            dropped.append(f"{entry.images[0]} (as {Path(first.images[0]).name})")
    if dropped:
        number = f"{len(dropped)} of {len(entries)} entries of `{split}` are"
        logger.warning("%s left out, because the same scan is listed before: %s", number, _named(dropped))
    return list(kept.values())


def refuse_shared_scans(
    split: str, other: str, splits: Mapping[str, Sequence[Entry]], datalist: str | Path, reason: str = LEARNED
) -> None:
    """Refuse a datalist with a scan in two splits.

    Args:
        split: name of a split, which need not be there.
        other: name of the other one.
        splits: the splits of the datalist.
        datalist: its file, for the message.
        reason: why no scan may be in both.

    Raises:
        UsageError: if a scan is in both, whatever its name.
    """
    shared = _shared(splits.get(split, []), splits.get(other, []))
    if shared:
        scans = "1 scan is" if len(shared) == 1 else f"{len(shared)} scans are"
        raise UsageError(
            f"{datalist}: {scans} in `{split}` and in `{other}`: {_named(shared)}; {reason}, so take each out of one "
            "of the two"
        )


def _shared(entries: Sequence[Entry], others: Sequence[Entry]) -> list[str]:
    """Return the scans of `entries` that are among `others` too, each with its name there if that is another one."""
    contents = contents_of_images([*entries, *others])
    names = {contents[file]: file for entry in entries for file in entry.images}
    return [
        file if names[contents[file]] == file else f"{names[contents[file]]} (there {Path(file).name})"
        for file in dict.fromkeys(file for entry in others for file in entry.images)
        if contents[file] in names
    ]


def _named(scans: Sequence[str]) -> str:
    return ", ".join(scans[:NAMED]) + f" and {len(scans) - NAMED} more" * (len(scans) > NAMED)


def read_training_cohort(datalist: str | Path, seed: int = 0) -> dict[str, list[Entry]]:
    """Return `training` and `validation` of a datalist; without `validation` a seeded tenth is held out.

    Copies of a scan are left out.

    Raises:
        UsageError: if there are no training scans, or if one of them is in `validation` or `test` as well.
    """
    splits = read_datalist(datalist)
    if not splits.get("training"):
        raise UsageError(f"{datalist}: it has no scans under `training`; its splits are {', '.join(splits) or 'none'}")
    for held_out in ("validation", "test"):
        refuse_shared_scans("training", held_out, splits, datalist)
    cohort = {name: without_copies(name, splits.get(name, [])) for name in ("training", "validation")}
    training, validation = cohort["training"], cohort["validation"]
    if not validation and len(training) > 1:
        tenth = set(np.random.default_rng(seed).permutation(len(training))[: max(1, len(training) // 10)].tolist())
        validation = [entry for i, entry in enumerate(training) if i in tenth]
        training = [entry for i, entry in enumerate(training) if i not in tenth]
    return {"training": training, "validation": validation}
