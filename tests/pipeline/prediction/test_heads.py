"""Prediction of heads: the brain is found, kept beside the maps, and told; what is no brain fails with a picture."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import phantom_head

from pipeline.command_line import main
from pipeline.prediction.detector import AnomalyDetector
from pipeline.scans import brain_extraction
from pipeline.scans.brain_tools import TOOLS


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head, the same head much darker, and its brain alone."""
    folder = tmp_path_factory.mktemp("heads")
    head, brain = phantom_head()
    voxels = head.get_fdata(dtype=np.float32)
    for name, content in (("head", voxels), ("dark", voxels / 100), ("stripped", np.where(brain, voxels, 0))):
        nib.save(nib.nifti1.Nifti1Image(content, head.affine), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module", autouse=True)
def tool() -> Iterator[None]:
    """A tool that knows the head, and finds two far parts in a dark one."""
    _, brain = phantom_head()

    def find(image: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
        halves = brain.copy()
        halves[10:-10] = False
        halves[[9, -9], 10:-10, 10:-10] = True
        return brain if image.get_fdata().max() > 500 else halves

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_extraction, "TOOLS", TOOLS | {"deepbet": replace(TOOLS["deepbet"], find=find)})
        yield


@pytest.fixture(scope="module")
def predicted(run: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("predicted") / "out"
    arguments = ["--model", str(run), "--input", str(scans), "--output", str(output), "--device", "cpu"]
    assert main(["predict", *arguments, "--brain", "deepbet"]) == 1
    return output


def record(folder: Path) -> dict:
    return json.loads((folder / "case.json").read_text())


def test_the_brain_of_a_head_is_found_and_told(predicted: Path) -> None:
    _, brain = phantom_head()
    mask = np.asarray(nib.nifti1.load(predicted / "head" / "head_brain.nii.gz").dataobj)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask > 0, brain)
    used = record(predicted / "head")["brain"]
    assert used["origin"].startswith("deepbet ")
    assert used["ml"] == pytest.approx(mask.sum() * 0.027, abs=0.1)


def test_a_scan_without_skull_is_left_as_it_is(predicted: Path) -> None:
    _, brain = phantom_head()
    assert record(predicted / "stripped")["brain"]["origin"] == "stripped"
    mask = np.asarray(nib.nifti1.load(predicted / "stripped" / "stripped_brain.nii.gz").dataobj)
    assert np.array_equal(mask > 0, brain)


def test_what_is_no_brain_fails_with_a_picture_of_the_outline(predicted: Path) -> None:
    summary = (predicted / "summary.csv").read_text()
    assert "found a brain" in summary
    assert "dark_brain.png" in summary
    assert (predicted / "dark_brain.png").stat().st_size > 1000
    assert not (predicted / "dark").exists()


def test_the_detector_finds_the_same_brain(run: Path, scans: Path, predicted: Path) -> None:
    maps = AnomalyDetector(run, "cpu", brain="deepbet")(scans / "head.nii.gz")
    expected = nib.nifti1.load(predicted / "head" / "head_recommended.nii.gz")
    np.testing.assert_array_equal(maps["recommended"].get_fdata(), expected.get_fdata())


def test_a_model_that_learned_heads_leaves_them_whole(run: Path, scans: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(run), "--input", str(scans / "head.nii.gz"), "--device", "cpu"]
    assert main(["predict", *arguments, "--output", str(tmp_path / "out"), "--brain", "none"]) == 0
    assert record(tmp_path / "out" / "head")["brain"]["origin"] == "head"


def test_an_unknown_tool_is_refused(run: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(run), "--input", str(scans), "--output", str(tmp_path / "out")]
    assert main(["predict", *arguments, "--brain", "bet2"]) == 2
    assert "known are auto, none, deepbet, hd-bet" in capsys.readouterr().err
