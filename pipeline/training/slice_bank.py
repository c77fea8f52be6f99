"""The slice bank: each scan is preprocessed once into a file of slices, from which training reads batches."""

import hashlib
import inspect
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from pipeline.cohorts import Entry, Item, files_of
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.files import sha256_of, written_aside
from pipeline.processes import gather, share_of_process
from pipeline.scan_warnings import log_warnings, preprocessing_warnings, short_names
from pipeline.scans import (
    CACHE,
    BrainExtraction,
    BrainNotKept,
    as_nifti,
    check_scan,
    header_warnings,
    mask_folder,
    preprocess,
    read_header,
)
from pipeline.training.kept_facts import ScanFacts, keep_facts, kept_facts
from pipeline.training.slices import Slices
from transforms import HEAD

logger = logging.getLogger(__name__)

POOL_FROM_BYTES = 100_000_000
"""Start worker processes only above this many compressed bytes (each costs about 5 s of imports)."""


class SliceBank(Slices):
    """The healthy slices of a cohort: `image` (n, C, N, N) and `mask` (n, 1, N, N).

    Each scan has one file in `folder`. Its name is a hash of the contents of scan, mask and label and of the
    preprocessing, and it gets this name when it is complete. So an existing file is never outdated and never partial.

    Args:
        data: entries of a datalist.
        transform: the transform from an entry's item to slices `image` (S, C, N, N) and `mask` (S, 1, N, N).
        folder: the folder of the files.
        title: the name of the cohort in messages.
        workers: number of processes that preprocess; one for each processor when None.
        device: the device of the batches.
        brain_extraction: how the brain is found in heads without a mask; None leaves heads whole.

    Attributes:
        brain_masks: number of scans by where their brain masks come from.
        failed: the scans that cannot be used, each with its reason.

    Raises:
        UsageError: if no scan gives a slice, or if the disk is full.
    """

    def __init__(
        self,
        data: Sequence[Entry],
        transform: Callable[[Item], Item],
        folder: str | Path,
        title: str = "cohort",
        workers: int | None = None,
        device: torch.device | str = "cpu",
        brain_extraction: BrainExtraction | None = None,
    ) -> None:
        self.data = data
        self.transform = transform
        self.brain_extraction = brain_extraction or BrainExtraction()
        self.failed: dict[str, str] = {}
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tool = self.brain_extraction.tool
        fingerprint = fingerprint_of(transform) + (tool.version if tool is not None else "")
        jobs = [(entry, folder / f"{_content_key(entry, fingerprint)}.npy") for entry in data]
        self._build(share_of_process([job for job in jobs if not job[1].exists()]), title, workers)
        self.failed = {name: reason for part in gather(self.failed) for name, reason in part.items()}
        names = short_names([entry.images[0] for entry in data])
        facts = kept_facts(file for _, file in jobs)
        log_warnings(logger, {name: known.warnings for name, known in zip(names, facts, strict=True) if known})
        self.brain_masks = Counter(known.brain for known in facts if known)
        super().__init__([file for _, file in jobs if file.exists()], device)
        if data and not self.stacks:
            first = next(iter(self.failed.items()), None)
            why = f"; {first[0]}: {first[1]}" if first else ": all slices have annotations or too little brain"
            raise UsageError(f"no slice to learn from in the {len(data)} {title} scans{why}")
        numbers = f"{len(self.stacks)} scans, {len(self)} slices, {self.megabytes:.0f} MB"
        logger.info("%s: %s in %s", title, numbers, folder)

    def _build(self, jobs: Sequence[tuple[Entry, Path]], title: str, workers: int | None) -> None:
        """Preprocess the scans of `jobs`, and warn of those that cannot be used."""
        if not jobs:
            return
        reasons = self._preprocess(jobs, title, workers)
        heads = [job for job in jobs if reasons[job] == HEAD]
        if heads:
            # In this process, because a tool needs much memory and all processors.
            for job in tqdm(heads, f"extracting brains ({title})", unit="scan", disable=None):
                reasons[job] = _extract_brain(job[0], self.brain_extraction)
            reasons |= self._preprocess([job for job in heads if reasons[job] is None], title, workers)
        for (entry, _), reason in reasons.items():
            if reason == HEAD:
                reason = (
                    f"its brain mask cannot be kept in {mask_folder()}; set {CACHE} to a folder that can be written"
                )
            if reason is not None:
                name = entry.images[0]
                self.failed[name] = reason
                logger.warning("left out: %s: %s", name, reason)

    def _preprocess(
        self, jobs: Sequence[tuple[Entry, Path]], title: str, workers: int | None
    ) -> dict[tuple[Entry, Path], str | None]:
        """Preprocess scans into files, and return for each why there is none; HEAD if its brain must be found first."""
        if not jobs:
            return {}
        first, *arguments = [(entry, self.transform, file, self.brain_extraction) for entry, file in jobs]
        reasons = [_write_slices(first)]
        _announce(jobs[0][1], len(jobs), title)
        progress = {"total": len(jobs), "initial": 1, "unit": "scan", "disable": None}
        progress["desc"] = f"preprocessing ({title})"
        if sum(os.path.getsize(file) for file in files_of(entry for entry, _ in jobs)) < POOL_FROM_BYTES:
            reasons += tqdm(map(_write_slices, arguments), **progress)
        else:
            spawn = multiprocessing.get_context("spawn")
            # One thread for each process: more would compete for the processors.
            with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
                reasons += tqdm(pool.map(_write_slices, arguments), **progress)
        return dict(zip(jobs, reasons, strict=True))


