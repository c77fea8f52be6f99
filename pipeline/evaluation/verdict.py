"""The verdict of an evaluation: whether the model is worth anything beside scores that need no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pipeline.evaluation.paired import PairedDifference

SAME_PATH = "intensity_same_path"
"""The baseline that the model is held against: the same path without a model."""


class Outcome(Enum):
    """Whether the model is worth anything."""

    BETTER = "better"
    WORSE = "worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Whether the model is better than a baseline, and the sentences that say so."""

    outcome: Outcome
    sentence: str


def verdict(
    recommended: float | None, baselines: Mapping[str, float | None], paired: Mapping[str, PairedDifference]
) -> Verdict:
    """Return whether `recommended` is better than the same path without a model, by the interval of the difference.

    The model is worse, too, if the strongest of the other baselines is better than it.

    Args:
        recommended: its average precision, None if unknown.
        baselines: that of each baseline.
        paired: what `recommended` has more than each baseline.
    """
    same_path = baselines.get(SAME_PATH)
    if recommended is None or same_path is None:
        return Verdict(Outcome.UNKNOWN, "Nothing can be told: there are no annotated voxels, or no others.")
    outcome = (Outcome.UNKNOWN, Outcome.BETTER, Outcome.WORSE)[paired[SAME_PATH].sign]
    numbers = _numbers(recommended, same_path, paired[SAME_PATH])
    others = {name: ap for name, ap in baselines.items() if ap is not None and name != SAME_PATH}
    strongest = max(others, key=lambda name: others[name], default=None)
    if strongest is not None and paired[strongest].sign < 0:
        sentences = [
            f"`recommended` is worse than {strongest}, which needs no model: "
            f"{_numbers(recommended, others[strongest], paired[strongest])}.",
            f"Beside the same path without a model: {numbers}.",
            "So the model is of no use on this cohort.",
        ]
        return Verdict(Outcome.WORSE, " ".join(sentences))
    return Verdict(
        outcome,
        {
            Outcome.BETTER: f"`recommended` is better than the same path without a model: {numbers}.",
            Outcome.WORSE: f"`recommended` is worse than the same path without a model: {numbers}. "
            "So the model is of no use on this cohort.",
            Outcome.UNKNOWN: "It cannot be told whether the model adds anything to the same path without a model: "
            f"{numbers}.",
        }[outcome],
    )


def _numbers(ours: float, theirs: float, difference: PairedDifference) -> str:
    """Return both average precisions, their difference and its interval, or why there is none."""
    text = f"AP {ours:.3f} against {theirs:.3f}, a difference of {ours - theirs:+.3f}"
    if difference.ap_ci is None:
        return f"{text} without an interval, for {difference.why('ap_ci')}"
    low, high = difference.ap_ci
    return f"{text} (95 % interval over the patients: {low:+.3f} to {high:+.3f})"
