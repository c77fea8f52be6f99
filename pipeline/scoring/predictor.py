"""The one path of a scan: read, scored, held against the calibration. Whatever wants a scan's maps goes this way.

predictor = open_predictor(RUN)
prediction = predictor(predictor.read(case))
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.inferers import Inferer

from pipeline.cohorts import Item
from pipeline.errors import UsageError
from pipeline.model import Model, Run, build
from pipeline.scans import ReadCase
from pipeline.scoring.calibration import Calibration
from pipeline.scoring.familiarity import Facts, facts_of
from pipeline.scoring.findings import Findings, find_anomalies
from pipeline.scoring.scan_scorer import score_scan
from pipeline.scoring.scan_scores import ScanScores


@dataclass(frozen=True)
class Prediction:
    """All that a model says of a scan, on the scan's own grid.

    Attributes:
        source: the scan (X, Y, Z), channel 0.
        scores: its scores.
        facts: what the scan is like, beside which the next ones are checked.
        findings: what of it is beyond healthy scans, None without calibration.
        warnings: what is odd about the scan, each a sentence.
    """

    source: nib.nifti1.Nifti1Image
    scores: ScanScores
    facts: Facts
    findings: Findings | None
    warnings: tuple[str, ...]

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The maps (X, Y, Z) by name: the scores, and with calibration `surprise` and `anomalies`."""
        if self.findings is None:
            return dict(self.scores.maps)
        return self.scores.maps | {"surprise": self.findings.surprise, "anomalies": self.findings.anomalies}


class Predictor:
    """A model that predicts scans.

    Args:
        model: the trained model.
        read: how a case is read and preprocessed.
        inferer: how the slices of a scan are scored.
        calibration: of the model; None if it has none: then there are no surprise and no anomalies.
        fpr: share of a healthy brain's voxels that `anomalies` may mark.
        minimum_cluster_ml: smaller connected anomalies are dropped, ml.

    Raises:
        UsageError: if `fpr` is no share.
    """

    def __init__(
        self,
        model: Model,
        read: ReadCase,
        inferer: Inferer,
        calibration: Calibration | None = None,
        fpr: float = 0.003,
        minimum_cluster_ml: float = 0.0,
    ) -> None:
        if not 0 < fpr < 1:
            raise UsageError(f"fpr is {fpr:g}, but must lie between 0 and 1, such as 0.003: 0.3 % of a healthy brain")
        self.model = model
        self.read = read
        self.inferer = inferer
        self.calibration = calibration
        self.fpr = fpr
        self.minimum_cluster_ml = minimum_cluster_ml

    @property
    def threshold(self) -> float | None:
        """The lowest score of `recommended` that is an anomaly, None without calibration."""
        return self.calibration.threshold(self.fpr) if self.calibration is not None else None

    def __call__(self, item: Item) -> Prediction:
        """Return the prediction of a scan, given what `read` made of its case.

        Raises:
            ScanError: if the scan cannot be used.
        """
        source, scores = item["source"], score_scan(self.model, item, self.inferer)
        facts = facts_of(item, scores, self.model.settings)
        findings, unlike = None, []
        if self.calibration is not None:
            unlike = self.calibration.familiarity.warnings_of(facts)
            findings = find_anomalies(
                scores.maps["recommended"],
                scores.mask,
                source.affine,
                self.calibration,
                self.fpr,
                self.minimum_cluster_ml,
            )
        warnings = (*unlike, *item["scan_warnings"], *scores.warnings)
        return Prediction(source, scores, facts, findings, warnings)


def open_predictor(
    run: str | Path, device: str | torch.device | None = None, fpr: float | None = None, calibrated: bool = True
) -> Predictor:
    """Return the predictor of a run, as the run's own inference configuration describes it.

    Args:
        run: the directory that training wrote.
        device: where to compute; the GPU if there is one when None.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; the configuration's own when None.
        calibrated: whether the run's calibration is used.

    Raises:
        UsageError: if the run or its calibration cannot be used.
    """
    parser = Run(Path(run)).load_inference(device, fpr=fpr)
    if not calibrated:
        parser["calibration"] = None
    predictor: Predictor = build(parser, "predictor")
    return predictor
