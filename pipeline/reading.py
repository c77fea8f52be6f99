"""From cases to what the network takes: checked, converted where they are DICOM, and preprocessed."""

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
from monai.data import Dataset
from monai.transforms import Compose, Transform

from pipeline.checks import check_scan, header_warnings, read_header
from pipeline.cohort import files_of
from pipeline.errors import ScanError, reason_of
from pipeline.files import sha256_of
from pipeline.outputs import is_complete, record_of
from pipeline.processes import mine
from pipeline.results import Result
from pipeline.scans import Case

logger = logging.getLogger(__name__)


class ReadCase(Transform):
    """Read a case: what the model's preprocessing makes of it, and the scan itself.

    Args:
        preprocessing: the model's.
        channels: image channels of the model.

    Raises:
        ScanError: where the scan cannot be used.
    """

    def __init__(self, preprocessing: Compose, channels: int) -> None:
        self.preprocessing = preprocessing
        self.channels = channels

    def __call__(self, case: Case) -> dict[str, Any]:
        """Return the preprocessed item, with `source`, the scan as a NIfTI image, and `scan_warnings` beside it."""
        entry: dict[str, Any] = {key: case.entry[key] for key in ("image", "mask") if key in case.entry}
        if case.series is None:
            check_scan(entry, self.channels)
            return self._read(entry, read_header(case.image))
        with tempfile.TemporaryDirectory() as folder:  # MONAI's loader reads files
            entry["image"] = str(Path(folder) / "series.nii")
            source = case.series.read()
            nib.save(source, entry["image"])
            check_scan(entry, self.channels)
            return self._read(entry, source)

    def _read(self, entry: dict[str, Any], source: nib.nifti1.Nifti1Image) -> dict[str, Any]:
        item: dict[str, Any] = self.preprocessing(entry)
        return item | {"source": source, "scan_warnings": header_warnings(source)}


@dataclass
class Reading:
    """A case on its way: `item` is what was read of it, None where its result is known already."""

    case: Case
    result: Result
    started: float
    hashes: dict[str, Any]
    item: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return round(time.monotonic() - self.started, 3)

    def fail(self, error: Exception) -> None:
        """Make it a failure, and name it at once."""
        self.item = None
        failed = Result(self.case.name, self.case.described, "failed", reason_of(error), seconds=self.seconds)
        vars(self.result).update(vars(failed))
        logger.error("failed: %s: %s", failed.input, failed.reason)
        logger.debug("where it failed:", exc_info=error)


class CaseReader:
    """Read the cases of this process one after another; those that are done already are not read again.

    Args:
        dataset: the cases, with `ReadCase` as their transform.
        output: the folder of the outputs.
        made_with: hashes of all that the outputs depend on beside the scan: model, calibration, settings.
        overwrite: whether a case that is there already is made anew.
    """

    def __init__(self, dataset: Dataset, output: Path, made_with: dict[str, Any], overwrite: bool) -> None:
        self.dataset = dataset
        self.output = output
        self.made_with = made_with
        self.overwrite = overwrite

    def __iter__(self) -> Iterator[Reading]:
        for index, case in mine(list(enumerate(self.dataset.data))):
            reading = Reading(case, Result(case.name, case.described), time.monotonic(), dict(self.made_with))
            try:
                if case.problem:
                    raise ScanError(case.problem)
                reading.hashes |= self._hashes(case)
                done = self._done(case, reading.hashes)
                if done is not None:
                    reading.result = done
                else:
                    reading.item = self.dataset[index]
            except Exception as error:  # the boundary: whatever is wrong with one scan, the others go on
                reading.fail(error)
            yield reading

    def _hashes(self, case: Case) -> dict[str, Any]:
        images = case.series.files if case.series is not None else files_of([{"image": case.entry["image"]}])
        return {
            "image": [sha256_of(file) for file in images],
            "mask": sha256_of(case.entry["mask"]) if "mask" in case.entry else None,
        }

    def _done(self, case: Case, hashes: dict[str, Any]) -> Result | None:
        """Return the result of a case that is there already, None where it is to be made.

        Raises:
            ScanError: where other results are in its place.
        """
        folder = self.output / case.name
        if not folder.exists():
            return None
        record = record_of(folder)
        if record is None:
            raise ScanError(f"{folder} is there already and was not made by predict; choose another --output")
        if self.overwrite:
            return None
        if record["hashes"] != hashes:
            raise ScanError(
                f"{folder} holds other results (another scan, mask, model or --fpr); give --overwrite to replace them"
            )
        return (
            Result(**{key: record[key] for key in Result.__dataclass_fields__}) if is_complete(folder, record) else None
        )