def fingerprint_of(thing: Any) -> str:
    """Return a text that depends only on the code and the parameters of a transform.

    Pickles do not work: those of MONAI's loader differ between processes and after a call.
    """
    if isinstance(thing, (list, tuple)):
        return f"[{','.join(map(fingerprint_of, thing))}]"
    if isinstance(thing, dict):
        return f"{{{','.join(f'{key!r}:{fingerprint_of(value)}' for key, value in sorted(thing.items(), key=repr))}}}"
    if isinstance(thing, (str, int, float, bool, bytes, type(None), type)):
        return repr(thing)
    kind = thing if inspect.isroutine(thing) else type(thing)
    name = f"{kind.__module__}.{kind.__qualname__}"
    module = inspect.getmodule(kind)
    if module is not None and module.__name__.split(".")[0] not in ("monai", "torch", "numpy"):
        name += hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    parameters = {key: value for key, value in getattr(thing, "__dict__", {}).items() if not key.startswith("_")}
    return f"{name}({fingerprint_of(parameters)})"


def _content_key(entry: Entry, fingerprint: str) -> str:
    """Return the name of a scan's file in the bank: a hash of everything that its slices depend on."""
    digest = hashlib.sha256(fingerprint.encode())
    for key, file in (*(("image", image) for image in entry.images), ("mask", entry.mask), ("label", entry.label)):
        if file is not None:
            digest.update((key + sha256_of(file)).encode())
    return digest.hexdigest()[:32]


def _extract_brain(entry: Entry, extraction: BrainExtraction) -> str | None:
    """Find the brain of a head, so that its mask is kept; return the reason if this fails, else None."""
    try:
        with as_nifti(entry) as files:
            extraction(nib.nifti1.load(files.images[0]))
    except (ScanError, OSError) as error:
        return reason_of(error)
    return None


def _write_slices(arguments: tuple[Entry, Callable[[Item], Item], Path, BrainExtraction]) -> str | None:
    """Preprocess one scan into its file; return the reason if this fails, HEAD if its brain must be found first."""
    entry, transform, file, extraction = arguments
    try:
        check_scan(entry)
        with as_nifti(entry) as files:
            slices, brain = preprocess(files, transform, replace(extraction, only_kept=True))
        stack = torch.cat([slices["image"], slices["mask"]], dim=1).numpy().astype(np.float16)
        header = header_warnings(read_header(entry.images[0]))
        warnings = (*header, *preprocessing_warnings(slices["image"].meta), *brain.warnings)
    except BrainNotKept:
        return HEAD
    except (ScanError, ValueError, OSError, RuntimeError, EOFError) as error:
        return reason_of(error)
    if not len(stack):
        return "it gives no slice to learn from: all of them have annotations or too little brain"
    try:
        keep_facts(file, ScanFacts(brain.origin, warnings))
        with written_aside(file) as partial:
            np.save(partial, stack)
    except OSError as error:
        raise UsageError(f"{file.parent}: the slices cannot be written there; {reason_of(error)}") from error
    return None


def _announce(file: Path, scans: int, title: str) -> None:
    """Log how much disk space the scans need if each needs as much as the first one, in `file`."""
    if file.exists():
        needed, free = (size / 1e6 for size in (scans * file.stat().st_size, disk_usage(file.parent).free))
        level = logging.WARNING if needed > free else logging.INFO
        numbers = f"{scans} scans will take about {needed:.0f} MB in {file.parent}, where {free:.0f} MB are free"
        logger.log(level, "%s: %s", title, numbers)
