"""Tests of the modality that the names of scans tell."""

import pytest

from pipeline.cohorts import Entry, has_contrast_agent, is_t1, modality_of


@pytest.mark.parametrize(
    ("names", "modality"),
    [
        (["IXI012-HH-1211_T1.nii.gz", "IXI013-Guys_T1.nii.gz"], "T1"),
        (["sub-01_ses-1_T1w.nii.gz"], "T1"),
        (["sub-01_FLAIR.nii", "p2-t2flair.nii"], "FLAIR"),
        (["a_mprage.mgz"], "T1"),
        (["BraTS_1_t1ce.nii.gz"], "T1 with contrast agent"),
        (["a_T1.nii", "b_T2.nii"], "MR"),
        (["a_T1.nii", "b.nii"], "MR"),
        (["patient_1.nii.gz"], "MR"),
        (["T1mouse.nii.gz"], "MR"),
        ([], "MR"),
    ],
)
def test_the_modality_is_what_all_names_tell(names: list[str], modality: str) -> None:
    assert modality_of(Entry((f"/t2/{name}",)) for name in names) == modality


def test_channels_have_a_modality_each() -> None:
    assert modality_of([Entry(("a_T1.nii", "a_FLAIR.nii")), Entry(("b_T1.nii", "b_FLAIR.nii"))]) == "T1 + FLAIR"
    assert modality_of([Entry(("a_T1.nii", "a_x.nii"))]) == "MR"


def test_t1_and_contrast_agent_are_told_by_the_modality() -> None:
    assert [is_t1(name) for name in ("T1", "T1w", "t1-weighted", "MPRAGE", "T1 + FLAIR")] == [True] * 5
    assert [is_t1(name) for name in ("MR", "FLAIR", "T2", "PD")] == [False] * 4
    assert has_contrast_agent("T1 with contrast agent")
    assert has_contrast_agent("T1ce")
    assert not has_contrast_agent("T1")
