"""The verdict of an evaluation: whether the model is worth anything beside scores that need no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """Whether the model is worth anything."""

    BETTER = "better"
    NOT_BETTER = "not-better"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Whether a model beats the baselines, and the sentence that says so."""

    outcome: Outcome
    sentence: str


def verdict(recommended: float | None, baselines: Mapping[str, float | None]) -> Verdict:
    """Return whether `recommended` is better than the best baseline.

    Args:
        recommended: its average precision, None if unknown.
        baselines: that of each baseline.
    """
    known = {name: ap for name, ap in baselines.items() if ap is not None}
    if recommended is None or not known:
        return Verdict(Outcome.UNKNOWN, "Nothing can be said: there are no annotated voxels, or no others.")
    best = max(known, key=lambda name: known[name])
    ours, theirs = f"{recommended:.3f}", f"{known[best]:.3f}"
    if recommended > known[best]:
        better = f"`recommended` (AP {ours}) is better than the best baseline without a model, {best} ({theirs})."
        return Verdict(Outcome.BETTER, better)
    return Verdict(
        Outcome.NOT_BETTER,
        f"`recommended` (AP {ours}) does NOT beat the baseline {best} (AP {theirs}), which needs no model: "
        "as it is, this model is of no use on this cohort.",
    )
