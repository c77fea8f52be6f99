"""Provenance: where a calibration comes from that was made anew, and how much the former and the new threshold mark."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95
"""Nominal probability that the interval of a mean holds the mean over many scans."""


@dataclass(frozen=True)
class FalsePositives:
    """The share of healthy brain voxels that a threshold marks, scan by scan.

    Attributes:
        scans: number of the scans.
        mean, median, highest: of their shares, 0 to 1.
        interval: t interval of the mean, within 0 to 1; None for a single scan. A few odd scans make most of the mean,
            so it is rather too narrow.
    """

    scans: int
    mean: float
    median: float
    highest: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, shares: np.ndarray) -> "FalsePositives":
        """Return it from the share of each scan, (n,)."""
        number, mean, interval = len(shares), float(shares.mean()), None
        if number > 1:
            half = float(t.ppf((1 + CONFIDENCE) / 2, number - 1) * shares.std(ddof=1) / np.sqrt(number))
            interval = (max(mean - half, 0.0), min(mean + half, 1.0))
        return cls(number, mean, float(np.median(shares)), float(shares.max()), interval)

    @classmethod
    def read(cls, content: Mapping[str, Any] | None) -> "FalsePositives | None":
        """Return it from the values of its JSON."""
        if content is None:
            return None
        interval = content["interval"]
        return cls(**{**content, "interval": None if interval is None else (float(interval[0]), float(interval[1]))})

    @property
    def interval_text(self) -> str:
        """The interval in words, empty if there is none."""
        return "" if self.interval is None else f"{percent(self.interval[0])} to {percent(self.interval[1])}"

    @property
    def text(self) -> str:
        """All values in words."""
        interval = f" (interval {self.interval_text})" if self.interval is not None else ""
        return f"mean {percent(self.mean)}{interval}, median {percent(self.median)}, highest {percent(self.highest)}"


@dataclass(frozen=True)
class Provenance:
    """Where a calibration comes from that was made anew for a trained model. It names no scan.

    Attributes:
        date: day of its making, in UTC.
        version: version of this program.
        former: SHA-256 of the calibration that it replaced; empty if the model had none.
        former_scans: number of healthy scans of that one.
        fpr: the share that both thresholds are asked for.
        by_former: what the former threshold marks in the new healthy scans; None if there was none.
        by_new: what the new one marks by leave-one-out, each scan with the threshold of the others; None for one scan.
    """

    date: str
    version: str
    former: str
    former_scans: int
    fpr: float
    by_former: FalsePositives | None
    by_new: FalsePositives | None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Provenance":
        """Return it from the values of its JSON."""
        measured = {key: FalsePositives.read(content[key]) for key in ("by_former", "by_new")}
        return cls(**{**content, **measured})

    def note(self, scans: int) -> str:
        """Return it in words, given the number of scans of the calibration."""
        text = f"Calibrated anew with {scans} scan{'s' * (scans != 1)} on {self.date} by version {self.version}"
        if not self.former:
            text += ", because the model had no calibration"
        else:
            former = f"{self.former_scans} scan{'s' * (self.former_scans != 1)} (SHA-256 {self.former})"
            text += f", in place of a calibration with {former}"
        text += f". Share of a healthy brain that is asked for: {percent(self.fpr)}"
        if self.by_former is not None:
            text += f". The former threshold marks of these scans: {self.by_former.text}"
        if self.by_new is not None:
            text += f". The new one, by leave-one-out: {self.by_new.text}"
        return text


def percent(share: float) -> str:
    """Return a share as text in percent, with three digits."""
    return f"{100 * share:.3g} %"
