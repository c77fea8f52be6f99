"""The facts of one prediction run, which are written to run.json."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from pipeline.files import write_json
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.results import Result
from pipeline.scoring import Predictor
from pipeline.version import __version__


@dataclass(frozen=True)
class CalibrationInfo:
    """The healthy scans behind the threshold.

    Attributes:
        scans: number of these scans.
        brain_ml: mean brain volume of these scans, ml.
        false_alarm_ml: volume that is expected to be marked in a healthy brain, ml.
        highest_surprise: the value that surprise is capped at.
    """

    scans: int
    brain_ml: float
    false_alarm_ml: float
    highest_surprise: float


@dataclass(frozen=True)
class RunInfo:
    """The content of run.json.

    Attributes:
        version, torch, monai: versions of this program and of what it computes with.
        model: name of the model.
        fingerprint: SHA-256 of its weights.
        device: the device that computed it.
        fpr: share of a healthy brain's voxels that `anomalies` may mark.
        minimum_cluster_ml: smaller connected anomalies are dropped, ml.
        threshold: the lowest score that is marked, None without calibration.
        calibration: None if the model has none.
        started: time of the start, in UTC.
        seconds: duration, s.
        cases, failed: number of all cases in the folder, those of earlier commands too, and of the failed ones.
        interrupted: whether the command was stopped before its end, or has not come to it.
        label: which model it is, in words.
        running: whether the command has not ended: it goes on, or it was killed.
        share: the share of the scans that the command was given, such as "3/16"; empty if it was given all.
        skipped: a line about each kind of files that may be scans and were passed over.
        earlier: the same of each earlier command.
    """

    version: str
    model: str
    fingerprint: str
    torch: str
    monai: str
    device: str
    fpr: float
    minimum_cluster_ml: float
    threshold: float | None
    calibration: CalibrationInfo | None
    started: str
    seconds: float
    cases: int
    failed: int
    interrupted: bool
    label: ModelLabel | None = None
    running: bool = False
    share: str = ""
    skipped: tuple[str, ...] = ()
    earlier: Sequence[dict[str, Any]] = ()

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        label: ModelLabel,
        started: datetime,
        results: Sequence[Result],
        interrupted: bool,
        earlier: Sequence[dict[str, Any]],
    ) -> "RunInfo":
        """Return the facts of a predictor and of the cases in the folder of its outputs."""
        calibration = predictor.calibration
        return cls(
            version=__version__,
            model=predictor.model.name,
            fingerprint=predictor.model.fingerprint,
            torch=str(torch.__version__),
            monai=monai.__version__,
            device=str(predictor.model.device),
            fpr=predictor.fpr,
            minimum_cluster_ml=predictor.minimum_cluster_ml,
            threshold=predictor.threshold,
            calibration=None
            if calibration is None
            else CalibrationInfo(
                scans=calibration.scans,
                brain_ml=round(calibration.brain_ml, 1),
                false_alarm_ml=float(f"{predictor.fpr * calibration.brain_ml:.3g}"),
                highest_surprise=round(float(calibration.surprise(np.asarray([np.inf]))[0]), 2),
            ),
            started=started.isoformat(timespec="seconds"),
            seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
            cases=len(results),
            failed=sum(result.status == "failed" for result in results),
            interrupted=interrupted,
            label=label,
            earlier=earlier,
        )

    @property
    def ended(self) -> str:
        """The time of its end, or of the summary so far, in UTC."""
        ended = datetime.fromisoformat(self.started) + timedelta(seconds=self.seconds)
        return ended.strftime("%Y-%m-%d %H:%M:%S UTC")

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        write_json(file, asdict(self))
