"""The results of an evaluation as values, and metrics.json, which keeps them.

What cannot be computed is None, and null in the file with the reason beside it: `KEY_reason` for one number, `reason`
for a score of which nothing is known.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.evaluation.lesion_results import LesionMetrics
from pipeline.evaluation.paired import PairedDifference
from pipeline.evaluation.reasoned import Interval, Reasoned
from pipeline.evaluation.verdict import Verdict, verdict
from pipeline.files import write_json


@dataclass(frozen=True)
class VoxelMetrics(Reasoned):
    """How well a score tells annotated voxels from the others.

    Attributes:
        ap: average precision.
        auroc_brain: area under the ROC curve, voxels of brain or label.
        auroc_all: the same with the zeros outside the brain.
        best_dice: Dice at the threshold that is best on these cases.
        best_threshold: that threshold.
        dice_at_fpr: Dice at the calibrated threshold.
        dice_20_80: Dice at the threshold of a fifth of the cases on the others, mean over random splits.
        dice_20_80_sd: its standard deviation over the splits.
        ap_ci, best_dice_ci: 95 % intervals over the cases.
    """

    ap: float | None = None
    auroc_brain: float | None = None
    auroc_all: float | None = None
    best_dice: float | None = None
    best_threshold: float | None = None
    dice_at_fpr: float | None = None
    dice_20_80: float | None = None
    dice_20_80_sd: float | None = None
    ap_ci: Interval | None = None
    best_dice_ci: Interval | None = None

    omitted: ClassVar[tuple[str, ...]] = ("best_threshold", "dice_20_80_sd")


@dataclass(frozen=True)
class SliceScore:
    """How well a score tells anomalous slices from normal ones; `reason` says why it is None."""

    auroc: float | None = None
    ap: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class SliceMetrics:
    """The slice-wise results.

    Attributes:
        normal, anomalous: numbers of slices.
        scores: by the score's name.
        kl_q95: 0.95 quantile of the KL divergence, nats.
        active_latents: number of latents whose mean varies.
        kl_q95_reason: why it is None.
    """

    normal: int
    anomalous: int
    scores: dict[str, SliceScore]
    kl_q95: float | None
    active_latents: int
    kl_q95_reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the results as metrics.json has them, the scores beside the numbers."""
        scores = {name: asdict(score) for name, score in self.scores.items()}
        for score in scores.values():
            if not score["reason"]:
                del score["reason"]
        reason = {"kl_q95_reason": self.kl_q95_reason} if self.kl_q95_reason else {}
        numbers = {"kl_q95": self.kl_q95, **reason, "active_latents": self.active_latents}
        return {"normal": self.normal, "anomalous": self.anomalous, **scores, **numbers}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SliceMetrics":
        """Return what `to_json` has written."""
        scores = {name: SliceScore(**value) for name, value in content.items() if isinstance(value, dict)}
        return cls(scores=scores, **{key: value for key, value in content.items() if key not in scores})


@dataclass(frozen=True)
class Metrics:
    """All results of an evaluation.

    Attributes:
        cohort: name of the datalist's folder.
        split: the split that was scored.
        model: SHA-256 of the weights.
        data: fingerprint of the split.
        cases: number of scans that were scored.
        without_label: names of the scans that were left out.
        failed: the reason of each scan that could not be scored, by its file.
        trained_on: names of the scans that the model was trained on, None where it does not tell.
        slices, lesions: the slice-wise and the lesion-wise results.
        voxels: of each score of the model; `pixels` in metrics.json.
        baselines: of each score without a model.
        paired: what `recommended` has more than each baseline, by the baseline's name.
    """

    cohort: str
    split: str
    model: str
    data: str
    cases: int
    without_label: list[str]
    failed: dict[str, str]
    trained_on: list[str] | None
    slices: SliceMetrics
    voxels: dict[str, VoxelMetrics]
    baselines: dict[str, VoxelMetrics]
    paired: dict[str, PairedDifference]
    lesions: LesionMetrics

    @property
    def verdict(self) -> Verdict:
        """Whether the model is better than the same path without a model."""
        baselines = {name: values.ap for name, values in self.baselines.items()}
        return verdict(self.voxels["recommended"].ap, baselines, self.paired)

    @property
    def learned(self) -> str:
        """Whether the model was trained on the scans, as a sentence."""
        if self.trained_on is None:
            return "The model does not tell whether it was trained on these scans."
        if not self.trained_on:
            return "The model was trained on none of these scans, as a comparison of their contents shows."
        named = ", ".join(self.trained_on)
        return f"The model was trained on {len(self.trained_on)} of these scans, so the results are wrong: {named}."

    def to_json(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        return {key: getattr(self, key) for key in _PLAIN} | {
            "slices": self.slices.to_json(),
            "pixels": {name: values.to_json() for name, values in self.voxels.items()},
            "baselines": {name: values.to_json() for name, values in self.baselines.items()},
            "paired": {f"{_MINUS}{name}": difference.to_json() for name, difference in self.paired.items()},
            "lesions": self.lesions.to_json(),
            "verdict": self.verdict.sentence,
        }

    def write(self, file: Path) -> None:
        """Write metrics.json."""
        write_json(file, self.to_json())


_PLAIN = ("cohort", "split", "model", "data", "cases", "without_label", "failed", "trained_on")
"""What metrics.json has as it is."""

_MINUS = "recommended - "
"""What the keys of `paired` begin with in metrics.json."""


def read_metrics(file: Path) -> Metrics | None:
    """Return the content of metrics.json, None if the file is missing or is not one that `evaluate` made."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        values = {key: content[key] for key in _PLAIN}
        for key, part in (("voxels", "pixels"), ("baselines", "baselines")):
            values[key] = {name: VoxelMetrics.from_json(numbers) for name, numbers in content[part].items()}
        values["paired"] = {
            name.removeprefix(_MINUS): PairedDifference.from_json(numbers)
            for name, numbers in content["paired"].items()
        }
        values["slices"] = SliceMetrics.from_json(content["slices"])
        values["lesions"] = LesionMetrics.from_json(content["lesions"])
        return Metrics(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
