"""Configurations: the bundle's own, what a user changes of them, and the copy that a run keeps."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipeline.errors import UsageError
from pipeline.model.commented_yaml import parse, put, text_of
from pipeline.model.settings import SETTINGS, check_setting

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
        UsageError: for a file that cannot be read, an unknown key, or a wrong value.
    """
    text = (BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8")
    if config != "train":
        text = _with_file(text, config)
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as key=value")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {setting}: the value is not YAML") from error
    return with_settings(text, changes | fixed)


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return a configuration's text with keys, written `outer::inner`, set to other values; its comments are kept.

    Raises:
        UsageError: for an unknown key, or a wrong value.
    """
    document = parse(text)
    for path, value in settings.items():
        *outer, key = path.split("::")
        parent: Any = document
        for part in outer:
            parent = _inside(parent, part, document)
        check_setting(path, value, _inside(parent, key, document))
        put(parent, key, value)
    return text_of(document)


def settings_of(text: str) -> dict[str, Any]:
    """Return the keys and values of a configuration's text."""
    return yaml.safe_load(text)


def _inside(parent: Any, key: str, document: CommentedMap) -> Any:
    """Return the value of a known key."""
    if not isinstance(parent, Mapping) or key not in parent:
        raise UsageError(_unknown(key, parent if isinstance(parent, Mapping) else document))
    return parent[key]


def _with_file(text: str, config: str) -> str:
    """Return a configuration's text with the keys of a user's file in place of its own."""
    path = BUNDLE / "configs" / "train_paper.yaml" if config == "train_paper" else Path(config)
    try:
        overlay = path.read_text(encoding="utf-8")
        values, blocks = dict(settings_of(overlay).items()), parse(overlay)
    except (OSError, yaml.YAMLError, YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--config {config}: cannot be read as YAML; give train, train_paper or the path of a file"
        ) from error
    document = parse(text)
    for key, value in values.items():
        if key in document:
            _check_block(str(key), value, document[key])
        elif not re.search(rf"@{re.escape(str(key))}\b", text + overlay):
            raise UsageError(f"{config}: {_unknown(str(key), document)}")
        put(document, key, blocks[key])
    return text_of(document)


def _check_block(key: str, value: Any, known: Any) -> None:
    """Check a value of a file, and the settings inside it; one that refers to others is left to MONAI."""
    if isinstance(value, str) and value.startswith(("@", "$")):
        return
    check_setting(key, value, known)
    if isinstance(known, dict):
        for inner in value.keys() & known.keys():
            if f"{key}::{inner}" in SETTINGS:
                _check_block(f"{key}::{inner}", value[inner], known[inner])


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    nearest = difflib.get_close_matches(key, [str(k) for k in known], n=1, cutoff=0.0)
    return f"unknown key `{key}`; the nearest known one is `{nearest[0]}`"


def load_configuration(configuration: Path | dict[str, Any], **values: Any) -> Any:
    """Return MONAI's `ConfigParser` of a configuration or its file, with some of its keys set to other values.

    Give a path as `Path`: in a text, MONAI takes # for ::.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(configuration if isinstance(configuration, dict) else str(configuration))
    for key, value in values.items():
        parser[key] = value
    return parser


def build(parser: Any, key: str) -> Any:
    """Build the object that a key of a configuration describes.

    Raises:
        UsageError: if a constructor rejects a value, or the configuration names code that is not there.
    """
    try:
        return parser.get_parsed_content(key)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{str(error).rstrip('.')}; install its package, or if a former version of this program wrote the "
            "configuration, take that file from a new run"
        ) from error
    except RuntimeError as error:  # MONAI's, around the error of what it calls
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (UsageError, ValueError, TypeError)):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UsageError(str(cause)) from error
