"""The training engine of the ceVAE on MONAI's, and the handlers that it needs beside MONAI's own."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, ProgressBar
from monai.engines import Evaluator, Trainer
from monai.handlers import EarlyStopHandler
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose

from networks import CEVAEObjective, Terms
from pipeline.errors import UsageError
from pipeline.slice_bank import BatchLoader
from transforms import RandNoised

logger = logging.getLogger(__name__)

Output = tuple[torch.Tensor, int]
"""The sums of the terms of equation (1) over a batch, (4,), and the number of its slices."""


def seed_of(seed: int, epoch: int) -> int:
    """Return the seed of one epoch, so that it does not depend on where a run was taken up again."""
    return (seed * 1_000_003 + epoch) % 2**32


class CEVAETrainer(Trainer):
    """Minimise equation (1): a batch of healthy slices, augmented; the same with CE noise; one step of the optimiser.

    Args:
        device: where to train.
        max_epochs: number of epochs.
        train_data_loader: batches `image` (B, C, N, N) and `mask` (B, 1, N, N).
        objective: network and loss.
        optimizer: its optimiser.
        augmentation: dictionary transform of whole batches.
        noise: dictionary transform that makes x~ of x.
        inferer: how the objective is called.
        seed: seeds order, augmentation, noise and the sampling of z, anew for each epoch.
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
        noise: RandNoised,
        inferer: Inferer | None = None,
        seed: int = 0,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        super().__init__(device, max_epochs, train_data_loader, decollate=False)
        self.batches = train_data_loader
        self.objective = objective
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.noise = noise
        self.inferer = inferer or SimpleInferer()
        self.seed = seed
        self.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        EpochMeans().attach(self)
        ProgressBar(persist=True, desc="training", bar_format=_BAR, disable=None).attach(
            self, metric_names="all", event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED
        )
        self._register_handlers(train_handlers)

    def _start_epoch(self, engine: Engine) -> None:
        seed = seed_of(self.seed, engine.state.epoch)
        torch.manual_seed(seed)
        self.augmentation.set_random_state(seed)
        self.noise.set_random_state(seed + 1)
        self.batches.set_epoch(engine.state.epoch)
        self.objective.train()

    def _iteration(self, engine: Any, batch: dict[str, torch.Tensor]) -> Output:
        batch = self.augmentation({key: value.to(engine.state.device) for key, value in batch.items()})
        x, x_noisy = batch["image"], self.noise(batch)["image"]
        terms: Terms = self.inferer(x, self.objective, x_noisy)
        self.optimizer.zero_grad(set_to_none=True)
        terms.loss.mean().backward()
        self.optimizer.step()
        return torch.stack(terms).detach().sum(1), len(x)


_BAR = "{desc}: {n_fmt}/{total_fmt} epochs {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class CEVAEEvaluator(Evaluator):
    """Equation (1) on held-out healthy slices, without augmentation, each time with the same noise and the same z.

    Args: as those of `CEVAETrainer`.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: BatchLoader,
        objective: CEVAEObjective,
        noise: RandNoised,
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
        """Evaluate once. The trainer seeds each of its epochs anew, so what is drawn here does not change it."""
        torch.manual_seed(self.seed)
        self.noise.set_random_state(self.seed)
        self.objective.eval()
        with torch.no_grad():
            super().run(global_epoch)

    def _iteration(self, engine: Any, batch: dict[str, torch.Tensor]) -> Output:
        batch = {key: value.to(engine.state.device) for key, value in batch.items()}
        x, x_noisy = batch["image"], self.noise(batch)["image"]
        terms: Terms = self.inferer(x, self.objective, x_noisy)
        return torch.stack(terms).sum(1), len(x)


class EpochMeans:
    """Keep the mean over an epoch's slices of each term of equation (1) in `engine.state.metrics`.

    The sums stay on the device until the epoch's end: reading them earlier would make every step wait for it.
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
        assert isinstance(self.sums, torch.Tensor)
        means = dict(zip(Terms._fields, (self.sums / self.number).tolist(), strict=True))
        engine.state.metrics.update(means)
        if not torch.isfinite(torch.tensor(list(means.values()))).all():
            raise UsageError("the loss is no longer finite: lower learning_rate, or look for wild values in the scans")


