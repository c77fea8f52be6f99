"""The slice bank: each scan is preprocessed once into a file of slices, and training reads batches of them."""

import hashlib
import inspect
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from pipeline.cohort import Entry, files_of
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.files import sha256_of, written_aside
from pipeline.scans import check_scan

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]

POOL_FROM_BYTES = 100_000_000
"""Compressed input from which starting processes, some 5 s each for their imports, is worth it."""


class SliceBank(Dataset):
    """The healthy slices of a cohort as tensors: `image` (n, C, N, N) and `mask` (n, 1, N, N), in float16.

    Each scan has one file in `folder`, named by the contents of its scan, mask and label and by the preprocessing, and
    renamed into place when complete: what is there is never stale and never partial, whoever made it.

    Args:
        data: entries of a datalist.
        transform: from an entry to slices `image` (S, C, N, N) and `mask` (S, 1, N, N).
        folder: where the files are kept.
        title: what the cohort is called in messages.
        workers: processes that preprocess; all processors when None.

    Raises:
        UsageError: where no scan gives a slice.
    """

    def __init__(
        self,
        data: Sequence[Entry],
        transform: Callable[[Entry], dict[str, Any]],
        folder: str | Path,
        title: str = "cohort",
        workers: int | None = None,
    ) -> None:
        self.data = data
        self.transform = transform
        self.failed: dict[str, str] = {}
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        fingerprint = fingerprint_of(transform)
        jobs = [(entry, folder / f"{_content_key(entry, fingerprint)}.npy") for entry in data]
        self._build([job for job in jobs if not job[1].exists()], title, workers)
        stacks = [np.load(file, mmap_mode="r") for _, file in jobs if file.exists()]
        stacks = [stack for stack in stacks if len(stack)]
        if data and not stacks:
            first = next(iter(self.failed.items()), None)
            why = f"; {first[0]}: {first[1]}" if first else ": all have annotations or too little brain"
            raise UsageError(f"no slice to learn from in the {len(data)} {title} scans{why}")
        self.slices = torch.from_numpy(np.concatenate(stacks)) if stacks else torch.empty(0)
        logger.info("%s: %d scans, %d slices", title, len(stacks), len(self))

    def _build(self, jobs: list[tuple[Entry, Path]], title: str, workers: int | None) -> None:
        """Preprocess the scans of `jobs`, and name those that cannot be used."""
        if not jobs:
            return
        arguments = [(entry, self.transform, file) for entry, file in jobs]
        progress = {"total": len(jobs), "desc": f"preprocessing ({title})", "unit": "scan", "disable": None}
        if sum(os.path.getsize(file) for file in files_of(entry for entry, _ in jobs)) < POOL_FROM_BYTES:
            reasons = list(tqdm(map(_write_slices, arguments), **progress))
        else:
            with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
                reasons = list(tqdm(pool.map(_write_slices, arguments), **progress))
        for (entry, _), reason in zip(jobs, reasons, strict=True):
            if reason is not None:
                name = files_of([entry])[0]
                self.failed[name] = reason
                logger.warning("left out: %s: %s", name, reason)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, indices: int | Sequence[int] | torch.Tensor) -> Batch:
        """Return one slice, or a batch for several indices at once: `image` (B, C, N, N) and `mask` (B, 1, N, N)."""
        slices = self.slices[indices].to(torch.float32)
        return {"image": slices[..., :-1, :, :], "mask": slices[..., -1:, :, :]}


def fingerprint_of(thing: Any) -> str:
    """Return a text that changes with the code and the parameters of a transform, and with nothing else.

    Pickles will not do: those of MONAI's loader differ from process to process and after a call.
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
    """Return the name of a scan's file in the bank: a hash of all that its slices depend on."""
    digest = hashlib.sha256(fingerprint.encode())
    for key in ("image", "mask", "label"):
        for file in files_of([{key: entry[key]}] if key in entry else []):
            digest.update((key + sha256_of(file)).encode())
    return digest.hexdigest()[:32]


def _write_slices(arguments: tuple[Entry, Callable[[Entry], dict[str, Any]], Path]) -> str | None:
    """Preprocess one scan into its file; return why that is not possible, or None."""
    entry, transform, file = arguments
    try:
        check_scan(entry)
        slices = transform(entry)
        stack = torch.cat([slices["image"], slices["mask"]], dim=1).numpy().astype(np.float16)
    except (ScanError, ValueError, OSError, RuntimeError, EOFError) as error:
        return reason_of(error)
    with written_aside(file) as partial:
        np.save(partial, stack)
    return None


class BatchLoader:
    """Batches of a slice bank, gathered at once; shuffled by a seed and the epoch alone, so that a run can be repeated.

    Args:
        dataset: the slice bank.
        batch_size: slices of a batch; the last one of an epoch may be smaller.
        shuffle: whether each epoch has an order of its own.
        seed: the seed of that order.
    """

    def __init__(self, dataset: SliceBank, batch_size: int, shuffle: bool = False, seed: int = 0) -> None:
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
            yield self.dataset[torch.from_numpy(order[start : start + self.batch_size])]
