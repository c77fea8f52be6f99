"""The one path of a scan: it is read, scored and compared with the calibration. All maps of a scan are made here.

predictor = open_predictor(RUN)
prediction = predictor(predictor.read(case))
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from pipeline.cohorts import Item
from pipeline.errors import UsageError
from pipeline.model import Model, Run, build
from pipeline.scans import AUTO, BrainExtraction, ReadCase, content_of
from pipeline.scoring.calibration import Calibration
from pipeline.scoring.familiarity import Facts, facts_of
from pipeline.scoring.findings import Findings, find_anomalies
from pipeline.scoring.scan_scorer import scores_on_scan
from pipeline.scoring.scan_scores import ScanScores

TRAINED_ON = "the model was trained on this scan, so it reconstructs it too well: anomalies in it are missed"
"""The warning about a scan that the model was trained on."""


@dataclass(frozen=True)
class Prediction:
    """The complete result of a model for a scan, on the scan's own grid.

    Attributes:
        source: the scan (X, Y, Z), channel 0.
        scores: its scores.
        facts: its properties for the familiarity check.
        findings: the parts that score higher than healthy scans, None without calibration.
        warnings: warnings about the scan, each a sentence.
        brain_origin: where its brain mask comes from, see `BrainOrigin`.
    """

    source: nib.nifti1.Nifti1Image
    scores: ScanScores
    facts: Facts
    findings: Findings | None
    warnings: tuple[str, ...]
    brain_origin: str = ""

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The maps (X, Y, Z) by name: the scores, and with calibration `surprise`, `anomalies` and `clusters`."""
        if self.findings is None:
            return dict(self.scores.maps)
        findings = self.findings
        return self.scores.maps | {
            "surprise": findings.surprise,
            "anomalies": findings.anomalies,
            "clusters": findings.cluster_map,
        }


class Predictor:
    """A model that predicts scans.

    Args:
        model: the trained model.
        read: the transform that reads and preprocesses a case.
        inferer: the inferer that scores the slices of a scan.
        calibration: the model's calibration; without one there are no surprise and no anomalies.
        fpr: share of a healthy brain's voxels that `anomalies` may mark.
        minimum_cluster_ml: smaller connected anomalies are dropped, ml.

    Raises:
        UsageError: if `fpr` is not between 0 and 1, or is smaller than the calibration can tell.
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
        if calibration is not None and fpr < calibration.smallest_fpr:
            scans = f"{calibration.scans} healthy scan{'s' * (calibration.scans != 1)}"
            raise UsageError(
                f"fpr is {fpr:g}, but the {scans} behind this model's threshold can tell no share of false alarms "
                f"below {calibration.smallest_fpr:g}; give --fpr {calibration.smallest_fpr:g} or more"
            )
        self.model = model
        self.read = read
        self.inferer = inferer
        self.calibration = calibration
        self.fpr = fpr
        self.minimum_cluster_ml = minimum_cluster_ml

    @property
    def threshold(self) -> float | None:
        """The lowest value of `recommended` that is an anomaly, None without calibration."""
        return self.calibration.threshold(self.fpr) if self.calibration is not None else None

    def __call__(self, item: Item) -> Prediction:
        """Return the prediction of a scan, given the item that `read` returned for its case.

        Raises:
            ScanError: if the scan cannot be used.
        """
        image, mask = item["image"].as_tensor(), item["mask"].as_tensor()
        return self.finish(item, self.inferer(image, self.model.network, mask))

    def finish(self, item: Item, volume: MetaTensor) -> Prediction:
        """Return the prediction of a scan, given its item and the volume that the inferer made of it."""
        source, scores = item["source"], scores_on_scan(self.model, item, volume)
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
                scores.scan_axis,
            )
        known = [TRAINED_ON] if self.model.trained_on and content_of(source) in self.model.trained_on else []
        # A missing mask, say, is the cause of an unlikely size, so it is named first.
        brain = item["brain"]
        warnings = (*known, *item["scan_warnings"], *scores.warnings, *brain.warnings, *unlike)
        return Prediction(source, scores, facts, findings, warnings, brain.origin)


def brain_extraction_of(model: Model, brain: str = AUTO) -> BrainExtraction:
    """Return how the brain is found in heads without a mask: AUTO does as the model's training did.

    Raises:
        UsageError: if a tool is named that is unknown or not installed.
    """
    chosen = model.settings["brain"] if brain == AUTO else brain
    return BrainExtraction.of(chosen, model.modality, model.learned_heads, model.device)


def open_predictor(
    run: str | Path,
    device: str | torch.device | None = None,
    fpr: float | None = None,
    calibrated: bool = True,
    brain: str | None = None,
) -> Predictor:
    """Return the predictor of a run, as the run's own inference configuration describes it.

    Args:
        run: the directory that training wrote.
        device: where to compute; if None, the GPU if there is one.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; if None, the configuration's own.
        calibrated: whether the run's calibration is used.
        brain: how the brain is found in heads without a mask; if None, the configuration's own.

    Raises:
        UsageError: if the run or its calibration cannot be used.
    """
    parser = Run.at(run).load_inference(device, fpr=fpr, brain=brain)
    if not calibrated:
        parser["calibration"] = None
    predictor: Predictor = build(parser, "predictor")
    return predictor
