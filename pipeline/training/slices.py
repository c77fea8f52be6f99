"""Slices for training: mapped from the files of a slice bank, and put into batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pipeline.processes import share_of_process

Batch = dict[str, Any]


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
