"""Scores on the scan's own grid: the right place, the right slice, nothing outside the brain."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import SMALL, ball, save_scan
from scipy import ndimage

from networks import CEVAE, ScoreOptions
from pipeline.errors import ScanError
from pipeline.model.trained import Model, load_model
from pipeline.scoring.scan_scorer import SLICES, SliceScorer, score_scan
from pipeline.scoring.scan_scores import MAPS, ScanScores
from pipeline.training.run import train

OBLIQUE = np.array([[3.8, -1.0, 0.2, 3], [1.0, 3.8, 0.4, -7], [-0.3, -0.3, 3.9, 11], [0, 0, 0, 1]])
PSR = np.array([[0, 0, 4.0, -80], [-4.0, 0, 0, 90], [0, 4.0, 0, -60], [0, 0, 0, 1]])
FLIPPED = np.diag([-4.0, -4.0, 4.0, 1.0])
HALFWAY = np.array([[-2.6, 1.3, -2.6, 80], [-2.6, -2.6, 1.3, 60], [-1.3, 2.6, 2.6, 20], [0, 0, 0, 1]])
"""Its first axis lies exactly between right and front."""
ANISOTROPIC = np.diag([4.0, 4.0, 9.0, 1.0])


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run, "cpu")


def score(model: Model, file: Path) -> ScanScores:
    scorer = SliceScorer(8, model.settings["slice_axis"], ScoreOptions())
    return score_scan(model, model.preprocessing({"image": str(file)}), scorer)


@pytest.mark.parametrize(
    "affine", [OBLIQUE, HALFWAY, PSR, FLIPPED, ANISOTROPIC], ids=["oblique", "halfway", "PSR", "flipped", "6mm"]
)
def test_a_lesion_comes_back_at_the_same_millimetre(model: Model, tmp_path: Path, affine: np.ndarray) -> None:
    voxels = ball()
    voxels[26:29, 17:20, 20:23] = 4000
    truth = affine @ [27, 18, 21, 1]
    scores = score(model, save_scan(tmp_path / "scan.nii.gz", voxels, affine))
    rec = scores.maps["rec"]
    found = affine @ np.r_[ndimage.center_of_mass(np.where(rec > 0.5 * rec.max(), rec, 0)), 1]
    assert np.linalg.norm(found - truth) < 2.0  # half a voxel


def test_maps_have_the_scans_shape_and_are_zero_outside_the_brain(model: Model, tmp_path: Path) -> None:
    voxels = ball((33, 41, 27), 12)
    scores = score(model, save_scan(tmp_path / "scan.nii.gz", voxels, PSR))
    assert set(scores.maps) == set(MAPS)
    assert np.array_equal(scores.mask, voxels > 0)
    for name, volume in scores.maps.items():
        assert volume.shape == voxels.shape, name
        assert volume.dtype == np.float32, name
        assert (volume[voxels == 0] == 0).all(), name
        assert volume[voxels > 0].mean() > 0, name


def test_a_one_slice_scan_scores_like_that_slice_of_the_volume(model: Model, tmp_path: Path) -> None:
    voxels = ball()
    mask = (voxels[:, :, 18:19] > 0).astype(np.uint8)
    one = save_scan(tmp_path / "one.nii.gz", voxels[:, :, 18:19])
    # The same field of view and normalisation as in the volume: a volume of that slice three times.
    three = save_scan(tmp_path / "three.nii.gz", np.repeat(voxels[:, :, 18:19], 3, axis=2))
    a, b = score(model, one), score(model, three)
    assert mask.any()
    assert a.maps["combined"][..., 0] == pytest.approx(b.maps["combined"][..., 1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("affine", [np.diag([4.0, 4.0, 4.0, 1.0]), np.diag([4.0, 4.0, -4.0, 1.0]), PSR])
def test_the_slice_table_counts_slices_as_the_scan_does(model: Model, tmp_path: Path, affine: np.ndarray) -> None:
    voxels = ball()
    scores = score(model, save_scan(tmp_path / "scan.nii.gz", voxels, affine))
    axis = int(np.argmax(np.abs(np.linalg.inv(affine)[:3, 2])))  # the scan's axis that is head to foot
    has_brain = np.flatnonzero((np.moveaxis(voxels, axis, 0) > 0).any((1, 2)))
    assert scores.slices["index"].tolist() == has_brain.tolist()
    centre = (np.asarray(voxels.shape) - 1) / 2
    for row in scores.slices.to_dict("records"):
        place = centre.copy()
        place[axis] = row["index"]
        assert row["position_mm"] == pytest.approx((affine @ np.r_[place, 1])[2], abs=1e-2)
        section = np.moveaxis(scores.maps["recommended"], axis, 0)[row["index"]]
        assert row["max_recommended"] == pytest.approx(section.max())
        assert row["elbo"] == pytest.approx(-(row["kl"] + row["rec"]))


def test_slices_with_less_brain_than_training_had_are_marked(model: Model, tmp_path: Path) -> None:
    scores = score(model, save_scan(tmp_path / "scan.nii.gz", ball()))
    little = scores.slices["brain_share"] < model.settings["minimum_brain_share"]
    assert little.any()
    assert not little.all()
    assert (scores.slices["outside_training_range"] == little).all()


def test_brain_outside_the_field_of_view_is_warned_of(model: Model, tmp_path: Path) -> None:
    wide = save_scan(tmp_path / "scan.nii.gz", ball((72, 72, 20), 34))
    assert any("outside the model's field of view" in warning for warning in score(model, wide).warnings)


@pytest.mark.parametrize("slice_axis", ["coronal", "sagittal"])
def test_other_slice_axes_go_the_whole_way(cohort: Path, tmp_path: Path, slice_axis: str) -> None:
    run = train(cohort, tmp_path / "run", settings=[*SMALL, f"slice_axis={slice_axis}", "mirror=0"], device="cpu")
    voxels = ball()
    scores = score(load_model(run, "cpu"), save_scan(tmp_path / "scan.nii.gz", voxels, PSR))
    assert scores.maps["rec"].shape == voxels.shape
    assert scores.slice_axis == slice_axis


def test_the_context_encoder_reports_no_kl(cohort: Path, run: Path, tmp_path: Path) -> None:
    ce = train(cohort, tmp_path / "ce", settings=[*SMALL, "lambda=1"], device="cpu", bank=run / "slice_bank")
    scores = score(load_model(ce, "cpu"), save_scan(tmp_path / "scan.nii.gz", ball()))
    assert set(scores.maps) == {"rec", "recommended"}
    assert scores.slices[["kl", "elbo"]].isna().all(axis=None)


def test_two_channels_go_the_whole_way(tmp_path: Path) -> None:
    import json

    files = [str(save_scan(tmp_path / f"{i}.nii.gz", ball(seed=i))) for i in range(4)]
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"training": [{"image": files[:2]}, {"image": files[2:]}]}))
    run = train(datalist, tmp_path / "run", settings=SMALL, device="cpu")
    model = load_model(run, "cpu")
    item = model.preprocessing({"image": files[:2]})
    scores = score_scan(model, item, SliceScorer(64, "axial", ScoreOptions()))
    assert model.network.in_channels == 2
    assert scores.maps["rec"].shape == nib.load(files[0]).shape  # type: ignore[attr-defined]


class Crowded(CEVAE):
    """A network on a device whose memory holds few slices at once."""

    room = 4

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(x)


def test_where_memory_is_full_smaller_batches_give_the_same_scores() -> None:
    volume, mask = torch.rand(1, 64, 64, 20), torch.ones(1, 64, 64, 20)
    network = Crowded(64, 1, (4, 4, 8, 8), 8)
    scorer = SliceScorer(32, "axial", ScoreOptions())
    scored = scorer(volume, network, mask)
    assert scorer.batch_size == 4
    network.room = 32
    expected = SliceScorer(32, "axial", ScoreOptions())(volume, network, mask)
    assert torch.allclose(scored.as_tensor(), expected.as_tensor(), rtol=1e-4, atol=1e-6)
    assert np.allclose(scored.meta[SLICES], expected.meta[SLICES], rtol=1e-4)


def test_memory_too_small_for_one_slice_is_an_error_that_says_what_to_do() -> None:
    network = Crowded(64, 1, (4, 4, 8, 8), 8)
    network.room = 0
    with pytest.raises(ScanError, match="--device cpu"):
        SliceScorer(64, "axial", ScoreOptions())(torch.rand(1, 64, 64, 3), network, torch.ones(1, 64, 64, 3))


def test_with_n4_a_shaded_scan_is_scored_like_the_same_scan_without_shading(cohort: Path, tmp_path: Path) -> None:
    run = train(cohort, tmp_path / "run", settings=[*SMALL, "bias_correction=n4"], device="cpu")
    model = load_model(run, "cpu")
    assert model.settings["bias_correction"] == "n4"
    voxels = ball().astype(np.float32)
    shaded = voxels * np.linspace(0.6, 1.4, len(voxels), dtype=np.float32)[:, None, None]
    files = [save_scan(tmp_path / f"{name}.nii.gz", scan) for name, scan in (("plain", voxels), ("shaded", shaded))]
    plain, with_shading = (model.preprocessing({"image": str(file)}) for file in files)
    brain = plain["mask"].numpy() > 0.99
    change = np.abs(with_shading["image"].numpy() - plain["image"].numpy())[brain]
    assert change.mean() < 0.1  # standard deviations of the brain; the shading is up to 2.7 of them
    assert np.array_equal(with_shading["scan"][0].numpy(), shaded)
    z_scores = np.where(voxels > 0, (voxels - voxels[voxels > 0].mean()) / 60, 0)
    assert "not corrected" in score(model, save_scan(tmp_path / "z.nii.gz", z_scores)).warnings[0]
    assert score(model, files[1]).warnings == []
