"""Several processes: those that torchrun starts share the work. Without it there is one, and nothing happens here.

torchrun --nproc_per_node 4 -m pipeline train --data DATALIST --output RUN
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import ignite.distributed as idist
import numpy as np
import torch

T = TypeVar("T", Sequence[Any], np.ndarray)


@contextmanager
def joined_processes(device: str | None) -> Iterator[str | None]:
    """Join the processes that torchrun started, and give the device of this one: a GPU each, or all the CPU.

    Args:
        device: as it was asked for; the GPU where there is one when None.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    on_gpu = device.startswith("cuda") if device is not None else torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    idist.initialize("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        # Of a model that outlives its process group gloo's threads go on, and abort Python at its end.
        gc.collect()
        idist.finalize()


def mine(items: T) -> T:
    """Return the share of this process: the shares of all are disjoint, and complete together."""
    return items[idist.get_rank() :: idist.get_world_size()]


def gathered(part: Any) -> list[Any]:
    """Return the parts of all processes, in the order of their ranks, to each of them."""
    parts = [part] * idist.get_world_size()
    if len(parts) > 1:
        torch.distributed.all_gather_object(parts, part)
    return parts
