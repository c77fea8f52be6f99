"""The slice bank: each scan is preprocessed once into a file of slices, from which training reads batches."""

import hashlib
import inspect
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import Dataset
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
from transforms import HEAD

logger = logging.getLogger(__name__)

Batch = dict[str, Any]

POOL_FROM_BYTES = 100_000_000
"""Start worker processes only above this many compressed bytes (each costs about 5 s of imports)."""


class Slices(Dataset):
    """Slices in `.npy` files of stacks (S, C + 1, N, N) in float16: the image's channels, then the mask.

    The files are mapped, not read, so memory does not grow with their number. If the device is a GPU and all slices
    fit, they stay on it.

    Args:
        files: the stacks; empty ones are skipped.
        device: the device of the batches.
    """

    def __init__(self, files: Sequence[Path], device: torch.device | str = "cpu") -> None:
        stacks = (np.asarray(np.load(file, mmap_mode="r")) for file in files)
        self.stacks = [stack for stack in stacks if len(stack)]
        self.starts = np.cumsum([0, *map(len, self.stacks)])
        self.resident = self._on(torch.device(device))

    @property
    def megabytes(self) -> float:
        """Size of the stacks, MB."""
        return sum(stack.nbytes for stack in self.stacks) / 1e6

    @property
    def value_range(self) -> list[float]:
        """Lowest and highest value of the images."""
        images = [stack[:, :-1] for stack in self.stacks]
        return [float(min(image.min() for image in images)), float(max(image.max() for image in images))]

    def _on(self, device: torch.device) -> torch.Tensor | None:
        """Return all slices on the GPU, None without a GPU or if they need more than half of its free memory."""
        if device.type != "cuda" or not self.stacks:
            return None
        if self.megabytes * 1e6 > torch.cuda.mem_get_info(device)[0] / 2:
            return None
        resident = torch.empty((len(self), *self.stacks[0].shape[1:]), dtype=torch.float16, device=device)
        for start, stack in zip(self.starts, self.stacks, strict=False):
            resident[start : start + len(stack)] = torch.from_numpy(stack.copy())
        return resident

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, indices: int | Sequence[int] | np.ndarray) -> Batch:
        """Return one slice, or a batch for several indices at once: `image` (B, C, N, N) and `mask` (B, 1, N, N)."""
        if self.resident is not None:
            slices = self.resident[torch.as_tensor(indices, device=self.resident.device)]
        elif isinstance(indices, (int, np.integer)):
            return {key: value[0] for key, value in self[[int(indices)]].items()}
        else:
            stacks = np.searchsorted(self.starts, indices, side="right") - 1
            rows = np.asarray(indices) - self.starts[stacks]
            picked = [self.stacks[stack][row] for stack, row in zip(stacks.tolist(), rows.tolist(), strict=True)]
            slices = torch.from_numpy(np.stack(picked)) if picked else torch.empty(0, *self.stacks[0].shape[1:])
        slices = slices.to(torch.float32)
        return {"image": slices[..., :-1, :, :], "mask": slices[..., -1:, :, :]}


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


class BatchLoader:
    """Batches of a slice bank. Their order depends only on a seed and the epoch, so a run can be repeated.

    If there are several processes, each gets its share of a batch. `number` is the size of the whole batch.

    Args:
        dataset: the slices.
        batch_size: number of slices in a batch; the last batch of an epoch may be smaller.
        shuffle: whether each epoch has its own order.
        seed: the seed of that order.
    """

    def __init__(self, dataset: Slices, batch_size: int, shuffle: bool = False, seed: int = 0) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass through the bank."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield {**self.dataset[share_of_process(batch)], "number": len(batch)}
