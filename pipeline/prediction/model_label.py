"""Which model is this? The answer stands in the head of each page and in the picture of a case."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.scoring import Predictor
from pipeline.scoring.provenance import percent
from pipeline.version import __version__

LONGEST_NAME = 48
"""Characters of a model's name that the picture shows."""

LONGEST_LINE = 85
"""Characters of a line that the picture shows."""


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
        date: day of the prediction or evaluation, in UTC.
        cohort: name of the cohort that it was trained on; empty if the run does not tell.
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
    cohort: str = ""

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
            cohort=model.cohort,
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The label in words: pairs of a term and what it is."""
        return [
            ("Model", self.name),
            ("Trained on", self._healthy()),
            *([("Cohort", self.cohort)] if self.cohort else []),
            ("Looks for", self._lesions()),
            ("Calibration", self._calibration()),
            ("Made", f"{self.date}, version {self.version}"),
        ]

    @property
    def lines(self) -> tuple[str, ...]:
        """The label in a few lines, for the picture."""
        scans = self.calibration_scans
        calibrated = f"calibrated on {scans} healthy scan{'s' * (scans != 1)}" if scans else "not calibrated"
        return (
            f"model {_shortened(self.name, LONGEST_NAME)}: trained on {self._healthy()}",
            *([_shortened(f"cohort: {self.cohort}", LONGEST_LINE)] if self.cohort else []),
            f"looks for {self._lesions()}, {calibrated}; version {self.version}, {self.date}",
        )

    def _healthy(self) -> str:
        scans = "an unknown number of" if self.healthy_scans is None else str(self.healthy_scans)
        return f"{scans} healthy {self.modality} scan{'s' * (self.healthy_scans != 1)}"

    def _lesions(self) -> str:
        return f"{'bright and dark' if self.polarity == 'both' else self.polarity} lesions"

    def _calibration(self) -> str:
        if self.calibration_scans is None or self.smallest_fpr is None:
            return "none: no threshold, and values of different scans cannot be compared"
        text = f"{self.calibration_scans} other healthy scan{'s' * (self.calibration_scans != 1)}"
        text += f"; marks {percent(self.fpr)} of a healthy brain"
        if self.realised is not None:
            text += f" ({percent(self.realised)} measured)"
        return f"{text}, and can tell {percent(self.smallest_fpr)} at the least"


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
