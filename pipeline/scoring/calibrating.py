"""Making a calibration: healthy scans are scored, and their voxels' scores are counted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pipeline.cohorts import Entry
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.model import Model, Run
from pipeline.nifti import voxel_ml
from pipeline.processes import first_process_only
from pipeline.scans import Case, read_label, scans_with
from pipeline.scoring.calibration import Calibration, count_scores
from pipeline.scoring.familiarity import Facts
from pipeline.scoring.predictor import Predictor, open_predictor
from pipeline.scoring.scan_scores import ScanScores

logger = logging.getLogger(__name__)

FAMILIAR_SCANS = 30
"""At most this many training scans enter the familiarity check."""


@dataclass(frozen=True)
class HealthyScan:
    """What a calibration takes from a healthy scan.

    Attributes:
        image: the file of its channel 0.
        counts: the `count_scores` of its brain, without slices with annotation.
        brain_ml: volume of its brain, ml.
        facts: its properties for the familiarity check.
        warnings: warnings about it, each a sentence.
    """

    image: str
    counts: np.ndarray
    brain_ml: float
    facts: Facts
    warnings: tuple[str, ...]


@first_process_only
def calibrate(
    run: str | Path, held_out: Sequence[Entry], training: Sequence[Entry] = (), device: str | torch.device | None = None
) -> Calibration | None:
    """Score healthy scans that the model was not trained on, and write the run's calibration.

    Args:
        run: the directory that training wrote.
        held_out: the healthy scans; if a scan has a `label`, only its slices without annotation count.
        training: the scans that the model was trained on. Some of them enter the familiarity check beside the held-out
            ones: more scans make its limits narrower. Their scores are too good for the calibration itself.
        device: where to compute; if None, the GPU if there is one.

    Returns:
        The calibration, or None if no scan is usable: prediction then writes no surprise and no anomalies.

    Raises:
        UsageError: if the model was trained on one of `held_out`, which is told by what the scans hold.
    """
    predictor = open_predictor(run, device, calibrated=False)
    refuse_trained_on(predictor.model, held_out)
    scans, _ = score_healthy(predictor, held_out)
    if not scans:
        logger.warning("no healthy scan is held out for calibration: predictions have no surprise and no anomalies")
        return None
    chosen = np.random.default_rng(0).permutation(len(training))[:FAMILIAR_SCANS]
    familiar, _ = score_healthy(predictor, [replace(training[i], label=None) for i in chosen], "training scans")
    calibration = calibration_of(scans, [scan.facts for scan in familiar])
    calibration.save(Run.at(run).calibration, predictor.model)
    checked = " that the model was not trained on" if predictor.model.trained_on else ""
    logger.info("calibrated on %d healthy scan%s%s", len(scans), "s" * (len(scans) != 1), checked)
    return calibration


def refuse_trained_on(model: Model, scans: Sequence[Entry]) -> None:
    """Refuse scans that a model was trained on, whatever their names.

    Raises:
        UsageError: if there is one.
    """
    known = scans_with(model.trained_on, scans)
    if known:
        raise UsageError(
            f"the model was trained on {known[0].images[0]}, so its scores are too low for a calibration; calibrate on "
            "others"
        )


def score_healthy(
    predictor: Predictor, entries: Sequence[Entry], progress: str = "calibrating"
) -> tuple[list[HealthyScan], dict[str, str]]:
    """Score healthy scans; those that cannot be used are logged.

    Args:
        predictor: the model; its calibration is not used.
        entries: the scans; if a scan has a `label`, only its slices without annotation count.
        progress: what the progress bar says.

    Returns:
        What a calibration takes from them, and the reason of each scan that cannot be used, by its file.
    """
    scans, failed = [], {}
    for entry in tqdm(entries, progress, unit="scan", disable=None):
        try:
            scans.append(_score(predictor, entry))
        except Exception as error:  # any problem of one scan must not stop the others
            failed[entry.images[0]] = reason_of(error)
            logger.warning("not calibrated on %s: %s", entry.images[0], reason_of(error))
            logger.debug("where it failed:", exc_info=error)
    return scans, failed


def calibration_of(scans: Sequence[HealthyScan], familiar: Sequence[Facts] = ()) -> Calibration:
    """Return the calibration of healthy scans, of which there is at least one.

    Args:
        scans: the scans.
        familiar: facts of further scans for the familiarity check.
    """
    brain_ml = float(np.mean([scan.brain_ml for scan in scans]))
    return Calibration.of([scan.counts for scan in scans], brain_ml, [*(scan.facts for scan in scans), *familiar])


def _score(predictor: Predictor, entry: Entry) -> HealthyScan:
    prediction = predictor(predictor.read(Case("", entry)))
    scores = prediction.scores
    brain = _healthy_voxels(entry, scores)
    if not brain.any():
        raise ScanError("all of its slices with brain are annotated, so none counts as healthy; give other scans")
    return HealthyScan(
        image=entry.images[0],
        counts=count_scores(scores.maps["recommended"][brain]),
        brain_ml=float(scores.mask.sum() * voxel_ml(prediction.source.affine)),
        facts=prediction.facts,
        warnings=prediction.warnings,
    )


def _healthy_voxels(entry: Entry, scores: ScanScores) -> np.ndarray:
    """Return the brain voxels (X, Y, Z) of slices without annotation."""
    if entry.label is None:
        return scores.mask
    annotated = np.moveaxis(read_label(entry).voxels, scores.scan_axis, 0).any((1, 2))
    shape = [-1 if axis == scores.scan_axis else 1 for axis in range(3)]
    return scores.mask & ~annotated.reshape(shape)
