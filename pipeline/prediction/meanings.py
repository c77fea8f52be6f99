"""What the header of each map says: its kind, its unit and the values to show."""

import numpy as np

from pipeline.nifti import Meaning
from pipeline.prediction.colours import SHOWN

DESCRIPTIONS = {
    "combined": "ceVAE combined score: rec times |kl gradient|. Research only",
    "rec": "ceVAE reconstruction error score. Research only",
    "kl": "ceVAE |gradient of the KL divergence| score. Research only",
    "recommended": "ceVAE recommended anomaly score. Research only",
    "surprise": "-log10 share of healthy brain voxels that score as high. Research only",
    "anomalies": "1: recommended score passes the threshold. Research only",
    "clusters": "number of the connected anomaly, 1 is the largest. Research only",
    "brain": "1: the brain mask that was used",
}
"""What the values of each map are."""


def meaning_of(name: str, voxels: np.ndarray) -> Meaning:
    """Return what the header of a map says, given its name and its voxels (X, Y, Z)."""
    highest = float(voxels.max()) or 1.0
    if name == "surprise":
        return Meaning(DESCRIPTIONS[name], "log10 p value", SHOWN)
    kind = "label" if voxels.dtype.kind == "u" else "estimate"
    return Meaning(DESCRIPTIONS[name], kind, (0.0, highest))
