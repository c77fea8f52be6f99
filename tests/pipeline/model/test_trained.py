"""What a model's settings mean for its score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.trained import Model, load_model


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run, "cpu")


def with_settings(model: Model, **settings: Any) -> Model:
    return replace(model, settings={**model.settings, **settings})


def test_a_sagittal_slice_has_no_other_side(model: Model) -> None:
    symmetry = {
        axis: with_settings(model, slice_axis=axis, symmetry=0.4).score_options().symmetry
        for axis in ("axial", "sagittal")
    }
    assert symmetry == {"axial": 0.4, "sagittal": 0.0}


def test_all_of_the_reconstruction_is_subtracted_where_dark_lesions_count(model: Model) -> None:
    share = {
        polarity: with_settings(model, polarity=polarity, reconstruction_share=0.8).score_options().reconstruction_share
        for polarity in ("bright", "dark", "both")
    }
    assert share == {"bright": 0.8, "dark": 1.0, "both": 1.0}


def test_smoothing_in_millimetres_becomes_pixels(model: Model) -> None:
    assert with_settings(model, smoothing=6.0, size=64, field_of_view=192.0).score_options().smoothing == 2.0
