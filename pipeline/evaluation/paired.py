"""Paired differences: what a score has more than another on the same patients."""

from dataclasses import dataclass

from pipeline.evaluation.reasoned import Interval, Reasoned

RESOLUTION = 0.001
"""The smallest difference that counts: the bins of the scores move an average precision by nearly as much."""


@dataclass(frozen=True)
class PairedDifference(Reasoned):
    """The difference of two scores on the same patients.

    Attributes:
        ap, best_dice: differences of average precision and best Dice.
        ap_ci, best_dice_ci: their 95 % intervals, of a bootstrap over patients that draws both scores together.
    """

    ap: float | None = None
    ap_ci: Interval | None = None
    best_dice: float | None = None
    best_dice_ci: Interval | None = None

    @property
    def sign(self) -> int:
        """1 if average precision is higher for certain, -1 if it is lower for certain, 0 if it cannot be told."""
        if self.ap is None or self.ap_ci is None:
            return 0
        low, high = self.ap_ci
        return int(min(self.ap, low) >= RESOLUTION) - int(max(self.ap, high) <= -RESOLUTION)
