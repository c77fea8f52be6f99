"""Prediction: new scans in, a folder of maps for each out. One bad scan never stops the others.

While one scan is scored, the next is read and the one before is written. A case is written aside and renamed when all
of it is there, so that a run that was killed goes on where it stopped.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import monai
import nibabel as nib
import torch
from ignite.engine import Engine
from ignite.handlers import ProgressBar
from monai.data import Dataset, ThreadBuffer
from monai.engines import Evaluator
from monai.inferers import Inferer
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline import __version__
from pipeline.calibration import Calibration
from pipeline.configuration import made, parsed
from pipeline.errors import UsageError
from pipeline.familiarity import facts_of
from pipeline.files import write_json
from pipeline.findings import find
from pipeline.model import Model
from pipeline.outputs import folder_aside, write_case, write_record
from pipeline.processes import gathered, joined_processes, mine
from pipeline.reading import CaseReader, Reading
from pipeline.report import write_report
from pipeline.results import Result, write_summary
from pipeline.scans import Case, find_cases
from pipeline.scoring import ScanScores, score_scan
from pipeline.unpacking import opened

logger = logging.getLogger(__name__)


class ScanEvaluator(Evaluator):
    """Predict one case an iteration, each into a folder of its own.

    Args:
        model: the trained model.
        dataset: the cases, with a transform that reads and preprocesses them.
        inferer: how the slices of a scan are scored.
        output: the folder of the outputs.
        calibration: of the model; None where it has none: then there are no surprise and no anomalies.
        fpr: share of a healthy brain's voxels that `anomalies` may mark.
        minimum_cluster_ml: smaller connected anomalies are dropped, ml.
        overwrite: whether a case that is there already is made anew.
        val_handlers: handlers with `attach`.

    Raises:
        UsageError: where `fpr` is no share, or the output folder cannot be made.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        inferer: Inferer,
        output: str | Path,
        calibration: Calibration | None = None,
        fpr: float = 0.003,
        minimum_cluster_ml: float = 0.0,
        overwrite: bool = False,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        if not 0 < fpr < 1:
            raise UsageError(f"fpr is {fpr:g}, but must lie between 0 and 1, such as 0.003: 0.3 % of a healthy brain")
        self.model = model
        self.cases: Sequence[Case] = dataset.data
        self.inferer = inferer
        self.output = Path(output)
        self.calibration = calibration
        self.finding = {"fpr": fpr, "minimum_cluster_ml": minimum_cluster_ml}
        self.results: list[Result] = []
        self.started = datetime.now(UTC)
        settings = json.dumps([model.settings, self.finding], sort_keys=True)
        made_with = {
            "model": model.fingerprint,
            "calibration": calibration.fingerprint if calibration is not None else None,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
        }
        ahead = ThreadBuffer(CaseReader(dataset, self.output, made_with, overwrite), 1)
        super().__init__(model.device, ahead, epoch_length=len(mine(self.cases)), decollate=False)
        ProgressBar(persist=True, desc="predicting", disable=idist.get_rank() > 0 or None).attach(self)
        self._register_handlers(val_handlers)

    def run(self, global_epoch: int = 1) -> None:
        """Predict all cases, and write summary.csv, report.html and run.json, also when interrupted."""
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.output}: the output folder cannot be made ({error.strerror})") from error
        if self.calibration is None:
            logger.warning("the model carries no calibration: there will be no surprise and no anomalies")
        interrupted = True
        try:
            # Leaving the writer's pool waits for what it was given, so that each case written is counted.
            with logging_redirect_tqdm(), ThreadPoolExecutor(1) as self._writer:
                self._writing: Future[None] | None = None
                if mine(self.cases):
                    super().run(global_epoch)
            interrupted = False
        finally:
            self._finish(interrupted)

    def _iteration(self, engine: Engine, reading: Reading) -> Result:
        """Score a case that was read, and have it written."""
        self.results.append(reading.result)
        if reading.item is not None:
            try:
                scores = score_scan(self.model, reading.item, self.inferer)
                facts = facts_of(reading.item, scores, self.model.settings)
            except Exception as error:
                reading.fail(error)
            else:
                known = self.calibration.familiarity.warnings_of(facts) if self.calibration is not None else []
                reading.result.warnings = [*known, *reading.item["scan_warnings"], *scores.warnings]
                source, reading.item = reading.item["source"], None
                self._wait()
                self._writing = self._writer.submit(self._write, reading, source, scores)
        return reading.result

    def _wait(self) -> None:
        """Wait until the case before is written: no more than one waits, so that memory is bounded."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, reading: Reading, source: nib.nifti1.Nifti1Image, scores: ScanScores) -> None:
        """Write a case aside, in a thread of its own, and put it in its place."""
        case, result = reading.case, reading.result
        try:
            findings = None
            if self.calibration is not None:
                recommended = scores.maps["recommended"]
                findings = find(recommended, scores.mask, source.affine, self.calibration, **self.finding)
                for name in ("anomaly_ml", "clusters", "largest_cluster_ml", "largest_cluster_ras_mm", "max_surprise"):
                    setattr(result, name, getattr(findings, name))
            with folder_aside(self.output / case.name) as partial:
                write_case(partial, case.name, source, scores, findings)
                result.status, result.reason, result.seconds = "done", "", reading.seconds
                write_record(partial, asdict(result) | {"hashes": reading.hashes, "version": __version__})
        except Exception as error:
            reading.fail(error)

    def _finish(self, interrupted: bool) -> None:
        known = {result.case: result for part in gathered(self.results) for result in part}
        self.results = [known.get(case.name, Result(case.name, case.described)) for case in self.cases]
        if idist.get_rank() > 0:
            return
        run = self._description(interrupted)
        try:
            write_summary(self.results, self.output)
            write_report(self.results, run, self.output)
            write_json(self.output / "run.json", run)
        except OSError as error:
            raise UsageError(f"{self.output}: the summary cannot be written ({error.strerror})") from error

    def _description(self, interrupted: bool) -> dict[str, Any]:
        """Return the content of run.json: what the outputs were made with."""
        fpr, calibration = self.finding["fpr"], self.calibration
        return {
            "version": __version__,
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "torch": str(torch.__version__),
            "monai": monai.__version__,
            "device": str(self.model.device),
            **self.finding,
            "threshold": calibration.threshold(fpr) if calibration is not None else None,
            "calibration": None
            if calibration is None
            else {
                "scans": calibration.scans,
                "brain_ml": round(calibration.brain_ml, 1),
                "false_alarm_ml": round(fpr * calibration.brain_ml, 2),
            },
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self.started).total_seconds(), 1),
            "cases": len(self.cases),
            "failed": sum(result.status == "failed" for result in self.results),
            "interrupted": interrupted,
        }


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    masks: Sequence[str | Path] = (),
    device: str | None = None,
    overwrite: bool = False,
    fpr: float | None = None,
) -> list[Result]:
    """Predict scans by the inference configuration that a run carries, and return what became of each.

    Args:
        model: the directory that training wrote, or the zip that `pack` wrote.
        inputs: scans, folders, DICOM series or datalists.
        output: the folder of the outputs.
        masks: brain masks, see `find_cases`.
        device: where to compute; the GPU where there is one when None.
        overwrite: whether cases that are there already are made anew.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; the configuration's own when None.

    Raises:
        UsageError: where the model or the inputs cannot be used at all.
    """
    values: dict[str, Any] = {"output_dir": str(output), "overwrite": overwrite}
    if fpr is not None:
        values["fpr"] = fpr
    with opened(model) as run, joined_processes(device) as device:
        configuration = run / "configs" / "inference.yaml"
        if not configuration.is_file():
            raise UsageError(f"{model}: not a model; give the directory that `train` wrote, or the zip of `pack`")
        values["bundle_root"] = str(run)
        if device is not None:
            values["device"] = f"$torch.device('{torch.device(device)}')"
        parser = parsed(configuration, **values)
        parser["cases"] = find_cases(inputs, masks, output)
        evaluator = made(parser, "evaluator")
        evaluator.run()
    results: list[Result] = evaluator.results
    return results
