"""The model: the folder of a run, its settings, the trained network, and its way into one file and back."""

from pipeline.model.configuration import (
    BUNDLE,
    build,
    load_configuration,
    settings_of,
    training_configuration,
    with_settings,
)
from pipeline.model.packing import pack
from pipeline.model.run import Run
from pipeline.model.settings import CALIBRATED_SETTINGS, FIXED_AT_TRAINING, FORMER_SETTINGS
from pipeline.model.shipped import ShippedModel, shipped_models
from pipeline.model.trained import Model, load_model
from pipeline.model.unpacking import open_model

__all__ = [
    "BUNDLE",
    "CALIBRATED_SETTINGS",
    "FIXED_AT_TRAINING",
    "FORMER_SETTINGS",
    "Model",
    "Run",
    "ShippedModel",
    "build",
    "load_configuration",
    "load_model",
    "open_model",
    "pack",
    "settings_of",
    "shipped_models",
    "training_configuration",
    "with_settings",
]
