"""Making a calibration: healthy scans are scored, and their voxels' scores are counted."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pipeline.cohorts import Entry
from pipeline.errors import UsageError, reason_of
from pipeline.model import Run
from pipeline.nifti import voxel_ml
from pipeline.processes import first_process_only
from pipeline.scans import Case, read_label, scans_with
from pipeline.scoring.calibration import Calibration, count_scores
from pipeline.scoring.predictor import Predictor, open_predictor
from pipeline.scoring.scan_scores import ScanScores

logger = logging.getLogger(__name__)

FAMILIAR_SCANS = 30
"""At most this many training scans enter the familiarity check."""


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
    _refuse_trained_on(predictor, held_out)
    familiar = np.random.default_rng(0).permutation(len(training))[:FAMILIAR_SCANS]
    entries = [*held_out, *(training[i] for i in familiar)]
    counts, volumes, facts = [], [], []
    for number, entry in enumerate(tqdm(entries, "calibrating", unit="scan", disable=None)):
        try:
            prediction = predictor(predictor.read(Case("", entry)))
            brain = _healthy_voxels(entry, prediction.scores)
        except Exception as error:  # any problem of one scan must not stop the others
            logger.warning("not calibrated on %s: %s", entry.images[0], reason_of(error))
            continue
        facts.append(prediction.facts)
        if number < len(held_out) and brain.any():
            counts.append(count_scores(prediction.scores.maps["recommended"][brain]))
            volumes.append(prediction.scores.mask.sum() * voxel_ml(prediction.source.affine))
    if not counts:
        logger.warning("no healthy scan is held out for calibration: predictions have no surprise and no anomalies")
        return None
    calibration = Calibration.of(counts, float(np.mean(volumes)), facts)
    calibration.save(Run.at(run).calibration, predictor.model)
    checked = " that the model was not trained on" if predictor.model.trained_on else ""
    logger.info("calibrated on %d healthy scan%s%s", len(counts), "s" * (len(counts) != 1), checked)
    return calibration


def _refuse_trained_on(predictor: Predictor, held_out: Sequence[Entry]) -> None:
    known = scans_with(predictor.model.trained_on, held_out)
    if known:
        raise UsageError(
            f"the model was trained on {known[0].images[0]}, so its scores are too low for a calibration; calibrate on "
            "others"
        )


def _healthy_voxels(entry: Entry, scores: ScanScores) -> np.ndarray:
    """Return the brain voxels (X, Y, Z) of slices without annotation."""
    if entry.label is None:
        return scores.mask
    annotated = np.moveaxis(read_label(entry).voxels, scores.scan_axis, 0).any((1, 2))
    shape = [-1 if axis == scores.scan_axis else 1 for axis in range(3)]
    return scores.mask & ~annotated.reshape(shape)
