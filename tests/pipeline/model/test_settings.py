"""The table of settings and train.yaml name the same settings, and what is taken from the table is what it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE, settings_of
from pipeline.model.settings import CALIBRATED_SETTINGS, FIXED_AT_TRAINING, SETTINGS, check_setting


def hyperparameters() -> dict[str, Any]:
    """Return the settings of train.yaml by key: what stands above its section on places."""
    text = (BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8").split("# --- where things are")[0]
    found: dict[str, Any] = {}
    for key, value in settings_of(text).items():
        inner = {f"{key}::{name}": inside for name, inside in value.items()} if isinstance(value, dict) else {}
        found |= inner or {key: value}
    return found


def test_the_table_has_the_settings_of_train_yaml_in_their_order() -> None:
    assert list(SETTINGS) == list(hyperparameters())


@pytest.mark.parametrize("key", SETTINGS)
def test_every_default_is_allowed(key: str) -> None:
    default = hyperparameters()[key]
    check_setting(key, default, default)


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_refuses_another_kind_by_name(key: str) -> None:
    with pytest.raises(UsageError, match=f"`{key}` must be|unknown {key.replace('_', ' ')}"):
        check_setting(key, {"no": "value"}, hyperparameters()[key])


def test_the_weights_are_kept_with_the_settings_that_they_depend_on(run: Path) -> None:
    settings = settings_of((run / "configs" / "train.yaml").read_text())
    written = json.loads((run / "models" / "model.json").read_text())
    assert written == {key: settings[key] for key in FIXED_AT_TRAINING}
    assert written["features"] == [4, 4, 8, 8]


def test_the_calibration_is_kept_with_the_settings_of_the_score(run: Path) -> None:
    settings = settings_of((run / "configs" / "train.yaml").read_text())
    written = json.loads((run / "models" / "calibration.json").read_text())["settings"]
    assert written == {key: settings[key] for key in CALIBRATED_SETTINGS}
    assert set(written) == {
        "polarity", "smoothing", "smoothing_between_slices", "symmetry", "symmetry_other_sign", "reconstruction_share",
    }  # fmt: skip