class MetricsTable:
    """Write a row an epoch to metrics.csv: the terms of equation (1), those of the last validation, and seconds.

    Args:
        path: the file; rows of epochs that a resumed run repeats are replaced.
        evaluator: the evaluator of the held-out scans.
    """

    def __init__(self, path: str | Path, evaluator: Evaluator) -> None:
        self.path = Path(path)
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.rows: list[dict[str, Any]] = []
        if self.path.exists() and engine.state.epoch > 0:
            table = pd.read_csv(self.path)
            self.rows = [dict(row) for _, row in table[table["epoch"] <= engine.state.epoch].iterrows()]
        self.before = sum(row["seconds"] for row in self.rows[-1:])
        self.started = time.monotonic()

    def _write(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, **engine.state.metrics}
        if self.evaluator.state.epoch == engine.state.epoch:
            row |= {f"validation_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row | {"seconds": round(self.before + time.monotonic() - self.started, 2)})
        partial = self.path.with_suffix(".partial")
        pd.DataFrame(self.rows).to_csv(partial, index=False)
        partial.replace(self.path)


class Checkpoints:
    """Save network, optimiser and epoch every so many epochs, atomically, and the weights at the end.

    Args:
        folder: where the checkpoints are; the newest two are kept.
        model_file: where the weights of the last epoch are written.
        objective, optimizer: what is saved.
        interval: epochs between two checkpoints.
    """

    def __init__(
        self,
        folder: str | Path,
        model_file: str | Path,
        objective: CEVAEObjective,
        optimizer: torch.optim.Optimizer,
        interval: int = 10,
    ) -> None:
        self.folder = Path(folder)
        self.model_file = Path(model_file)
        self.objective = objective
        self.optimizer = optimizer
        self.interval = interval

    def _content(self, trainer: Engine) -> dict[str, Any]:
        return {"network": self.objective.network, "optimizer": self.optimizer, "trainer": trainer}

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer."""
        saver = Checkpoint(
            self._content(trainer),
            DiskSaver(self.folder, require_empty=False),
            n_saved=2,
            global_step_transform=lambda engine, _: engine.state.epoch,
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), saver)
        trainer.add_event_handler(Events.COMPLETED, lambda _: save_weights(self.objective.network, self.model_file))

    def resume(self, trainer: Any) -> int:
        """Load the newest checkpoint that is whole, and return its epoch; 0 where there is none."""

        def epoch_of(file: Path) -> int:
            return int(file.stem.rpartition("_")[2])

        for file in sorted(self.folder.glob("checkpoint_*.pt"), key=epoch_of, reverse=True):
            try:
                checkpoint = torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # whatever a damaged file makes the unpickler raise
                logger.warning("%s is damaged; the checkpoint before it is taken", file)
                continue
            max_epochs = trainer.state.max_epochs
            checkpoint["trainer"]["max_epochs"] = max(max_epochs, epoch_of(file))
            Checkpoint.load_objects(self._content(trainer), checkpoint)
            return epoch_of(file)
        return 0


class EarlyStop:
    """Stop after `patience` validations without a lower loss: MONAI's handler, attached from the trainer's side.

    Args:
        patience: validations.
        evaluator: the evaluator of the held-out scans.
    """

    def __init__(self, patience: int, evaluator: Evaluator) -> None:
        self.patience = patience
        self.evaluator = evaluator

    def attach(self, trainer: Engine) -> None:
        """Register the trainer with MONAI's handler on the evaluator."""
        EarlyStopHandler(self.patience, lambda engine: -engine.state.metrics["loss"], trainer).attach(self.evaluator)


class BestModel:
    """Keep the weights of the lowest validation loss.

    Args:
        file: where they are written.
        objective: whose network is saved.
    """

    def __init__(self, file: str | Path, objective: CEVAEObjective) -> None:
        self.file = Path(file)
        self.objective = objective
        self.best = float("inf")

    def attach(self, evaluator: Engine) -> None:
        """Register with an evaluator."""
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._keep)

    def _keep(self, evaluator: Engine) -> None:
        if evaluator.state.metrics["loss"] < self.best:
            self.best = evaluator.state.metrics["loss"]
            save_weights(self.objective.network, self.file)


def save_weights(network: torch.nn.Module, file: Path) -> None:
    """Write a network's weights to a file, aside first."""
    partial = file.with_suffix(".partial")
    torch.save(network.state_dict(), partial)
    partial.replace(file)
