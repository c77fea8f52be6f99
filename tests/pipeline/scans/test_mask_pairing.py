"""Masks of a folder: paired as the tools name them, and never another patient's."""

from pathlib import Path

import pytest

from pipeline.scans.mask_pairing import masks_below, masks_for


def pair(names: list[str], masks: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    found, problems = masks_for(names, [Path("/m") / f"{mask}.nii.gz" for mask in masks])
    return {name: file.name.removesuffix(".nii.gz") for name, file in found.items()}, problems


@pytest.mark.parametrize(
    ("files", "mask"),
    [
        (["s_T1"], "s_T1"),
        (["s_T1_mask"], "s_T1_mask"),
        (["s_T1", "s_T1_bet"], "s_T1_bet"),  # HD-BET 2, --save_bet_mask
        (["s_T1", "s_T1_mask"], "s_T1_mask"),  # HD-BET 1, a folder
        (["s_T1_bet", "s_T1_bet_mask"], "s_T1_bet_mask"),  # HD-BET 1, one scan
        (["s_T1_brain", "s_T1_brain_mask"], "s_T1_brain_mask"),  # FSL
        (["s_T1_BrainExtractionBrain", "s_T1_BrainExtractionMask"], "s_T1_BrainExtractionMask"),  # ANTs
        (["s_desc-brain_mask"], "s_desc-brain_mask"),  # BIDS derivatives
        (["s_brain", "s_T1_mask"], "s_T1_mask"),
    ],
)
def test_masks_are_found_as_the_tools_name_them(files: list[str], mask: str) -> None:
    assert pair(["s_T1"], files) == ({"s_T1": mask}, {})


def test_a_longer_name_has_its_own_mask() -> None:
    masks = ["sub-1_brain", "sub-10_brain", "x_bet", "x_2_mask"]
    assert pair(["sub-1_T1", "sub-10_T1", "x", "x_2"], masks)[0] == {
        "sub-1_T1": "sub-1_brain", "sub-10_T1": "sub-10_brain", "x": "x_bet", "x_2": "x_2_mask",
    }  # fmt: skip


@pytest.mark.parametrize("other", ["patient_01_mask", "patient_C_mask", "patient_021_mask", "patient_01", "other_mask"])
def test_another_patients_mask_is_not_taken(other: str) -> None:
    found, problems = pair(["patient_02"], [other])
    assert not found
    assert "no brain mask for patient_02 in the --mask folder" in problems["patient_02"]
    assert "patient_02" in problems["patient_02"]


def test_one_mask_does_not_serve_two_scans() -> None:
    found, problems = pair(["sub-1_T1", "sub-1_T2", "x"], ["sub-1_brain", "x"])
    assert found == {"x": "x"}
    assert all("fits several scans" in problems[name] for name in ("sub-1_T1", "sub-1_T2"))


def test_of_two_masks_that_fit_alike_none_is_taken() -> None:
    found, problems = pair(["s"], ["s_brain_mask", "s_bet_mask"])
    assert not found
    assert "2 brain masks fit s," in problems["s"]


def test_a_mask_is_found_by_what_the_scan_is_called_on_another_system() -> None:
    assert pair(["Müller_a"], ["Mu\u0308ller_a_mask"])[0] == {"Müller_a": "Mu\u0308ller_a_mask"}
    assert pair(["a_b"], ["a<b_mask"])[0] == {"a_b": "a<b_mask"}


def pair_below(folder: Path, scans: dict[str, str], masks: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    for mask in masks:
        (folder / "m" / mask).parent.mkdir(parents=True, exist_ok=True)
        (folder / "m" / mask).touch()
    found, problems = masks_below(folder / "m", {name: folder / "s" / scan for name, scan in scans.items()})
    return {name: file.relative_to(folder / "m").as_posix() for name, file in found.items()}, problems


TWO = {"A_T1": "A/T1.nii.gz", "B_T1": "B/T1.nii.gz"}
FOLDERS: dict[str, tuple[dict[str, str], list[str], dict[str, str]]] = {
    "by folder": (TWO, ["A/T1_bet.nii.gz", "B/T1_bet.mgz"], {"A_T1": "A/T1_bet.nii.gz", "B_T1": "B/T1_bet.mgz"}),
    "deeper": (
        {"a": "A/s1/anat/T1.nii", "b": "A/s2/anat/T1.nii"},
        ["A/s1/anat/T1_mask.nii.gz", "A/s2/anat/T1_mask.nii.gz"],
        {"a": "A/s1/anat/T1_mask.nii.gz", "b": "A/s2/anat/T1_mask.nii.gz"},
    ),
    "several scans of a patient": (
        {"T1": "A/T1.nii.gz", "T2": "A/T2.nii.gz"},
        ["A/T1_bet.nii.gz", "A/T2_bet.nii.gz"],
        {"T1": "A/T1_bet.nii.gz", "T2": "A/T2_bet.nii.gz"},
    ),
    "plain names": (TWO, ["A/mask.nii.gz", "B/brain_mask.nii"], {"A_T1": "A/mask.nii.gz", "B_T1": "B/brain_mask.nii"}),
    "a plain name beside another file": (TWO, ["A/mask.nii.gz", "A/x.nii.gz"], {}),
    "a plain name for two patients": ({"a": "A/anat/T1.nii", "b": "B/anat/T1.nii"}, ["anat/mask.nii.gz"], {}),
    "another scan's name": (TWO, ["A/T2_mask.nii.gz"], {}),
    "another patient's": (TWO, ["A/T1_bet.nii.gz"], {"A_T1": "A/T1_bet.nii.gz"}),
    "no patient's": (TWO, ["C/T1_bet.nii.gz"], {}),
    "one folder that fits two patients": ({"a": "A/anat/T1.nii", "b": "B/anat/T1.nii"}, ["anat/T1_bet.nii.gz"], {}),
    "in the folder itself": (TWO, ["A_T1_bet.nii.gz", "B_T1_bet.nii.gz"], {n: f"{n}_bet.nii.gz" for n in TWO}),
    "a folder for some": (TWO, ["A/T1_bet.nii.gz", "B_T1.nii.gz"], {"A_T1": "A/T1_bet.nii.gz", "B_T1": "B_T1.nii.gz"}),
    "hidden": (TWO, [".A/T1_bet.nii.gz", "A/._T1_bet.nii.gz"], {}),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_masks_in_folders_of_their_own_pair_with_scans_of_such_folders(kind: str, tmp_path: Path) -> None:
    scans, masks, expected = FOLDERS[kind]
    found, problems = pair_below(tmp_path, scans, masks)
    assert found == expected
    assert found.keys() | problems.keys() == scans.keys()
