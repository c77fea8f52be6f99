"""Prediction: new scans in, a folder of maps for each out. One bad scan never stops the others."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.data import Dataset
from monai.engines import Evaluator
from monai.inferers import Inferer

from pipeline import __version__
from pipeline.cohort import files_of
from pipeline.configuration import made, parsed
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.files import sha256_of, written_aside
from pipeline.model import Model
from pipeline.nifti import copy_of, on_grid_of, write
from pipeline.pictures import write_preview
from pipeline.scans import Case, check_scan, find_cases, read_header
from pipeline.scoring import ScanScores, score_scan

logger = logging.getLogger(__name__)


@dataclass
class Result:
    """What became of a case: a row of summary.csv."""

    case: str
    input: str
    status: str
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


class ScanEvaluator(Evaluator):
    """Predict one case an iteration, each into a folder of its own.

    Args:
        model: the trained model.
        dataset: the cases' entries with the model's preprocessing.
        cases: the same cases with their names.
        inferer: how the slices of a scan are scored.
        output: the folder of the outputs.
        overwrite: whether a case that is there already is made anew.
        val_handlers: handlers with `attach`.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        cases: Sequence[Case],
        inferer: Inferer,
        output: str | Path,
        overwrite: bool = False,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        super().__init__(model.device, range(len(cases)), decollate=False)
        self.model = model
        self.dataset = dataset
        self.cases = cases
        self.inferer = inferer
        self.output = Path(output)
        self.overwrite = overwrite
        self.results: list[Result] = []
        ProgressBar(persist=True, desc="predicting", disable=None).attach(self)
        self.add_event_handler(Events.STARTED, self._start)
        self.add_event_handler(Events.COMPLETED, self._finish)
        self._register_handlers(val_handlers)

    def _start(self, engine: Engine) -> None:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.output}: the output folder cannot be made ({error.strerror})") from error

    def _iteration(self, engine: Engine, index: int) -> Result:
        case = self.cases[index]
        started = time.monotonic()
        result = Result(case.name, str(case.image), "done")
        try:
            self._predict(index, result)
        except Exception as error:  # the boundary: whatever is wrong with one scan, the others go on
            result.status, result.reason = "failed", reason_of(error)
            logger.error("failed: %s: %s", case.image, result.reason)
            logger.debug("where it failed:", exc_info=True)
        result.seconds = round(time.monotonic() - started, 3)
        self.results.append(result)
        return result

    def _predict(self, index: int, result: Result) -> None:
        """Predict one case, aside first: its folder appears when all of it is there."""
        case, started = self.cases[index], time.monotonic()
        check_scan(case.entry, self.model.settings["channels"])
        folder, partial = self.output / case.name, self.output / f".{case.name}.partial"
        hashes = self._hashes(case)
        there = _record_in(folder)
        if folder.exists() and there is None:
            raise ScanError(f"{folder} is there already and was not made by predict; choose another --output")
        if there is not None and not self.overwrite:
            if there["hashes"] == hashes:
                result.status, result.warnings = "already done", there["warnings"]
                return
            raise ScanError(
                f"{folder} holds other results (another scan, mask or model); give --overwrite to replace them"
            )
        scores = score_scan(self.model, self.dataset[index], self.inferer)
        result.warnings = scores.warnings
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_case(partial, case, scores)
        result.seconds = round(time.monotonic() - started, 3)
        record = asdict(result) | {"hashes": hashes, "version": __version__}
        (partial / "case.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)

    def _hashes(self, case: Case) -> dict[str, Any]:
        """Return the hashes of all that a case's outputs depend on."""
        settings = json.dumps(self.model.settings, sort_keys=True)
        return {
            "image": [sha256_of(file) for file in files_of([{"image": case.entry["image"]}])],
            "mask": sha256_of(case.entry["mask"]) if "mask" in case.entry else None,
            "model": self.model.fingerprint,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
        }

    def _finish(self, engine: Engine) -> None:
        write_summary(self.results, self.output)
        run = {
            "version": __version__,
            "model": self.model.fingerprint,
            "device": str(self.model.device),
            "torch": str(torch.__version__),
            "cases": len(self.results),
            "failed": sum(result.status == "failed" for result in self.results),
        }
        (self.output / "run.json").write_text(json.dumps(run, indent=1), encoding="utf-8")


def _record_in(folder: Path) -> dict[str, Any] | None:
    """Return the record of a case's folder, None where it is not one that prediction made."""
    try:
        record: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        return record if {"hashes", "warnings"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def write_case(folder: Path, case: Case, scores: ScanScores) -> None:
    """Write a case's image, maps, slice table and preview into its folder."""
    scan = read_header(case.image)
    image = copy_of(scan)
    write(image, folder / f"{case.name}_image.nii.gz")
    for name, voxels in scores.maps.items():
        write(on_grid_of(scan, voxels), folder / f"{case.name}_{name}.nii.gz")
    scores.slices.to_csv(folder / f"{case.name}_slices.csv", index=False, float_format="%.6g")
    write_preview(folder / f"{case.name}_preview.png", image, scores)


def write_summary(results: Sequence[Result], output: Path) -> None:
    """Write summary.csv: a row a case."""
    table = pd.DataFrame([asdict(result) | {"warnings": "; ".join(result.warnings)} for result in results])
    with written_aside(output / "summary.csv") as partial:
        table.to_csv(partial, index=False)


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    masks: Sequence[str | Path] = (),
    device: str | None = None,
    overwrite: bool = False,
) -> list[Result]:
    """Predict scans by the inference configuration that a run carries, and return what became of each.

    Args:
        model: the directory that training wrote.
        inputs: scans, folders or datalists.
        output: the folder of the outputs.
        masks: brain masks, see `find_cases`.
        device: where to compute; the GPU where there is one when None.
        overwrite: whether cases that are there already are made anew.

    Raises:
        UsageError: where the model or the inputs cannot be used at all.
    """
    configuration = Path(model) / "configs" / "inference.yaml"
    if not configuration.is_file():
        raise UsageError(f"{model}: not a model; give the directory that `train --output` wrote")
    values: dict[str, Any] = {"bundle_root": str(model), "output_dir": str(output), "overwrite": overwrite}
    if device is not None:
        values["device"] = f"$torch.device('{torch.device(device)}')"
    parser = parsed(configuration, **values)
    parser["cases"] = find_cases(inputs, masks)
    evaluator = made(parser, "evaluator")
    evaluator.run()
    return evaluator.results
