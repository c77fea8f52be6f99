"""The training engine of the ceVAE, built on MONAI's engine."""

import logging
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import Evaluator, Trainer
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose, OneOf
from torch.nn.parallel import DistributedDataParallel

from networks import CEVAEObjective, Terms
from pipeline.errors import UsageError
from pipeline.training.slices import Batch, BatchLoader
from transforms import RandNoised

logger = logging.getLogger(__name__)

Output = tuple[torch.Tensor, int]
"""Sums of the terms of equation (1) over a batch, (4,), and the number of its slices."""


def seed_of(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of one epoch in one process: a resumed run draws the same numbers as an uninterrupted one."""
    return (seed * 1_000_003 + epoch + rank * 7_919_000_027) % 2**32


class CEVAETrainer(Trainer):
    """Minimise equation (1): augment a batch of healthy slices, add CE noise to a copy, take one optimiser step.

    Args:
        device: where to train.
        max_epochs: number of epochs.
        train_data_loader: batches `image` (B, C, N, N) and `mask` (B, 1, N, N).
        objective: network and loss.
        optimizer: its optimiser.
        augmentation: dictionary transform of whole batches.
        noise: dictionary transform that makes x~ of x.
        inferer: the inferer that calls the objective.
        seed: the seed of order, augmentation, noise and the sampling of z; each epoch gets its own seed from it.
        train_handlers: handlers with `attach`.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: BatchLoader,
        objective: CEVAEObjective,
        optimizer: torch.optim.Optimizer,
        augmentation: Compose,
        noise: RandNoised | OneOf,
        inferer: Inferer | None = None,
        seed: int = 0,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        super().__init__(device, max_epochs, train_data_loader, decollate=False)
        self.batches = train_data_loader
        self.objective = objective
        # Gradients are averaged over the processes of torchrun if there are several.
        self.shared = DistributedDataParallel(objective) if idist.get_world_size() > 1 else objective
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.noise = noise
        self.inferer = inferer or SimpleInferer()
        self.seed = seed
        self.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        EpochMeans().attach(self)
        ProgressBar(persist=True, desc="training", bar_format=_BAR, disable=idist.get_rank() > 0 or None).attach(
            self, metric_names="all", event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED
        )
        self._register_handlers(train_handlers)

    def _start_epoch(self, engine: Engine) -> None:
        seed = seed_of(self.seed, engine.state.epoch, idist.get_rank())
        torch.manual_seed(seed)
        self.augmentation.set_random_state(seed)
        self.noise.set_random_state(seed + 1)
        self.batches.set_epoch(engine.state.epoch)
        self.objective.train()

    def _iteration(self, engine: Any, batch: Batch) -> Output:
        batch, number = _on(engine.state.device, batch)
        batch = self.augmentation(batch)
        x, x_noisy = batch["image"], self.noise(batch)["image"]
        terms: Terms = self.inferer(x, self.shared, x_noisy)
        self.optimizer.zero_grad(set_to_none=True)
        # The mean is taken over the whole batch; this process may have only a part of it.
        (terms.loss.sum() * (idist.get_world_size() / number)).backward()
        self.optimizer.step()
        return torch.stack(terms).detach().sum(1), len(x)


def _on(device: torch.device, batch: Batch) -> tuple[Batch, int]:
    """Return the tensors of a batch on a device, and the number of slices of the whole batch."""
    return {key: batch[key].to(device, non_blocking=True) for key in ("image", "mask")}, batch["number"]


_BAR = "{desc}: {n_fmt}/{total_fmt} epochs {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class CEVAEEvaluator(Evaluator):
    """Evaluate equation (1) on held-out healthy slices, without augmentation, with the same noise and z each time.

    The arguments are those of `CEVAETrainer`.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: BatchLoader,
        objective: CEVAEObjective,
        noise: RandNoised | OneOf,
        inferer: Inferer | None = None,
        seed: int = 0,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        super().__init__(device, val_data_loader, decollate=False)
        self.objective = objective
        self.noise = noise
        self.inferer = inferer or SimpleInferer()
        self.seed = seed
        EpochMeans().attach(self)
        self._register_handlers(val_handlers)

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate once. The trainer sets a seed for each of its epochs, so the evaluation does not change training."""
        torch.manual_seed(self.seed)
        self.noise.set_random_state(self.seed)
        self.objective.eval()
        with torch.no_grad():
            super().run(global_epoch)

    def _iteration(self, engine: Any, batch: Batch) -> Output:
        batch, _ = _on(engine.state.device, batch)
        x, x_noisy = batch["image"], self.noise(batch)["image"]
        terms: Terms = self.inferer(x, self.objective, x_noisy)
        return torch.stack(terms).sum(1), len(x)


class EpochMeans:
    """Keep the mean over an epoch's slices of each term of equation (1) in `engine.state.metrics`.

    The sums stay on the device until the end of the epoch, because reading them makes a step wait for the device.
    """

    def attach(self, engine: Engine) -> None:
        """Register with an engine whose output is `Output`."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.sums: torch.Tensor | float = 0.0
        self.number = 0

    def _add(self, engine: Any) -> None:
        sums, number = engine.state.output
        self.sums = self.sums + sums
        self.number += number

    def _finish(self, engine: Engine) -> None:
        sums, number = idist.all_reduce(self.sums), idist.all_reduce(self.number)
        assert isinstance(sums, torch.Tensor)
        means = dict(zip(Terms._fields, (sums / number).tolist(), strict=True))
        engine.state.metrics.update(means)
        if not torch.isfinite(torch.tensor(list(means.values()))).all():
            raise UsageError(
                "the loss is no longer finite; lower learning_rate, or look for extreme values in the training scans"
            )
