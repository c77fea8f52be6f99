"""Tests of brain extraction: which tool is used, what it finds, and that it is asked once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import phantom_head

from pipeline.errors import ScanError, UsageError
from pipeline.scans import brain_extraction
from pipeline.scans.brain_extraction import BrainExtraction, BrainNotKept
from pipeline.scans.brain_tools import TOOLS, BrainTool


class Counting:
    """A tool that takes the voxels above a level as brain, and counts how often it is asked."""

    def __init__(self, level: float = 0.5) -> None:
        self.level = level
        self.asked = 0

    def __call__(self, head: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
        self.asked += 1
        print("a tool prints")
        return head.get_fdata() > self.level


def tool_of(find: Callable[[nib.nifti1.Nifti1Image, torch.device], np.ndarray], package: str = "numpy") -> BrainTool:
    return BrainTool("tool", package, package, find)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CEVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def box_head(axes: str = "RAS") -> nib.nifti1.Nifti1Image:
    """Return a head whose brain is a box of 1 litre, stored in an order of axes."""
    voxels = np.zeros((50, 60, 40), np.float32)
    voxels[10:40, 15:48, 12:34] = 1
    voxels *= np.linspace(1, 2, 60)[:, None]
    image = nib.nifti1.Nifti1Image(voxels, np.diag([3.6, 3.6, 3.6, 1.0]))
    wanted = nib.orientations.axcodes2ornt(tuple(axes))
    return image.as_reoriented(wanted)


def test_the_modality_calls_for_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        brain_extraction, "TOOLS", {name: replace(tool, package="numpy") for name, tool in TOOLS.items()}
    )
    chosen = {modality: BrainExtraction.of("auto", modality).tool for modality in ("T1", "T1w", "FLAIR", "T2", "MR")}
    names = {modality: tool.name for modality, tool in chosen.items() if tool is not None}
    assert names == {"T1": "deepbet", "T1w": "deepbet", "FLAIR": "hd-bet", "T2": "hd-bet", "MR": "hd-bet"}


def test_heads_stay_whole_if_asked_or_if_the_model_learned_heads() -> None:
    assert BrainExtraction.of("none", "T1").tool is None
    assert BrainExtraction.of("auto", "T1", learned_heads=True) == BrainExtraction()
    tool = BrainExtraction.of("deepbet", "FLAIR", learned_heads=True).tool
    assert tool is not None
    assert tool.name == "deepbet"


def test_a_missing_tool_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(TOOLS["hd-bet"], package="no_such_package")
    monkeypatch.setattr(brain_extraction, "TOOLS", TOOLS | {"hd-bet": missing})
    extraction = BrainExtraction.of("auto", "FLAIR")
    assert extraction.tool is None
    assert "hd-bet" in extraction.advice
    assert "pip install" in extraction.advice
    assert "[hd-bet]" in extraction.advice
    assert "--mask" in extraction.advice
    with pytest.raises(UsageError, match=r"hd-bet is not installed; install it by: .*\[hd-bet\]"):
        BrainExtraction.of("hd-bet", "T1")
    with pytest.raises(UsageError, match="unknown brain extraction 'bet2'; known are auto, none, deepbet, hd-bet"):
        BrainExtraction.of("bet2", "T1")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "ILA"])
def test_the_mask_lies_on_the_heads_own_grid(axes: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = box_head(axes)
    mask = nib.nifti1.load(BrainExtraction(tool_of(Counting()))(head))
    assert np.array_equal(mask.get_fdata(), head.get_fdata() > 0.5)
    assert np.allclose(mask.affine, head.affine)
    assert capsys.readouterr().out == ""


def test_a_head_is_extracted_once(cache: Path) -> None:
    find = Counting()
    extraction = BrainExtraction(tool_of(find))
    first, again = extraction(box_head()), extraction(box_head())
    assert first == again
    assert first.is_relative_to(cache)
    assert find.asked == 1
    extraction(nib.nifti1.Nifti1Image(box_head().get_fdata() * 2, box_head().affine))
    assert find.asked == 2


def test_a_kept_mask_is_found_without_the_tool(cache: Path) -> None:
    extraction = BrainExtraction(tool_of(Counting()))
    only_kept = replace(extraction, only_kept=True)
    with pytest.raises(BrainNotKept):
        only_kept(box_head())
    made = extraction(box_head())
    assert only_kept(box_head()) == made


def test_a_mask_is_used_even_if_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CEVAE_CACHE", str(tmp_path / "file"))
    mask = nib.nifti1.load(BrainExtraction(tool_of(Counting()))(box_head()))
    assert np.array_equal(mask.get_fdata(), box_head().get_fdata() > 0.5)


def test_a_tool_that_fails_fails_the_scan_with_what_to_do(cache: Path) -> None:
    def fail(head: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
        raise AssertionError("Not enough foreground")

    with pytest.raises(ScanError, match=r"found no brain in it .*Not enough foreground.*give a brain mask"):
        BrainExtraction(tool_of(fail))(box_head())
    with pytest.raises(ScanError, match="found no brain at all in it"):
        BrainExtraction(tool_of(Counting(level=9)))(box_head())
    assert not list(cache.rglob("*.nii.gz"))


def test_deepbet_finds_the_brain_of_a_head(cache: Path) -> None:
    head, brain = phantom_head()
    mask = nib.nifti1.load(BrainExtraction.of("auto", "T1")(head)).get_fdata() > 0
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.95


def test_auto_leaves_thin_slabs_whole_and_says_so() -> None:
    head = box_head()
    slab = head.slicer[:, :, 10:25]
    extraction = BrainExtraction(tool_of(Counting()), leaves_slabs=True)
    assert extraction.reason_to_leave(head) == ""
    assert "54 mm thick, too thin for brain extraction" in extraction.reason_to_leave(slab)
    assert replace(extraction, leaves_slabs=False).reason_to_leave(slab) == ""
    assert BrainExtraction.of("auto", "T1").leaves_slabs
    assert not BrainExtraction.of("deepbet", "T1").leaves_slabs
