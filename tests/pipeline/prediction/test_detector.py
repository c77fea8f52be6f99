"""Use from Python: maps of the same kind of image, on its grid, with predict's voxels."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from helpers import ball, save_scan

from pipeline import AnomalyDetector
from pipeline.errors import ScanError, UsageError
from pipeline.model.packing import pack
from pipeline.prediction.predicting import predict

TILT = np.array([[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]])
OBLIQUE = np.block(
    [[TILT @ np.diag([-4.0, 4.0, 4.0]), np.array([[60], [-80], [-50]])], [np.zeros((1, 3)), np.ones((1, 1))]]
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.nii.gz", ball(seed=4), OBLIQUE)


@pytest.fixture
def expected(run: Path, scan: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    predict(run, [scan], tmp_path / "out", device="cpu")
    files = (tmp_path / "out" / "scan").glob("*.nii.gz")
    maps = {file.name.removeprefix("scan_").removesuffix(".nii.gz"): nib.load(file).get_fdata() for file in files}
    del maps["image"], maps["brain"]
    return maps


@pytest.mark.parametrize("kind", ["run", "zip"])
def test_a_path_and_a_nibabel_image_give_nibabel_images(
    run: Path, scan: Path, expected: dict[str, np.ndarray], tmp_path: Path, kind: str
) -> None:
    detector = AnomalyDetector(run if kind == "run" else pack(run, tmp_path / "model.zip"), device="cpu")
    for image in (scan, str(scan), nib.load(scan)):
        maps = detector(image)
        assert maps.keys() == expected.keys()
        for name, voxels in expected.items():
            np.testing.assert_array_equal(maps[name].get_fdata(), voxels)
            np.testing.assert_array_equal(maps[name].affine, nib.load(scan).affine)


def test_a_simple_itk_image_gives_simple_itk_images(run: Path, scan: Path, expected: dict[str, np.ndarray]) -> None:
    image = SimpleITK.ReadImage(str(scan))
    maps = AnomalyDetector(run, device="cpu")(image)
    for name, voxels in expected.items():
        assert maps[name].GetDirection() == image.GetDirection()
        assert maps[name].GetOrigin() == image.GetOrigin()
        array = SimpleITK.GetArrayFromImage(maps[name]).transpose()
        np.testing.assert_allclose(array, voxels, rtol=1e-3, atol=1e-4 * voxels.max())


def test_the_share_of_false_alarms_can_be_chosen(run: Path, tmp_path: Path) -> None:
    voxels = ball(seed=4)
    shaded = np.where(voxels > 0, voxels + 30 * np.arange(voxels.shape[0])[:, None, None], 0).astype(np.int16)
    scan = save_scan(tmp_path / "shaded.nii.gz", shaded, OBLIQUE)
    few, many = (AnomalyDetector(run, "cpu", fpr)(scan)["anomalies"].get_fdata().sum() for fpr in (0.001, 0.2))
    assert few < many


def test_a_mask_limits_the_maps(run: Path, scan: Path) -> None:
    mask = nib.nifti1.Nifti1Image((nib.load(scan).get_fdata() > 0).astype(np.uint8), OBLIQUE)
    mask.dataobj[:, :20] = 0
    maps = AnomalyDetector(run, device="cpu")(scan, mask)
    assert not maps["rec"].get_fdata()[:, :20].any()


def with_skull(file: Path) -> Path:
    """Write a head: brain in noise, with a bright shell around it."""
    random = np.random.default_rng(0)
    voxels = ball().astype(np.float32)
    distance = np.linalg.norm(np.indices(voxels.shape) - np.array([19.5, 23.5, 17.5])[:, None, None, None], axis=0)
    voxels = np.where(distance > 12, random.uniform(1, 20, voxels.shape), voxels)
    voxels[(distance > 15) & (distance < 17)] = 700
    return save_scan(file, voxels)


def with_mirrored_header(file: Path) -> Path:
    """Write a scan whose qform exchanges left and right of its sform."""
    image = nib.load(save_scan(file, ball(seed=4), OBLIQUE))
    image.set_sform(OBLIQUE, code=1)
    image.set_qform(OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)
    image.to_filename(file)
    return file


def of_another_sequence(file: Path) -> Path:
    """Write a brain of half the size whose grey levels run the other way."""
    voxels = ball(radius=8.0)
    return save_scan(file, np.where(voxels > 0, 1000 - voxels + 200 * (voxels > 420), 0).astype(np.int16))


@pytest.mark.parametrize(
    ("write", "words"),
    [(with_skull, "skull"), (with_mirrored_header, "turns or mirrors"), (of_another_sequence, "healthy")],
)
def test_the_warnings_are_those_of_predict(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, write: Callable[[Path], Path], words: str
) -> None:
    scan = write(tmp_path / "odd.nii.gz")
    (result,) = predict(run, [scan], tmp_path / "out", device="cpu")
    assert any(words in warning for warning in result.warnings)
    detector = AnomalyDetector(run, device="cpu")
    caplog.clear()
    detector(scan)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == list(result.warnings)


def test_what_cannot_be_used_is_named(run: Path, tmp_path: Path) -> None:
    detector = AnomalyDetector(run, device="cpu")
    with pytest.raises(ScanError, match="ndarray is not an image"):
        detector(np.zeros((4, 4, 4)))  # type: ignore[arg-type]
    with pytest.raises(ScanError, match="2 dimensions"):
        detector(SimpleITK.Image(8, 8, SimpleITK.sitkFloat32))
    with pytest.raises(ScanError):
        detector(nib.nifti1.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)))
    with pytest.raises(UsageError, match="not a model"):
        AnomalyDetector(tmp_path)


def test_importing_the_package_does_not_import_torch() -> None:
    code = (
        "import sys, pipeline; assert 'torch' not in sys.modules;"
        "pipeline.AnomalyDetector; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)
