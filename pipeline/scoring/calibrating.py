"""How a calibration is made: healthy scans are scored, and what their voxels score is counted."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pipeline.cohorts import Entry
from pipeline.errors import reason_of
from pipeline.model import Run
from pipeline.nifti import voxel_ml
from pipeline.processes import first_process_only
from pipeline.scans import Case, read_label
from pipeline.scoring.calibration import Calibration, count_scores
from pipeline.scoring.predictor import open_predictor
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
        held_out: the healthy scans; of one with a `label` only the slices without annotation count.
        training: the scans that it was trained on. Some of them serve the check of familiarity beside those held out:
            their scores are too good for a calibration, but the more scans, the narrower its limits.
        device: where to compute; the GPU if there is one when None.

    Returns:
        The calibration, None if there is no usable scan: prediction then writes no surprise and no anomalies.
    """
    predictor = open_predictor(run, device, calibrated=False)
    familiar = np.random.default_rng(0).permutation(len(training))[:FAMILIAR_SCANS]
    entries = [*held_out, *(training[i] for i in familiar)]
    counts, volumes, facts = [], [], []
    for number, entry in enumerate(tqdm(entries, "calibrating", unit="scan", disable=None)):
        try:
            prediction = predictor(predictor.read(Case("", entry)))
            brain = _healthy_voxels(entry, prediction.scores)
        except Exception as error:  # whatever is wrong with one scan, the others go on
            logger.warning("not calibrated on %s: %s", entry.images[0], reason_of(error))
            continue
        facts.append(prediction.facts)
        if number < len(held_out) and brain.any():
            counts.append(count_scores(prediction.scores.maps["recommended"][brain]))
            volumes.append(prediction.scores.mask.sum() * voxel_ml(prediction.source.affine))
    if not counts:
        logger.warning("no held-out healthy scan to calibrate on: predictions will have no surprise and no anomalies")
        return None
    calibration = Calibration.of(counts, float(np.mean(volumes)), facts)
    calibration.save(Run(Path(run)).calibration, predictor.model)
    logger.info("calibrated on %d healthy scans that the model was not trained on", len(counts))
    return calibration


def _healthy_voxels(entry: Entry, scores: ScanScores) -> np.ndarray:
    """Return the brain voxels (X, Y, Z) of slices without annotation."""
    if entry.label is None:
        return scores.mask
    annotated = np.moveaxis(read_label(entry), scores.scan_axis, 0).any((1, 2))
    shape = [-1 if axis == scores.scan_axis else 1 for axis in range(3)]
    return scores.mask & ~annotated.reshape(shape)
