"""The table of settings: for each hyperparameter of train.yaml what it must be, and what depends on it.

A new setting needs a row here, its default with a comment in train.yaml, and the code that uses it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from networks.objective import PRECISIONS, RECONSTRUCTIONS
from networks.recommended import POLARITIES
from pipeline.errors import UsageError
from transforms import SLICE_AXES


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < float("inf")  # no .nan either


DECAYS = ("cosine", "none")
"""How the learning rate falls."""

BIAS_CORRECTIONS = ("none", "n4")
"""How the coils' shading is corrected."""

WEIGHT_PRECISIONS = ("float32", "float16")
"""Types of the weights in models/model.pt; a network loads both."""

KINDS: dict[str, Callable[[Any], bool]] = {
    "whole number": lambda x: isinstance(x, int) and not isinstance(x, bool),
    "number": _is_number,
    "text": lambda x: isinstance(x, str),
    "true or false": lambda x: isinstance(x, bool),
}
"""Kinds of values, each with its test."""


@dataclass(frozen=True)
class Setting:
    """What is known of a setting.

    Attributes:
        kind: what its value is, or each value of its list.
        length: number of values of its list; None if it is a single value.
        above: every value must be greater.
        minimum, maximum: every value must lie between them.
        choices: the values that are known; any if there are none.
        fixed_at_training: whether the weights depend on it, so that prediction refuses weights trained with another.
        in_calibration: whether it changes `recommended` after training, so that a calibration holds for one value.
        in_card: whether it stands in the model card.
        former: the value of models that are older than the setting; None if it was always there.
    """

    kind: str
    length: int | None = None
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    fixed_at_training: bool = False
    in_calibration: bool = False
    in_card: bool = False
    former: Any = None

    def check(self, key: str, value: Any, example: Any) -> None:
        """Refuse a wrong value of the setting.

        Args:
            key: the setting's name.
            value: the value.
            example: a right one.

        Raises:
            UsageError: for a value of another kind, or outside the range.
        """
        values = [value] if self.length is None else value
        if self.choices and value not in self.choices:
            raise UsageError(f"unknown {key.replace('_', ' ')} {value!r}; known are {', '.join(self.choices)}")
        right = isinstance(values, list) and len(values) == (self.length or 1) and all(map(KINDS[self.kind], values))
        if not right:
            raise UsageError(f"`{key}` must be {self._described(example)} (got {value!r})")
        if self.above is not None and min(values) <= self.above:
            raise UsageError(f"`{key}` must be above {self.above:g}, e.g. {example} (got {value!r})")
        if self.maximum is not None and not (self.minimum or 0) <= min(values) <= max(values) <= self.maximum:
            between = f"between {self.minimum or 0:g} and {self.maximum:g}"
            raise UsageError(f"`{key}` must lie {between}, e.g. {example} (got {value!r})")
        if self.minimum is not None and min(values) < self.minimum:
            raise UsageError(f"`{key}` must be {self.minimum:g} or more, e.g. {example} (got {value!r})")

    def _described(self, example: Any) -> str:
        if self.length is not None:
            return f"a list of {self.length} {self.kind}s, e.g. {example}"
        article = "a " if self.kind.endswith("number") else ""
        return article + self.kind + ("" if self.kind == "true or false" else f", e.g. {example}")


