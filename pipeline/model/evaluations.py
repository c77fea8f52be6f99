"""Evaluations of a model as the model card and the metadata need them: the part of metrics.json that they show."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError


@dataclass(frozen=True)
class ScoreSummary:
    """How well a score tells annotated voxels from the others; None is unknown."""

    ap: float | None
    auroc_brain: float | None
    best_dice: float | None
    dice_20_80: float | None
    dice_at_fpr: float | None


@dataclass(frozen=True)
class EvaluationSummary:
    """An evaluation in short.

    Attributes:
        cohort, split: what was scored.
        cases: number of its scans.
        voxels: of each score of the model.
        baselines: of each score without a model.
    """

    cohort: str
    split: str
    cases: int
    voxels: dict[str, ScoreSummary]
    baselines: dict[str, ScoreSummary]


def read_evaluation(folder: Path) -> EvaluationSummary:
    """Return the evaluation in a folder.

    Raises:
        UsageError: if it is not a folder that `evaluate` wrote.
    """
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        voxels, baselines = (_scores(content[part]) for part in ("pixels", "baselines"))
        voxels["recommended"]  # the one that every card needs
        return EvaluationSummary(content["cohort"], content["split"], content["cases"], voxels, baselines)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder}: not an evaluation; give the folder that `evaluate --output` wrote") from error


def _scores(content: Mapping[str, Any]) -> dict[str, ScoreSummary]:
    keys = ScoreSummary.__dataclass_fields__
    return {name: ScoreSummary(**{key: values.get(key) for key in keys}) for name, values in content.items()}
