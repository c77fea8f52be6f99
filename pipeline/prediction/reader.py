"""The queue of cases: each case is read in its turn, unless its result is already known."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monai.data import Dataset

from pipeline.cohorts import Item
from pipeline.errors import ScanError, reason_of
from pipeline.files import sha256_of
from pipeline.prediction.dicom_export import DicomExport
from pipeline.prediction.earlier import MadeWith
from pipeline.prediction.outline import write_outline
from pipeline.prediction.results import Hashes, Result, read_record
from pipeline.processes import share_of_process
from pipeline.scans import BrainMaskError, Case

logger = logging.getLogger(__name__)


_OTHER = {
    "image": "another scan",
    "mask": "another brain mask",
    "model": "another model",
    "calibration": "another calibration",
    "settings": "other settings, such as --fpr",
}
"""What a folder holds results of if one of the `Hashes` differs."""


@dataclass(frozen=True)
class Reading:
    """A case that was read.

    Attributes:
        case: the case.
        started: time of its start on the monotonic clock, s.
        hashes: hashes of everything that its outputs depend on.
        item: the preprocessed item.
    """

    case: Case
    started: float
    hashes: Hashes
    item: Item

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return _seconds_since(self.started)

    def failed(self, error: Exception) -> Result:
        """Return its result as a failure, and log it."""
        return _failure(self.case, self.started, error)


class CaseReader:
    """Read the cases of this process one after another; cases with results are not read again.

    Args:
        dataset: the cases, with `ReadCase` as their transform.
        output: the folder of the cases' folders.
        made_with: what the outputs are made with.
        overwrite: whether cases that already have results are computed again.
        dicom: what adds DICOM files to a case that was done without; None adds none.
    """

    def __init__(
        self, dataset: Dataset, output: Path, made_with: MadeWith, overwrite: bool, dicom: DicomExport | None = None
    ) -> None:
        self.dataset = dataset
        self.output = output
        self.made_with = made_with
        self.overwrite = overwrite
        self.dicom = dicom

    def __iter__(self) -> Iterator[Reading | Result]:
        """Yield each case that was read, or its result if it failed or was done before."""
        for index, case in share_of_process(list(enumerate(self.dataset.data))):
            started = time.monotonic()
            try:
                if case.problem:
                    raise ScanError(case.problem)
                hashes = self._hashes(case)
                done = self._done(case, hashes)
                if done is not None and self.dicom is not None:
                    done = self.dicom.add(self.output / case.name, case, hashes, done)
                reading = done or Reading(case, started, hashes, self.dataset[index])
            except Exception as error:  # any problem of one scan must not stop the others
                reading = _failure(case, started, self._with_outline(case, error))
            yield reading

    def _with_outline(self, case: Case, error: Exception) -> Exception:
        """Return an error; if a brain mask was refused, draw it beside the cases' folders, and name the picture."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BrainMaskError):
            cause = cause.__cause__  # MONAI's transforms raise errors of their own
        if cause is None:
            return error
        picture = self.output / f"{case.name}_brain.png"
        try:
            write_outline(picture, cause.scan, cause.mask)
        except OSError:  # a picture that cannot be written changes nothing about the scan
            return error
        return ScanError(f"{cause}; its outline is drawn in {picture.name}")

    def _hashes(self, case: Case) -> Hashes:
        images = case.series.files if case.series is not None else case.entry.images
        mask = case.entry.mask
        files = tuple(map(sha256_of, images)), sha256_of(mask) if mask is not None else None
        return Hashes(*files, self.made_with.model, self.made_with.calibration, self.made_with.settings)

    def _done(self, case: Case, hashes: Hashes) -> Result | None:
        """Return the result of a case that was done before, None if it must be computed.

        Raises:
            ScanError: if its folder holds other results.
        """
        folder = self.output / case.name
        if not folder.exists():
            return None
        record = read_record(folder)
        if record is None:
            raise ScanError(f"{folder} already exists and is not a result of predict; choose another --output")
        if self.overwrite:
            return None
        if record.hashes != hashes:
            other = " and ".join(_OTHER[key] for key in _OTHER if getattr(record.hashes, key) != getattr(hashes, key))
            raise ScanError(f"{folder} holds results of {other}; give --overwrite to replace them")
        return record.result if record.is_complete(folder) else None


def _failure(case: Case, started: float, error: Exception) -> Result:
    """Return the result of a case that failed, and log it."""
    result = Result(case.name, case.described, "failed", reason_of(error), seconds=_seconds_since(started))
    logger.error("failed: %s: %s", result.input, result.reason)
    logger.debug("where it failed:", exc_info=error)
    return result


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 3)