SETTINGS = {
    # the slices
    "size": Setting("whole number", above=0, fixed_at_training=True, in_card=True),
    "field_of_view": Setting("number", above=0, fixed_at_training=True, in_card=True),
    "slice_axis": Setting("text", choices=tuple(SLICE_AXES), fixed_at_training=True, in_card=True),
    "bias_correction": Setting("text", choices=BIAS_CORRECTIONS, fixed_at_training=True, in_card=True, former="none"),
    "normalisation": Setting("text", fixed_at_training=True, in_card=True),  # a user's transform may know others
    "percentiles": Setting("number", length=2, fixed_at_training=True),
    "background": Setting("number", fixed_at_training=True),
    "minimum_brain_share": Setting("number"),
    "channels": Setting("whole number", above=0, fixed_at_training=True),
    "modality": Setting("text"),
    "brain": Setting("text", in_card=True, former="none"),  # pipeline.scans knows the tools
    # the network
    "features": Setting("whole number", length=4, above=0, fixed_at_training=True, in_card=True),
    "latent_channels": Setting("whole number", above=0, fixed_at_training=True, in_card=True),
    # the objective
    "lambda": Setting("number", minimum=0, maximum=1, fixed_at_training=True, in_card=True),
    "kl_weight": Setting("number", minimum=0, fixed_at_training=True, in_card=True, former=1),
    "reconstruction": Setting("text", choices=RECONSTRUCTIONS, fixed_at_training=True, in_card=True),
    # the CE noise
    "noise": Setting("text", in_card=True),  # a key of train.yaml's `noises`, to which a user may add
    "coarse_noise::resolution": Setting("whole number"),
    "coarse_noise::strength": Setting("number", length=2),
    "lesion_noise::share": Setting("number", length=2, minimum=0, maximum=1),
    "lesion_noise::resolution": Setting("whole number", length=2, above=0),
    "lesion_noise::fill": Setting("number", length=2),
    "lesion_noise::opacity": Setting("number", length=2, minimum=0, maximum=1),
    "lesion_noise::texture": Setting("number", minimum=0, maximum=1),
    "lesion_noise::softness": Setting("number", above=0),
    "square_noise::number": Setting("whole number", length=2),
    "square_noise::size": Setting("number", length=2),
    "square_noise::fill": Setting("number", length=2),
    # augmentation
    "mirror": Setting("number"),
    "rotation": Setting("number"),
    "scale": Setting("number"),
    "shift": Setting("number"),
    "contrast": Setting("number"),
    "brightness": Setting("number"),
    # training
    "epochs": Setting("whole number", above=0, in_card=True),
    "steps": Setting("whole number", above=0, in_card=True, former=10**9),
    "batch_size": Setting("whole number", above=0, in_card=True),
    "learning_rate": Setting("number", above=0, in_card=True),
    "learning_rate_decay": Setting("text", choices=DECAYS, in_card=True, former="none"),
    "precision": Setting("text", choices=PRECISIONS, in_card=True),
    "weight_precision": Setting("text", choices=WEIGHT_PRECISIONS, in_card=True, former="float32"),
    "seed": Setting("whole number", minimum=0, in_card=True),
    "val_interval": Setting("whole number", above=0),
    "checkpoint_interval": Setting("whole number", above=0),
    "keep_best": Setting("true or false"),
    "picture_interval": Setting("whole number", minimum=0),
    "early_stopping": Setting("whole number", minimum=0),
    # the score `recommended`
    "reconstruction_share": Setting("number", minimum=0, maximum=1, in_calibration=True, in_card=True),
    "polarity": Setting("text", choices=POLARITIES, in_calibration=True, in_card=True),
    "smoothing": Setting("number", minimum=0, in_calibration=True, in_card=True),
    "smoothing_between_slices": Setting("true or false", in_calibration=True, in_card=True, former=False),
    "symmetry": Setting("number", minimum=0, maximum=1, in_calibration=True, in_card=True),
    "symmetry_other_sign": Setting("true or false", in_calibration=True, in_card=True, former=False),
}
"""The settings by key, in the order of train.yaml."""

FIXED_AT_TRAINING = tuple(key for key, setting in SETTINGS.items() if setting.fixed_at_training)
CALIBRATED_SETTINGS = tuple(key for key, setting in SETTINGS.items() if setting.in_calibration)
FORMER_SETTINGS = {key: setting.former for key, setting in SETTINGS.items() if setting.former is not None}
"""Settings that came later, with the values that keep the maps of a model, and its calibration, as they were."""
CARD_SETTINGS = tuple(key for key, setting in SETTINGS.items() if setting.in_card)


def check_setting(key: str, value: Any, known: Any) -> None:
    """Refuse a wrong value of any key of a configuration.

    Args:
        key: its path, `outer::inner`.
        value: the new value.
        known: the present one.

    Raises:
        UsageError: for a value that the table does not allow; of a key outside the table, for one of another type.
    """
    setting = SETTINGS.get(key) or _like(known)
    if setting is not None:
        setting.check(key, value, known)
    elif isinstance(known, (dict, list)) and not isinstance(value, dict if isinstance(known, dict) else list):
        raise UsageError(f"`{key}` must be a {'block of keys' if isinstance(known, dict) else 'list'} (got {value!r})")


def _like(known: Any) -> Setting | None:
    """Return what a key outside the table must be, given its present value; None if that says nothing."""
    if isinstance(known, bool):
        return Setting("true or false")
    return Setting("number") if _is_number(known) else None
