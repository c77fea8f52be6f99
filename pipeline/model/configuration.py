"""Configurations: the bundle's own, what a user changes of them, and the copy that a run keeps."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError

_ROOT = Path(__file__).parents[2]
BUNDLE = bundle if (bundle := _ROOT / "bundles" / "brain_mri_cevae").is_dir() else _ROOT
"""The bundle that every run starts as a copy of: the project's, or the packed one that this code travels in."""


def training_configuration(config: str = "train", settings: Sequence[str] = (), **fixed: Any) -> str:
    """Return the text of a training configuration: train.yaml with the changes asked for, its comments kept.

    Args:
        config: "train", "train_paper" or the path of a YAML file whose keys replace those of train.yaml.
        settings: changes "key=value"; a key inside another one is written `outer::inner`.
        fixed: further top-level keys and their values, such as the seed.

    Raises:
        UsageError: for a file that cannot be read, an unknown key, or a value of another type than the default.
    """
    text = (BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8")
    if config != "train":
        text = _with_file(text, config)
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {setting}: the value is not YAML") from error
        text = _with_setting(text, key.strip(), parsed)
    return with_settings(text, fixed)


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return a configuration's text with top-level keys set to other values, its comments kept.

    Raises:
        UsageError: for an unknown key, or a value of another type than the one there.
    """
    for key, value in settings.items():
        text = _with_setting(text, key, value)
    return text


def settings_of(text: str) -> dict[str, Any]:
    """Return the keys and values of a configuration's text."""
    return yaml.safe_load(text)


def _with_file(text: str, config: str) -> str:
    path = BUNDLE / "configs" / "train_paper.yaml" if config == "train_paper" else Path(config)
    try:
        overlay = path.read_text(encoding="utf-8")
        keys = list(settings_of(overlay).keys())
    except (OSError, yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--config {config}: cannot be read as YAML; give train, train_paper or the path of a file"
        ) from error
    defaults = settings_of(text)
    for key in keys:
        block = _block(str(key)).search(overlay)
        if block is None:
            raise UsageError(f"{config}: write `{key}` as a plain key at the start of a line")
        known = _block(str(key)).search(text)
        if known is not None:
            value = settings_of(overlay)[key]
            if not (isinstance(value, str) and value.startswith(("@", "$"))):
                _check_type(key, value, defaults[key])
            text = text[: known.start()] + block[0].rstrip("\n") + "\n" + text[known.end() :]
        elif re.search(rf"@{re.escape(key)}\b", text + overlay):
            text = text.rstrip("\n") + "\n\n" + block[0]
        else:
            raise UsageError(f"{config}: {_unknown(key, settings_of(text))}")
    return text


def _with_setting(text: str, key: str, value: Any) -> str:
    """Return the text with one key set, its comment kept."""
    outer, *inner = key.split("::")
    settings = settings_of(text)
    known: Any = settings
    for part in (outer, *inner):
        if not isinstance(known, Mapping) or part not in known:
            raise UsageError(_unknown(part, known if isinstance(known, Mapping) else settings))
        known = known[part]
    _check_type(key, value, known)
    if inner:
        target = settings[outer]
        for part in inner[:-1]:
            target = target[part]
        target[inner[-1]] = value
        value = settings[outer]
    block = _block(outer).search(text)
    if block is None:
        raise UsageError(f"`{outer}` cannot be set: it is not a plain key of the configuration")
    comment = re.match(r"[^#\n]*(#[^\n]*)?", block[0])
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    line = f"{outer}: {dumped}"
    if comment is not None and comment[1]:
        line = f"{line:<28} {comment[1]}"
    return text[: block.start()] + line + "\n" + text[block.end() :]


def _block(key: str) -> re.Pattern[str]:
    """Return a pattern for a top-level key with all that is indented below it."""
    inside = r"(?:(?:[ \t]*\n)*(?:[ \t]+\S|-(?=\s)).*(?:\n|\Z))*"  # indented, or items of a list that is not
    return re.compile(rf"^{re.escape(str(key))}:.*(?:\n|\Z){inside}", re.MULTILINE)


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    nearest = difflib.get_close_matches(str(key), [str(k) for k in known], n=1, cutoff=0.0)
    return f"unknown key `{key}`; the nearest known one is `{nearest[0]}`"


def _check_type(key: str, value: Any, known: Any) -> None:
    def is_number(x: Any) -> bool:
        return isinstance(x, (int, float)) and not isinstance(x, bool)

    wrong = (
        (isinstance(known, bool) and not isinstance(value, bool))
        or (is_number(known) and not is_number(value))
        or (isinstance(known, list) and not isinstance(value, list))
        or (isinstance(known, list) and [is_number(x) for x in value] != [is_number(x) for x in known])
        or (key.split("::")[-1] in ("features", "number") and not all(map(_is_whole, value)))
        or (isinstance(known, dict) and not isinstance(value, dict))
        or (key.split("::")[-1] in _WHOLE and not _is_whole(value))
    )
    if wrong:
        raise UsageError(f"`{key}` is {value!r}, but must be like {known!r}")
    if is_number(known) and key in _POSITIVE and value <= 0:
        raise UsageError(f"`{key}` is {value!r}, but must be above 0")
    if key in ("seed", "early_stopping") and value < 0:
        raise UsageError(f"`{key}` is {value!r}, but must not be negative")


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


_WHOLE = (
    "size", "epochs", "batch_size", "latent_channels", "seed", "val_interval", "checkpoint_interval",
    "early_stopping", "channels", "resolution",
)  # fmt: skip
_POSITIVE = (
    "size", "field_of_view", "epochs", "batch_size", "learning_rate", "latent_channels",
    "val_interval", "checkpoint_interval", "channels",
)  # fmt: skip


def load_configuration(configuration: Path | dict[str, Any], **values: Any) -> Any:
    """Return MONAI's `ConfigParser` of a configuration or its file, with some of its keys set to other values."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(configuration if isinstance(configuration, dict) else str(configuration))
    for key, value in values.items():
        parser[key] = value
    return parser


def build(parser: Any, key: str) -> Any:
    """Build the object that a key of a configuration describes.

    Raises:
        UsageError: if a constructor rejects a value.
    """
    try:
        return parser.get_parsed_content(key)
    except RuntimeError as error:  # MONAI's, around the error of what it calls
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (UsageError, ValueError, TypeError)):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UsageError(str(cause)) from error
