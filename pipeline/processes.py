"""Several processes: those that torchrun starts share the work. Without torchrun there is one process only.

torchrun --nproc_per_node 4 -m pipeline train --data DATALIST --output RUN
"""

import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import distributed

from pipeline.errors import LostProcessError

T = TypeVar("T", Sequence[Any], np.ndarray)
P = ParamSpec("P")
R = TypeVar("R")

LOST = "another process was stopped or has failed"

PATIENCE = timedelta(days=1)
"""How long processes wait for the results of one another: shares of thousands of scans end hours apart. A process that
dies closes its connection (gloo), so the others need not wait to know it."""


_patient: distributed.ProcessGroup | None = None
"""The processes, as a group whose members wait long for one another."""


@contextmanager
def joined_processes(device: str | None) -> Iterator[str | None]:
    """Join the processes that torchrun started, and yield the device of this one: a GPU of its own, or the CPU.

    Args:
        device: the requested device; if None, the GPU if there is one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    on_gpu = device.startswith("cuda") if device is not None else torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    global _patient
    _patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        _patient = None
        # If a model outlives its process group, gloo's threads abort Python at exit.
        gc.collect()
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process, counted from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if world_size() > 1:
        try:
            distributed.barrier(group=_patient)
        except RuntimeError as error:
            raise LostProcessError(LOST) from error


def first_process_only(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function run in the first process only; the others wait, and there it returns None."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R | None:
        result = function(*args, **kwargs) if rank() == 0 else None
        barrier()
        return result

    return wrapped


def share_of_process(items: T) -> T:
    """Return the share of this process; each item is in the share of exactly one process."""
    return items[rank() :: world_size()]


def gather(part: Any) -> list[Any]:
    """Return the parts of all processes, in the order of their ranks, in every process.

    Raises:
        LostProcessError: if another process has ended without giving its part.
    """
    parts = [part] * world_size()
    if len(parts) > 1:
        try:
            distributed.all_gather_object(parts, part, group=_patient)
        except RuntimeError as error:
            raise LostProcessError(LOST) from error
    return parts
