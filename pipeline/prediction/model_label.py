"""Which model is this? The answer stands in the head of each page and in the picture of a case."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.scoring import Predictor
from pipeline.scoring.provenance import percent
from pipeline.version import __version__

LONGEST_NAME = 48
"""Characters of a model's name that the picture shows."""


@dataclass(frozen=True)
class ModelLabel:
    """What a reader must know of a model before its maps.

    Attributes:
        name: its name.
        modality: what the scans were that it was trained on, such as T1.
        polarity: "bright", "dark" or "both": the lesions that it looks for.
        healthy_scans: number of the healthy scans that it was trained on; None if the run does not tell.
        calibration_scans: number of the healthy scans behind the threshold; None without calibration.
        fpr: share of a healthy brain's voxels that are marked, by intention.
        realised: the share that was marked in healthy scans by leave-one-out; None if it was not measured.
        smallest_fpr: the smallest share that the calibration can tell; None without calibration.
        version: version of this program.
        date: day of the prediction, in UTC.
    """

    name: str
    modality: str
    polarity: str
    healthy_scans: int | None
    calibration_scans: int | None
    fpr: float
    realised: float | None
    smallest_fpr: float | None
    version: str
    date: str

    @classmethod
    def of(cls, predictor: Predictor) -> "ModelLabel":
        """Return the label of a predictor's model."""
        model, calibration = predictor.model, predictor.calibration
        measured = calibration.provenance.by_new if calibration and calibration.provenance else None
        return cls(
            name=model.name,
            modality=model.modality,
            polarity=str(model.settings["polarity"]),
            healthy_scans=model.training_scans,
            calibration_scans=calibration.scans if calibration else None,
            fpr=predictor.fpr,
            realised=measured.mean if measured else None,
            smallest_fpr=calibration.smallest_fpr if calibration else None,
            version=__version__,
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The label in words: pairs of a term and what it is."""
        lesions = "bright and dark" if self.polarity == "both" else self.polarity
        scans = "an unknown number of" if self.healthy_scans is None else str(self.healthy_scans)
        return [
            ("Model", self.name),
            ("Trained on", f"{scans} healthy {self.modality} scan{'s' * (self.healthy_scans != 1)}"),
            ("Looks for", f"{lesions} lesions"),
            ("Calibration", self._calibration()),
            ("Made", f"{self.date}, version {self.version}"),
        ]

    @property
    def lines(self) -> tuple[str, str]:
        """The label in two lines, for the picture."""
        name = self.name if len(self.name) <= LONGEST_NAME else f"{self.name[: LONGEST_NAME - 3]}..."
        facts = dict(self.facts)
        scans = self.calibration_scans
        calibrated = f"calibrated on {scans} healthy scan{'s' * (scans != 1)}" if scans else "not calibrated"
        return (
            f"model {name}: trained on {facts['Trained on']}",
            f"looks for {facts['Looks for']}, {calibrated}; version {self.version}, {self.date}",
        )

    def _calibration(self) -> str:
        if self.calibration_scans is None or self.smallest_fpr is None:
            return "none: no threshold, and values of different scans cannot be compared"
        text = f"{self.calibration_scans} other healthy scan{'s' * (self.calibration_scans != 1)}"
        text += f"; marks {percent(self.fpr)} of a healthy brain"
        if self.realised is not None:
            text += f" ({percent(self.realised)} measured)"
        return f"{text}, and can tell {percent(self.smallest_fpr)} at the least"
