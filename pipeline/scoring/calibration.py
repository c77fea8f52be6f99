"""Calibration: how high healthy scans score, so that a score can be read as a surprise.

    surprise(s) = -log10((1 + N p(s)) / (1 + N))

where p(s) is the share of healthy brain voxels that score s or more, averaged over the scans so that each scan has the
same weight, and N is the number of these voxels. The scans are healthy, and the model was not trained on them. The
precision depends on the number of scans, not of voxels: voxels of one scan are much alike, and the next scan differs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError, reason_of
from pipeline.files import sha256_of, write_json
from pipeline.model import CALIBRATED_SETTINGS, FORMER_SETTINGS, Model, Run
from pipeline.scoring.familiarity import Facts, Familiarity
from pipeline.scoring.provenance import Provenance
from pipeline.scoring.score_bins import bin_of, edge_of

CALIBRATION_BITS = 16
"""Leading bits of a float32 that make its bin: neighbouring bins differ by 0.8 percent at most."""

CALIBRATION_FORMAT = 1
"""File format version; increase on incompatible changes."""


@dataclass(frozen=True)
class Calibration:
    """The distribution of `recommended` in healthy brains.

    Attributes:
        bins: bins of the scores, ascending.
        shares: for each bin, the share of healthy voxels that score in it or higher; all scans have the same weight.
        voxels: number of these voxels, N.
        scans: number of the healthy scans.
        brain_ml: mean brain volume of the scans, ml.
        familiarity: limits for the check whether a scan resembles these and some training scans.
        fingerprint: SHA-256 of the file that it was read from.
        provenance: where it comes from if it replaced another one; None if it is that of the training.
    """

    bins: np.ndarray
    shares: np.ndarray
    voxels: int
    scans: int
    brain_ml: float
    familiarity: Familiarity = field(default_factory=Familiarity)
    fingerprint: str = ""
    provenance: Provenance | None = None

    @classmethod
    def of(cls, counts: Sequence[np.ndarray], brain_ml: float, facts: Sequence[Facts] = ()) -> "Calibration":
        """Return the calibration from the `count_scores` of each healthy scan."""
        mass = np.mean([count / count.sum() for count in counts], axis=0)
        bins = np.flatnonzero(mass)
        shares = np.minimum(np.cumsum(mass[bins][::-1])[::-1], 1.0)
        voxels = int(sum(count.sum() for count in counts))
        return cls(bins, shares, voxels, len(counts), brain_ml, Familiarity.of(facts))

    def surprise(self, recommended: np.ndarray) -> np.ndarray:
        """Return the surprise of scores, of any shape, in float32: 2 is one voxel in a hundred of a healthy brain."""
        # A table of all bins turns a volume into a look-up.
        place = np.searchsorted(self.bins, np.arange(1 << CALIBRATION_BITS))
        share = np.append(self.shares, 0.0)[place]
        table = -np.log10((1 + self.voxels * share) / (1 + self.voxels))
        return np.maximum(table, 0).astype(np.float32)[bin_of(recommended, CALIBRATION_BITS)]

    @property
    def smallest_fpr(self) -> float:
        """The smallest share of healthy voxels that a threshold can be chosen for, rounded up to two digits.

        It is one voxel of each scan on average, and no less than the share of the highest score: beyond it, every
        threshold is the same. Healthy voxels that all score alike set no such limit.
        """
        highest = float(self.shares[-1]) if len(self.shares) > 1 else 0.0
        smallest = max(self.scans / self.voxels, highest)
        unit = 10.0 ** (np.floor(np.log10(smallest)) - 1)
        return float(f"{np.ceil(smallest / unit) * unit:.1e}")

    def threshold(self, fpr: float) -> float:
        """Return the lowest score that at most a share `fpr` of healthy voxels reaches."""
        few = np.flatnonzero(self.shares <= fpr)
        chosen = self.bins[few[0]] if len(few) else self.bins[-1] + 1
        return float(edge_of(np.asarray([chosen]), CALIBRATION_BITS)[0])

    def save(self, file: Path, model: Model) -> None:
        """Write it to a JSON file, with the model and the settings that it belongs to."""
        note = f"{self.scans} healthy scans: the precision depends on their number, not on the number of voxels"
        if self.provenance is not None:
            note += f". {self.provenance.note(self.scans)}"
        content = {
            "format": CALIBRATION_FORMAT,
            "model": model.fingerprint,
            "settings": {key: model.settings[key] for key in CALIBRATED_SETTINGS},
            "note": note,
            **asdict(self),
            "bins": self.bins.tolist(),
            "shares": [float(f"{share:.6g}") for share in self.shares],
        }
        write_json(file, content)


def count_scores(scores: np.ndarray) -> np.ndarray:
    """Return the number of scores in each bin, (2 ** CALIBRATION_BITS,), given the scores (n,) of one scan's brain."""
    return np.bincount(bin_of(scores, CALIBRATION_BITS), minlength=1 << CALIBRATION_BITS)


def shares_above(threshold: float, counts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the share of each scan's voxels that score `threshold` or more, (n,), given the `count_scores` of each.

    Args:
        threshold: as `Calibration.threshold` returns it: the lowest score of a bin.
        counts: the scores of each scan's brain.
    """
    first = int(bin_of(np.asarray([threshold]), CALIBRATION_BITS)[0])
    return np.asarray([count[first:].sum() / count.sum() for count in counts])


def leave_one_out(counts: Sequence[np.ndarray], fpr: float) -> np.ndarray:
    """Return the share of each scan's voxels that pass the threshold of the others, (n,).

    Args:
        counts: the `count_scores` of each scan's brain, two scans at least.
        fpr: the share that the threshold is asked for.
    """
    shares = []
    for i, own in enumerate(counts):
        others = Calibration.of([*counts[:i], *counts[i + 1 :]], brain_ml=0.0)
        shares.append(shares_above(others.threshold(fpr), [own])[0])
    return np.asarray(shares)


def load_calibration(run: str | Path, model: Model) -> Calibration | None:
    """Return the calibration of a run, None if it has none.

    Raises:
        UsageError: if the file is damaged, or belongs to other weights or settings.
    """
    file = Run.at(run).calibration
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        newer = content["format"] > CALIBRATION_FORMAT
        settings = FORMER_SETTINGS | content["settings"]
        known = (content["model"], {key: settings.get(key) for key in CALIBRATED_SETTINGS})
        calibration = Calibration(
            np.asarray(content["bins"], np.int64),
            np.asarray(content["shares"], np.float64),
            int(content["voxels"]),
            int(content["scans"]),
            float(content["brain_ml"]),
            Familiarity(**content["familiarity"]),
            sha256_of(file),
            None if (provenance := content.get("provenance")) is None else Provenance.read(provenance),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a calibration ({reason_of(error)}); copy the model again") from error
    if newer:
        raise UsageError(f"{file}: a newer version of this program wrote it; update this program")
    if known != (model.fingerprint, {key: model.settings[key] for key in CALIBRATED_SETTINGS}):
        raise UsageError(
            f"{file}: it belongs to other weights or other score settings than this model's; delete it and run the "
            "training command again with --config RUN/configs/train.yaml --resume, which repeats only the calibration"
        )
    return calibration
