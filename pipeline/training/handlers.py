"""The handlers of the training engine: the files of a run, early stopping, and resuming."""

import io
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping
from monai.engines import Evaluator

from networks import CEVAEObjective
from pipeline.cohorts import Entry
from pipeline.files import write_json, written_aside
from pipeline.model import FIXED_AT_TRAINING
from pipeline.scans import contents_of_images
from pipeline.training.slice_bank import SliceBank

logger = logging.getLogger(__name__)


class MetricsTable:
    """Write one row per epoch to metrics.csv: the terms of equation (1), those of a validation, and seconds.

    Args:
        path: the file; a resumed run replaces the rows of the epochs that it repeats.
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

    @idist.one_rank_only()
    def _write(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, **engine.state.metrics}
        if self.evaluator.state.epoch == engine.state.epoch:
            row |= {f"validation_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row | {"seconds": round(self.before + time.monotonic() - self.started, 2)})
        with written_aside(self.path) as partial:
            pd.DataFrame(self.rows).to_csv(partial, index=False)


class EarlyStop:
    """Stop after `patience` validations without a lower loss; a patience of 0 never stops.

    Args:
        patience: number of validations.
        evaluator: the evaluator of the held-out scans.
    """

    def __init__(self, patience: int, evaluator: Evaluator) -> None:
        self.patience = patience
        self.evaluator = evaluator
        self.handler: EarlyStopping | None = None

    def attach(self, trainer: Engine) -> None:
        """Register the trainer with ignite's handler on the evaluator."""
        if self.patience:
            self.handler = EarlyStopping(self.patience, lambda engine: -engine.state.metrics["loss"], trainer)
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.handler)


class Checkpoints:
    """Save network, optimiser and epoch at regular intervals, atomically, and the weights at the end.

    Args:
        folder: the folder of the checkpoints; the newest two are kept.
        model_file: the file of the weights of the last epoch.
        objective: its network is saved.
        optimizer: saved with it.
        interval: epochs between two checkpoints.
        values: by key of the configuration; those that are fixed at training are written beside the weights.
        early_stop: the early stopping, whose count of validations is saved too.
        weight_precision: of the weights in `model_file`, "float32" or "float16". The calibration comes after, so it
            holds for the rounded weights.
    """

    def __init__(
        self,
        folder: str | Path,
        model_file: str | Path,
        objective: CEVAEObjective,
        optimizer: torch.optim.Optimizer,
        interval: int = 10,
        values: Mapping[str, Any] | None = None,
        early_stop: EarlyStop | None = None,
        weight_precision: str = "float32",
    ) -> None:
        self.folder = Path(folder)
        self.model_file = Path(model_file)
        self.objective = objective
        self.optimizer = optimizer
        self.interval = interval
        self.values = values or {}
        self.early_stop = early_stop
        self.weight_precision = weight_precision

    def _content(self, trainer: Engine) -> dict[str, Any]:
        content: dict[str, Any] = {"network": self.objective.network, "optimizer": self.optimizer, "trainer": trainer}
        if self.early_stop is not None and self.early_stop.handler is not None:
            content["early_stop"] = self.early_stop.handler
        return content

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer, which is made of all that the weights depend on."""
        self.settings = {key: self.values[key] for key in FIXED_AT_TRAINING if key in self.values}
        saver = Checkpoint(
            self._content(trainer),
            DiskSaver(self.folder, require_empty=False),
            n_saved=2,
            global_step_transform=lambda engine, _: engine.state.epoch,
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), saver)
        trainer.add_event_handler(Events.COMPLETED, self._finish)

    @idist.one_rank_only(with_barrier=True)
    def _finish(self, trainer: Engine) -> None:
        """Write the settings, then the weights: the weights' presence marks a finished training."""
        write_json(self.model_file.with_suffix(".json"), self.settings)
        save_weights(self.objective.network, self.model_file, getattr(torch, self.weight_precision))

    def resume(self, trainer: Any) -> int:
        """Load the newest undamaged checkpoint and return its epoch, 0 if there is none."""

        def epoch_of(file: Path) -> int:
            return int(file.stem.rpartition("_")[2])

        for file in sorted(self.folder.glob("checkpoint_*.pt"), key=epoch_of, reverse=True):
            try:
                checkpoint = torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # a damaged file can make the unpickler raise any exception
                logger.warning("%s is damaged; the previous checkpoint is used", file)
                continue
            max_epochs = trainer.state.max_epochs
            checkpoint["trainer"]["max_epochs"] = max(max_epochs, epoch_of(file))
            Checkpoint.load_objects(self._content(trainer), checkpoint)
            return epoch_of(file)
        return 0


class TrainedOn:
    """Describe the training data in a JSON file for users of the model, without naming a scan.

    The hashes of what the scans hold tell later whether a scan was among them.

    Args:
        file: the JSON file.
        training: the slices that are learned from.
        validation: the slices that are held out.
        modality: the modality of the scans.
        scans: the scans that are learned from.
        datalist: their datalist, whose folder gives the cohort its name; if it is empty, the cohort has none.
    """

    def __init__(
        self,
        file: str | Path,
        training: SliceBank,
        validation: SliceBank,
        modality: str,
        scans: Sequence[Entry],
        datalist: str | Path = "",
    ) -> None:
        self.file = Path(file)
        self.splits = {"training": training, "validation": validation}
        self.modality = modality
        self.scans = scans
        self.cohort = Path(str(datalist)).absolute().parent.name if datalist else ""
        if self.cohort:
            logger.info("the model and its pages name the cohort by the folder of its list: %s", self.cohort)

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer."""
        trainer.add_event_handler(Events.COMPLETED, self._write)

    @idist.one_rank_only()
    def _write(self, trainer: Engine) -> None:
        numbers = {name: {"scans": len(slices.stacks), "slices": len(slices)} for name, slices in self.splits.items()}
        values = self.splits["training"].value_range
        contents = sorted(set(contents_of_images(self.scans).values()))
        masks = self.splits["training"].brain_masks
        facts = {"cohort": self.cohort, "modality": self.modality, **numbers, "brain_masks": masks}
        write_json(self.file, {**facts, "value_range": values, "contents": contents})


class BestModel:
    """Keep the weights of the lowest validation loss.

    Args:
        file: the file of the weights.
        objective: the objective whose network is saved.
        metrics: metrics.csv, from which a resumed run reads the lowest loss so far.
    """

    def __init__(self, file: str | Path, objective: CEVAEObjective, metrics: str | Path) -> None:
        self.file = Path(file)
        self.objective = objective
        table = pd.read_csv(metrics) if self.file.exists() and Path(metrics).exists() else pd.DataFrame()
        self.best = float(table.get("validation_loss", pd.Series(dtype=float)).min()) if len(table) else float("inf")

    def attach(self, evaluator: Engine) -> None:
        """Register with an evaluator."""
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._keep)

    @idist.one_rank_only()
    def _keep(self, evaluator: Engine) -> None:
        if evaluator.state.metrics["loss"] < self.best:
            self.best = evaluator.state.metrics["loss"]
            save_weights(self.objective.network, self.file)


def save_weights(network: torch.nn.Module, file: Path, precision: torch.dtype = torch.float32) -> None:
    """Write a network's weights to a file, which is never half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # torch writes the name of a file into it, and the same weights must be the same bytes
    torch.save({name: values.to(precision) for name, values in network.state_dict().items()}, content)
    with written_aside(file) as partial:
        partial.write_bytes(content.getvalue())
