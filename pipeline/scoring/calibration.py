"""Calibration: how high healthy scans score, so that a score can be read as a surprise.

    surprise(s) = -log10((1 + N p(s)) / (1 + N))

where p(s) is the share of healthy brain voxels that score s or more, averaged over the scans so that each counts the
same, and N is the number of these voxels. The scans are healthy ones that the model was not trained on. Their number,
not that of their voxels, limits what may be claimed: voxels of one scan are much alike, and the next scan is not.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError, reason_of
from pipeline.files import sha256_of, write_json
from pipeline.model import CALIBRATED_SETTINGS, Model, Run
from pipeline.scoring.familiarity import Facts, Familiarity
from pipeline.scoring.score_bins import bin_of, edge_of

BITS = 16
"""Bits of a float32 that tell scores apart: neighbouring ones differ by 0.8 percent at most."""

FORMAT = 1
"""Of the file: raised when an older program could not read it rightly."""


@dataclass(frozen=True)
class Calibration:
    """The distribution of `recommended` in healthy brains.

    Attributes:
        bins: bins of the scores, ascending.
        shares: share of healthy voxels with a score of that bin or a higher one, every scan weighted equally.
        voxels: number of these voxels, N.
        scans: number of healthy scans behind it.
        brain_ml: their brain's mean volume, ml.
        familiarity: what these and some training scans are like.
        fingerprint: SHA-256 of the file that it was read from.
    """

    bins: np.ndarray
    shares: np.ndarray
    voxels: int
    scans: int
    brain_ml: float
    familiarity: Familiarity = field(default_factory=Familiarity)
    fingerprint: str = ""

    @classmethod
    def of(cls, counts: Sequence[np.ndarray], brain_ml: float, facts: Sequence[Facts] = ()) -> "Calibration":
        """Return the calibration of healthy scans, each by its `count_scores`."""
        mass = np.mean([count / count.sum() for count in counts], axis=0)
        bins = np.flatnonzero(mass)
        shares = np.minimum(np.cumsum(mass[bins][::-1])[::-1], 1.0)
        voxels = int(sum(count.sum() for count in counts))
        return cls(bins, shares, voxels, len(counts), brain_ml, Familiarity.of(facts))

    def surprise(self, recommended: np.ndarray) -> np.ndarray:
        """Return the surprise of scores, of any shape, in float32: 2 is one voxel in a hundred of a healthy brain."""
        # One value for each bin, so that a volume is a look-up.
        place = np.searchsorted(self.bins, np.arange(1 << BITS))
        share = np.append(self.shares, 0.0)[place]
        table = -np.log10((1 + self.voxels * share) / (1 + self.voxels))
        return np.maximum(table, 0).astype(np.float32)[bin_of(recommended, BITS)]

    def threshold(self, fpr: float) -> float:
        """Return the lowest score that a share of healthy voxels of `fpr`, or less, reaches."""
        few = np.flatnonzero(self.shares <= fpr)
        chosen = self.bins[few[0]] if len(few) else self.bins[-1] + 1
        return float(edge_of(np.asarray([chosen]), BITS)[0])

    def save(self, file: Path, model: Model) -> None:
        """Write it to a JSON file, with what it belongs to."""
        content = {
            "format": FORMAT,
            "model": model.fingerprint,
            "settings": {key: model.settings[key] for key in CALIBRATED_SETTINGS},
            "note": f"{self.scans} healthy scans: their number, not that of their voxels, limits what may be claimed",
            **asdict(self),
            "bins": self.bins.tolist(),
            "shares": [float(f"{share:.6g}") for share in self.shares],
        }
        write_json(file, content)


def count_scores(scores: np.ndarray) -> np.ndarray:
    """Return how many of the scores (n,) of one scan's brain voxels lie in each bin, (2 ** BITS,)."""
    return np.bincount(bin_of(scores, BITS), minlength=1 << BITS)


def load_calibration(run: str | Path, model: Model) -> Calibration | None:
    """Return the calibration of a run, None where it has none.

    Raises:
        UsageError: where the file is damaged, or of other weights or settings.
    """
    file = Run(Path(run)).calibration
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        newer = content["format"] > FORMAT
        known = (content["model"], content["settings"])
        calibration = Calibration(
            np.asarray(content["bins"], np.int64),
            np.asarray(content["shares"], np.float64),
            int(content["voxels"]),
            int(content["scans"]),
            float(content["brain_ml"]),
            Familiarity(**content["familiarity"]),
            sha256_of(file),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a calibration ({reason_of(error)}); copy the model again") from error
    if newer:
        raise UsageError(f"{file}: written by a newer version of this program; update it")
    if known != (model.fingerprint, {key: model.settings[key] for key in CALIBRATED_SETTINGS}):
        raise UsageError(
            f"{file}: of other weights or other score settings than this model's; delete it and repeat "
            "the training's command with --config RUN/configs/train.yaml --resume, which only calibrates anew"
        )
    return calibration
