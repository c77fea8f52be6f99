"""The plain values of a bundle on this program's own blocks: so a bundle is read whose code is not run.

It may be packed, and nobody trusts its code; or a former version wrote it, and its code is no longer there.
"""

from typing import Any

from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE, settings_of, with_settings
from pipeline.model.settings import FORMER_SETTINGS

MACHINE_KEYS = {
    "bundle_root", "dataset_dir", "bank_dir", "mask_dir", "output_dir", "layout", "dicom", "overwrite", "device",
    "imports",
}  # fmt: skip
"""Keys that belong to the machine, not to the model."""

GUARDED_BLOCKS = {"train.yaml": ("preprocessing", "network_def"), "inference.yaml": ("inferer",)}
"""Blocks that must equal the installed bundle's: with others the bundle needs code of its own."""

FORMER_INFERER = {
    "_target_": "pipeline.scoring.SliceScorer",
    "batch_size": "@batch_size",
    "slice_axis": "$@model.settings['slice_axis']",
    "reconstruction": "$@model.settings['reconstruction']",
    "polarity": "$@model.settings['polarity']",
    "smoothing": "$@model.smoothing",
    "symmetry": "$@model.symmetry",
    "reconstruction_share": "$@model.reconstruction_share",
}
"""Block `inferer` of format 1: it names the score options one by one, and scores as `model.score_options()` does."""

FORMER_READING = {
    "_target_": "pipeline.scans.ReadCase",
    "preprocessing": "$@model.preprocessing",
    "channels": "$@model.settings['channels']",
}
"""Block `preprocessing` from the time before brain extraction."""

BIAS_CORRECTION = "transforms.CorrectBiasFieldd"
"""The step of the preprocessing that former versions do not have: with `bias_correction: none` it does nothing."""


def is_former(inference: dict[str, Any]) -> bool:
    """Return whether a former version wrote an inference configuration, so that parts of it are no longer there."""
    return bool(inference.get("inferer") == FORMER_INFERER or inference.get("preprocessing") == FORMER_READING)


def on_installed_blocks(name: str, settings: dict[str, Any]) -> str:
    """Return the text of one of the installed configurations with the plain values of another.

    Args:
        name: of the installed one, such as "train.yaml".
        settings: keys and values of the other.

    Raises:
        UsageError: if a guarded block is another, or code stands in place of a plain value.
    """
    text = (BUNDLE / "configs" / name).read_text(encoding="utf-8")
    ours, settings = settings_of(text), FORMER_SETTINGS | settings
    for block in GUARDED_BLOCKS[name]:
        if settings.get(block) != ours[block] and not _is_former_block(block, settings, ours):
            raise UsageError(f"its `{block}` is not this program's; unzip it and give its folder if you trust its code")
    values = {
        key: settings[key] for key in ours if key in settings and key not in MACHINE_KEYS and _is_plain(ours[key])
    }
    for key, value in values.items():
        if not _is_plain(value):
            raise UsageError(f"`{key}` must be a plain value, not code")
    return with_settings(text, values)


def _is_former_block(block: str, settings: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Return whether a guarded block is that of a former version, and does what the installed one does."""
    if block == "inferer":
        return is_former(settings)
    if block != "preprocessing" or settings["bias_correction"] != "none":
        return False
    steps = [step for step in ours[block]["transforms"] if step["_target_"] != BIAS_CORRECTION]
    return bool(settings.get(block) == ours[block] | {"transforms": steps})


def _is_plain(value: Any) -> bool:
    """Return whether a value is none that MONAI would look up, run or build."""
    if isinstance(value, dict):
        return "_target_" not in value and all(isinstance(key, str) and _is_plain(value[key]) for key in value)
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not (isinstance(value, str) and any(sign in value for sign in "$@%"))
