"""The stages of inference.yaml one by one, as MONAI Label's BundleInferTask runs them, give the maps of `predict`."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from helpers import ball, save_scan

from pipeline.errors import ScanError
from pipeline.model import Run
from pipeline.prediction import predict

OBLIQUE = np.array([[3.2, 2.4, 0, -70], [-2.4, 3.2, 0, 60], [0, 0, 4.0, -50], [0, 0, 0, 1]])


def stages(run: Path, scan: Path, **values: Any) -> dict[Any, Any]:
    """Run the stages with what MONAI Label hands from one to the next, and return the data."""
    parser = Run(run).load_inference("cpu", fpr=0.05)
    for key, value in values.items():
        parser[f"postprocessing#0::{key}"] = value
    data: dict[Any, Any] = {"image": str(scan), "image_path": str(scan)}
    for transform in parser.get_parsed_content("preprocessing"):
        data = transform(data)
    inferer, network = parser.get_parsed_content("inferer"), parser.get_parsed_content("network_def")
    data["pred"] = inferer(data["image"][None], network)[0]
    for transform in parser.get_parsed_content("postprocessing"):
        data = transform(data)
    return data


@pytest.mark.parametrize("name", ["anomalies", "surprise", "rec"])
def test_the_stages_give_the_voxels_of_predict(run: Path, tmp_path: Path, name: str) -> None:
    voxels = ball()
    voxels[24:29, 17:22, 19:23] = 4000
    scan = save_scan(tmp_path / "scan.nii.gz", voxels, OBLIQUE)
    (result,) = predict(run, [scan], tmp_path / "out", device="cpu", fpr=0.05)
    data = stages(run, scan, map_name=name)
    expected = nib.nifti1.Nifti1Image.from_filename(tmp_path / "out" / "scan" / f"scan_{name}.nii.gz")
    voxels = np.asarray(expected.dataobj)
    assert voxels.any()
    assert data["pred"].shape == (1, *voxels.shape)
    assert np.array_equal(data["pred"][0].numpy(), voxels)
    assert np.allclose(data["pred"].affine, OBLIQUE)
    assert data["image_path"] == str(scan)
    assert tuple(data["result"]["warnings"]) == result.warnings
    assert data["result"]["anomaly_ml"] == result.anomaly_ml


def test_the_image_tells_its_grid_before_the_preprocessing(run: Path, tmp_path: Path) -> None:
    data = stages(run, save_scan(tmp_path / "scan.nii.gz", ball((40, 44, 20)), OBLIQUE))
    meta = data["image"].meta  # MONAI Label writes its result with these
    assert tuple(meta["spatial_shape"]) == (40, 44, 20)
    assert np.allclose(meta["original_affine"], OBLIQUE)


def test_a_map_that_the_model_does_not_make_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no map residual; it makes combined, rec, kl, recommended, surprise"):
        stages(run, save_scan(tmp_path / "scan.nii.gz", ball()), map_name="residual")
