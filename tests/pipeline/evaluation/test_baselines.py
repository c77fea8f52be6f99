"""Baselines by hand: z-scores, their median, and the distance from the training scans at the same voxel."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import ball, save_scan
from scipy import ndimage

from pipeline.cohorts import Entry
from pipeline.evaluation.baselines import SOFTENING, Baselines
from pipeline.model.trained import Model, load_model
from pipeline.scoring.scan_scorer import SliceScorer, score_scan


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run, "cpu")


def z_of(voxels: np.ndarray) -> np.ndarray:
    inside = voxels > 0
    return np.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), 0)


def test_all_four_are_as_by_hand(model: Model, tmp_path: Path) -> None:
    training = [Entry((str(save_scan(tmp_path / f"{i}.nii.gz", ball(seed=i))),)) for i in range(4)]
    scan = ball(seed=9)
    item = model.preprocessing({"image": str(save_scan(tmp_path / "scan.nii.gz", scan))})
    maps = Baselines(training, model)(item)
    zs = np.stack([z_of(ball(seed=i)) for i in range(4)])
    expected = (z_of(scan) - zs.mean(0)) / (zs.std(0) + SOFTENING)
    assert maps["intensity"] == pytest.approx(z_of(scan), abs=1e-5)
    assert maps["voxelwise_z"] == pytest.approx(np.where(scan > 0, expected, 0), abs=1e-4)
    for name in ("intensity", "voxelwise_z"):
        median = ndimage.median_filter(maps[name], (5, 5, 1))
        inside = ndimage.binary_erosion(scan > 0, np.ones((5, 5, 1)))
        assert maps[f"{name}_median"][inside] == pytest.approx(median[inside], abs=1e-5)


def test_dark_lesions_turn_the_sign(model: Model, tmp_path: Path) -> None:
    item = model.preprocessing({"image": str(save_scan(tmp_path / "scan.nii.gz", ball()))})
    bright, dark = (
        Baselines([], replace(model, settings={**model.settings, "polarity": polarity}))(item)
        for polarity in ("bright", "dark")
    )
    assert np.array_equal(bright["intensity"], -dark["intensity"])


def test_voxelwise_z_needs_one_grid(model: Model, tmp_path: Path) -> None:
    small, large = save_scan(tmp_path / "a.nii.gz", ball()), save_scan(tmp_path / "b.nii.gz", ball((44, 48, 36)))
    mixed = Baselines([Entry((str(small),)), Entry((str(large),))], model)
    assert mixed.reason == "the training scans lie on different grids"
    one = Baselines([Entry((str(small),))], model)
    maps = one(model.preprocessing({"image": str(large)}))
    assert set(maps) == {"intensity", "intensity_median", "intensity_same_path"}
    assert one.reason == "the test scans lie on another grid than the training scans"


def test_without_training_scans_there_is_a_reason(model: Model) -> None:
    assert Baselines([], model).reason == "the datalist has no training scans"


def test_the_same_path_is_recommended_of_a_model_that_reconstructs_nothing(model: Model, tmp_path: Path) -> None:
    nothing = load_model_of_zeros(model)
    item = model.preprocessing({"image": str(save_scan(tmp_path / "scan.nii.gz", ball()))})
    scorer = SliceScorer(64, "axial", model.score_options())
    recommended = score_scan(nothing, item, scorer).maps["recommended"]
    assert Baselines([], model)(item)["intensity_same_path"] == pytest.approx(recommended, abs=1e-6)


def load_model_of_zeros(model: Model) -> Model:
    network = copy.deepcopy(model.network)
    for parameter in network.decoder.parameters():
        parameter.zero_()
    return replace(model, network=network)
