"""Prediction: it writes a folder of maps for each new scan. One bad scan never stops the others.

The story of `predict`: the inputs become cases (scans/). Each case is read (reader.py), predicted
(scoring/predictor.py) and written (case_folder.py). A summary and a report list the results of all cases, those of
earlier commands too (results.py, report.py, earlier.py). While one scan is scored, the next is read and the previous
one is written. A case's folder is renamed into place when it is complete, so the same command continues an interrupted
prediction.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from monai.data import Dataset, ThreadBuffer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.errors import LostProcessError, UsageError
from pipeline.files import remove_remains
from pipeline.prediction.bids import BIDS, CASE, CASES, adopt_cases, check_output, folder_of_cases, write_dataset
from pipeline.prediction.case_folder import folder_aside, write_case
from pipeline.prediction.dicom_export import DicomExport, dicom_notes
from pipeline.prediction.earlier import MadeWith, earlier_runs, with_earlier
from pipeline.prediction.key_file import write_key
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.reader import CaseReader, Reading
from pipeline.prediction.report import write_report
from pipeline.prediction.results import BrainUsed, Marking, Result, write_record, write_summary
from pipeline.prediction.run_info import RunInfo
from pipeline.prediction.viewer import copy_viewer
from pipeline.processes import barrier, gather, rank, share_of_process
from pipeline.scan_warnings import log_warnings
from pipeline.scans import NONE, Case
from pipeline.scoring import Prediction, Predictor

logger = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
"""Time from one summary of a run that goes on to the next, at least, s."""

COST = 20
"""A summary of a run that goes on takes one in so many parts of the time, at most."""


class ScanEvaluator:
    """Predict cases one after another, each into its own folder.

    Args:
        predictor: the model that predicts them.
        dataset: the cases, with a transform that reads and preprocesses them.
        output: the folder of the outputs.
        overwrite: whether cases that already have results are computed again.
        layout: "case": a folder for each case; "bids": the outputs are a BIDS derivative dataset too.
        dicom: whether cases that came as DICOM get a SEG of their clusters and a Secondary Capture of their preview.
        key: a file to write which case is which DICOM series; None writes none.

    Raises:
        UsageError: if the layout is unknown, or the folder of the outputs has another.
    """

    def __init__(
        self,
        predictor: Predictor,
        dataset: Dataset,
        output: str | Path,
        overwrite: bool = False,
        layout: str = CASE,
        dicom: bool = False,
        key: str | Path | None = None,
    ) -> None:
        self.predictor = predictor
        self.cases: Sequence[Case] = dataset.data
        self.output = Path(str(output))  # the MONAI bundle gives a number for 2024
        self.layout = layout
        self.folders = folder_of_cases(self.output, layout)
        check_output(self.output, layout)
        self.results: list[Result] = []
        self.next_summary = 0.0
        extraction = predictor.read.brain_extraction
        tool = extraction.tool.version if extraction is not None and extraction.tool is not None else NONE
        finding = {"fpr": predictor.fpr, "minimum_cluster_ml": predictor.minimum_cluster_ml, "brain": tool}
        settings = json.dumps([predictor.model.settings, finding], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()
        calibration = predictor.calibration.fingerprint if predictor.calibration is not None else None
        self.made_with = MadeWith(predictor.model.fingerprint, calibration, digest)
        self.label, self.marking = ModelLabel.of(predictor), Marking.of(predictor)
        self.dicom = DicomExport(self.label.name, predictor.model.fingerprint) if dicom else None
        self.key = Path(str(key)) if key is not None else None
        self.ahead = ThreadBuffer(CaseReader(dataset, self.folders, self.made_with, overwrite, self.dicom), 1)

    def run(self) -> list[Result]:
        """Predict all cases, and write summary.csv, report.html and run.json, even if interrupted, and also in between.

        These files tell of earlier commands too; the returned results are those of this one.

        Raises:
            UsageError: if the output folder or the key cannot be made or written.
            LostProcessError: if another process has died, after these files are written.
        """
        self.started = datetime.now(UTC)
        if self.dicom is not None:
            self.dicom.require()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            if rank() == 0:
                remove_remains(self.output)
                if self.key is not None:
                    write_key(self.key, self.cases, self.output)
                if self.layout == BIDS:
                    adopt_cases(self.output)
                copy_viewer(self.folders)
            barrier()
            self.earlier = earlier_runs(self.output / "run.json")
        except OSError as error:
            raise UsageError(f"{self.output}: the output folder cannot be made ({error.strerror})") from error
        if self.dicom is not None and any(case.series is not None for case in self.cases):
            logger.info("CASE_seg.dcm and CASE_preview.dcm hold the patient's id of their scan: they are not anonymous")
        if self.predictor.calibration is None:
            logger.warning("the model has no calibration: there will be no surprise and no anomalies")
        number = len(share_of_process(self.cases))
        interrupted = True
        try:
            # Leaving the pool waits for the case that is being written, so it is counted too.
            with logging_redirect_tqdm(), ThreadPoolExecutor(1) as pool:
                writing: Future[None] | None = None
                progress = tqdm(self.ahead, "predicting", number, unit="scan", disable=rank() > 0 or None)
                for reading in progress if number else ():
                    prediction = self._predict(reading)
                    if failed := sum(result.status == "failed" for result in self.results):
                        progress.set_postfix(failed=failed)
                    if prediction is not None:
                        if writing is not None:
                            writing.result()  # at most one case waits, so memory is bounded
                        writing = pool.submit(self._write, reading, prediction)
            interrupted = False
        finally:
            self._finish(interrupted)
        return self.results

    def _predict(self, reading: Reading | Result) -> Prediction | None:
        """Return the prediction of a case, or None if its result is known; then the result is kept."""
        if isinstance(reading, Result):
            self.results.append(reading)
            return None
        try:
            return self.predictor(reading.item)
        except Exception as error:  # any problem of one scan must not stop the others
            self.results.append(reading.failed(error))
            return None

    def _write(self, reading: Reading, prediction: Prediction) -> None:
        """Write a case and keep its result; this runs in its own thread."""
        case, findings = reading.case, prediction.findings
        try:
            with folder_aside(self.folders / case.name) as partial:
                write_case(partial, case.name, prediction, self.label, self.predictor.threshold)
                warnings = prediction.warnings
                if self.dicom is not None and "slices" in reading.item:
                    warnings += self.dicom.write(partial, case.name, reading.item["slices"], reading.hashes)
                result = Result(
                    case.name,
                    case.described,
                    status="done",
                    reason="",
                    warnings=warnings,
                    **findings.summary() if findings is not None else {},
                    seconds=reading.seconds,
                )
                write_record(partial, result, reading.hashes, BrainUsed.of(prediction), self.marking)
        except Exception as error:  # for example a full disk; the next case may still be written
            result = reading.failed(error)
        self.results.append(result)
        if rank() == 0 and time.monotonic() >= self.next_summary:
            self._summarise_so_far()

    def _summarise_so_far(self) -> None:
        """Write the summary, the report and run.json while the run goes on, with what other processes wrote."""
        began = time.monotonic()
        known = {result.case: result for result in self.results.copy()}  # another thread adds some
        waiting = "not yet its turn"
        results = [known.get(case.name, Result(case.name, case.described, reason=waiting)) for case in self.cases]
        try:
            self._summarise(results, interrupted=True, running=True)
        except OSError as error:  # the last summary tells it, and stops the command
            logger.debug("the summary so far cannot be written", exc_info=error)
        ended = time.monotonic()
        self.next_summary = ended + max(EVERY_SECONDS, COST * (ended - began))

    def _finish(self, interrupted: bool) -> None:
        """Gather the results of all processes in the order of the cases, log their warnings, and sum them up.

        If a process has died, each one that is left sums up: nobody knows whether the first one is among them.
        """
        lost: LostProcessError | None = None
        try:
            parts = gather(self.results)
        except LostProcessError as error:
            parts, lost = [self.results], error
        known = {result.case: result for part in parts for result in part}
        self.results = [known.get(case.name, Result(case.name, case.described)) for case in self.cases]
        if rank() > 0 and lost is None:
            return
        notes = map(dicom_notes, self.cases, self.results) if self.dicom is not None else ((),) * len(self.results)
        told = zip(self.results, notes, strict=True)
        log_warnings(logger, {result.case: (*result.warnings, *note) for result, note in told})
        try:
            self._summarise(self.results, interrupted or lost is not None)
        except OSError as error:
            raise UsageError(f"{self.output}: the summary cannot be written ({error.strerror})") from error
        if lost is not None:
            raise LostProcessError(f"{lost}; {self.output / 'report.html'} tells what is done") from lost

    def _summarise(self, results: Sequence[Result], interrupted: bool, running: bool = False) -> None:
        """Write summary.csv, report.html and run.json, and in the BIDS layout the files of the dataset."""
        results = with_earlier(results, self.output, self.folders, self.made_with)
        info = RunInfo.of(self.predictor, self.label, self.started, results, interrupted, self.earlier)
        skipped, share = getattr(self.cases, "skipped", ()), getattr(self.cases, "share", "")
        info = replace(info, skipped=skipped, share=share, running=running)
        write_summary(results, self.output)
        write_report(results, info, self.output, CASES if self.layout == BIDS else "")
        if self.layout == BIDS:
            write_dataset(results, self.output, self.label)
        info.write(self.output / "run.json")
