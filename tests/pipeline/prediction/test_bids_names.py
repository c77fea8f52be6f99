"""BIDS names of outputs: the entities of the scan in the order of the specification, distinct, and safe as paths."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prediction.bids_names import bids_names
from pipeline.prediction.bids_tables import DERIVATIVES

LESION = DERIVATIVES["anomalies"]

ORDER = (
    "sub", "ses", "task", "acq", "ce", "rec", "dir", "run", "echo", "part", "space", "chunk", "label", "desc",
)  # fmt: skip
"""The order of the entities in the specification (schema 1.11), of those that our names may have."""


def lesion_mask(scan: str, *others: str) -> str:
    scans = {Path(file).name.removesuffix(".nii.gz"): file for file in (scan, *others)}
    return LESION.file(bids_names(scans)[next(iter(scans))])


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("sub-01_T1w", "sub-01/anat/sub-01_label-lesion_desc-cevaeT1w_mask.nii.gz"),
        ("sub-01_FLAIR", "sub-01/anat/sub-01_label-lesion_desc-cevaeFLAIR_mask.nii.gz"),
        ("sub-01", "sub-01/anat/sub-01_label-lesion_desc-cevae_mask.nii.gz"),
        (
            "sub-A1_ses-2_acq-mprage_run-02_T1w",
            "sub-A1/ses-2/anat/sub-A1_ses-2_acq-mprage_run-02_label-lesion_desc-cevaeT1w_mask.nii.gz",
        ),
        # Entities in a wrong order are put right; those that no mask may have, or with a wrong value, go into desc.
        ("sub-1_run-1_ses-2_T2w", "sub-1/ses-2/anat/sub-1_ses-2_run-1_label-lesion_desc-cevaeT2w_mask.nii.gz"),
        ("sub-1_inv-1_MP2RAGE", "sub-1/anat/sub-1_label-lesion_desc-cevaeInv1MP2RAGE_mask.nii.gz"),
        ("sub-1_run-a_desc-preproc_T1w", "sub-1/anat/sub-1_label-lesion_desc-cevaeRunaDescpreprocT1w_mask.nii.gz"),
        ("sub-1_rec-TRACE_dwi", "sub-1/dwi/sub-1_rec-TRACE_label-lesion_desc-cevaeDwi_mask.nii.gz"),
        ("sub-1_brain", "sub-1/anat/sub-1_label-lesion_desc-cevaeBrain_mask.nii.gz"),
        # What is no BIDS name becomes a subject.
        ("IXI002-Guys-0828-T1", "sub-IXI002Guys0828T1/anat/sub-IXI002Guys0828T1_label-lesion_desc-cevae_mask.nii.gz"),
        ("sub-1_t1_n4", "sub-1t1n4/anat/sub-1t1n4_label-lesion_desc-cevae_mask.nii.gz"),
        ("sub-1_sub-2_T1w", "sub-1sub2T1w/anat/sub-1sub2T1w_label-lesion_desc-cevae_mask.nii.gz"),
        ("Müller", "sub-Muller/anat/sub-Muller_label-lesion_desc-cevae_mask.nii.gz"),
    ],
)
def test_a_name_keeps_the_entities_of_its_scan(scan: str, mask: str) -> None:
    assert lesion_mask(f"/data/{scan}.nii.gz", "/data/sub-other_PDw.nii.gz") == mask


def test_the_sequence_is_in_the_names_if_the_dataset_has_several() -> None:
    assert lesion_mask("/data/sub-01_T1w.nii.gz") == "sub-01/anat/sub-01_label-lesion_desc-cevae_mask.nii.gz"
    assert lesion_mask("/d/sub-1_T1w.nii.gz", "/d/sub-2_T1w.nii.gz").endswith("_desc-cevae_mask.nii.gz")
    assert lesion_mask("/d/sub-1_T1w.nii.gz", "/d/sub-2_FLAIR.nii.gz").endswith("_desc-cevaeT1w_mask.nii.gz")


def test_a_name_without_letters_is_a_hash() -> None:
    assert re.fullmatch(r"sub-[0-9a-f]{8}/anat/sub-[0-9a-f]{8}_label-lesion_desc-cevae_mask.nii.gz", lesion_mask("脑"))


def test_scans_that_would_share_a_name_are_told_apart_in_any_order() -> None:
    scans = {"a-b": "a-b.nii.gz", "a_b": "a_b.nii.gz", "c": "c.nii.gz"}
    names = bids_names(scans)
    assert names == bids_names(dict(reversed(scans.items())))
    assert names["c"].start == "sub-c"
    assert re.fullmatch("sub-ab[0-9a-f]{8}", names["a-b"].start)
    assert re.fullmatch("sub-ab[0-9a-f]{8}", names["a_b"].start)
    assert names["a-b"] != names["a_b"]


def test_another_scan_is_not_taken_for_a_subject_of_a_bids_name() -> None:
    names = bids_names({"01": "01.nii.gz", "sub-01_T1w": "sub-01_T1w.nii.gz", "sub-01_FLAIR": "sub-01_FLAIR.nii.gz"})
    assert names["sub-01_T1w"].subject == names["sub-01_FLAIR"].subject == "sub-01"
    assert re.fullmatch("sub-01[0-9a-f]{8}", names["01"].subject)


def test_subjects_of_two_datasets_are_two_people(tmp_path: Path) -> None:
    scans = {}
    for site, suffix in (("site_A", "T1w"), ("site_A", "FLAIR"), ("site_B", "T1w"), ("site_C", "T2w")):
        (tmp_path / site).mkdir(exist_ok=True)
        (tmp_path / site / "dataset_description.json").write_text(json.dumps({"Name": site}))
        subject = "2" if site == "site_C" else "1"
        scans[f"{site}_{suffix}"] = str(tmp_path / site / f"sub-{subject}" / "anat" / f"sub-{subject}_{suffix}.nii.gz")
    assert {case: (name.subject, name.sequence) for case, name in bids_names(scans).items()} == {
        "site_A_T1w": ("sub-siteA1", "T1w"),
        "site_A_FLAIR": ("sub-siteA1", "FLAIR"),
        "site_B_T1w": ("sub-siteB1", "T1w"),
        "site_C_T2w": ("sub-2", "T2w"),
    }


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=80),
    st.from_regex(r"(sub-[a-z0-9+]{1,3})(_(ses|run|inv|acq|sub)-[a-zA-Z0-9]{1,3}){0,3}(_T1w|_t1|)", fullmatch=True),
)


@settings(max_examples=50)
@given(st.lists(NAMES, min_size=1, max_size=6, unique_by=str.casefold))
def test_any_names_give_distinct_paths_that_bids_knows(scans: list[str]) -> None:
    names = bids_names({scan: f"/data/{scan}.nii.gz" for scan in scans})
    files = [derivative.file(name).casefold() for name in names.values() for derivative in DERIVATIVES.values()]
    assert len(set(files)) == len(files)
    for name in names.values():
        assert name.is_safe()
        for derivative in DERIVATIVES.values():
            *folders, kind, file = derivative.file(name).split("/")
            *entities, suffix = file.removesuffix(".nii.gz").split("_")
            keys = [entity.partition("-")[0] for entity in entities]
            assert [key for key in ORDER if key in keys] == keys
            assert all(re.fullmatch("[a-z]+-[0-9a-zA-Z+]+", entity) for entity in entities)
            assert folders == [entity for entity in entities if entity.startswith(("sub-", "ses-"))]
            assert (kind, suffix) in {
                (kind, suffix) for kind in ("anat", "dwi") for suffix in ("mask", "dseg", "statmap")
            }
            assert len(file.encode()) < 230  # what is written aside has a longer name
