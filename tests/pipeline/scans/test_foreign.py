"""Tests of how scans of another kind than the model's are told."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.scans.foreign import CONTRAST_WARNING, contrast_warnings, refuse_ct, sequence_warnings


def head(air: float, brain: float) -> np.ndarray:
    voxels = np.full((40, 40, 40), air)
    voxels[10:30, 10:30, 10:30] = np.random.default_rng(0).normal(brain, 10, (20, 20, 20))
    return voxels


def test_hounsfield_units_are_refused() -> None:
    with pytest.raises(ScanError, match="those of CT"):
        refuse_ct(head(-1000, 35))


@pytest.mark.parametrize(("air", "brain"), [(0, 35), (-1000, 400), (-1, 1), (0, 1000)])
def test_grey_levels_of_mri_are_taken(air: float, brain: float) -> None:
    refuse_ct(head(air, brain))


@pytest.mark.parametrize(
    ("name", "modality", "warned"),
    [
        ("sub-1_FLAIR.nii.gz", "T1", True),
        ("sub-1_T1w.nii.gz", "FLAIR", True),
        ("sub-1_T1w.nii.gz", "T1", False),
        ("patient.nii.gz", "T1", False),
        ("sub-1_FLAIR.nii.gz", "MR", False),
        ("sub-1_FLAIR.nii.gz", "our 3D TIRM", False),  # somebody's own words
        ("BraTS_001_t1ce.nii.gz", "T1", False),  # the warning about contrast agent says it
    ],
)
def test_a_name_tells_of_another_sequence(name: str, modality: str, warned: bool) -> None:
    warnings = sequence_warnings(Entry((f"/data/{name}",)), modality)
    assert bool(warnings) == warned
    assert all(modality in text for text in warnings)


@pytest.mark.parametrize("name", ["sub-1_ce-gadolinium_T1w.nii.gz", "BraTS_001_t1ce.nii.gz", "a_T1Gd.nii"])
def test_a_name_tells_of_contrast_agent(name: str) -> None:
    entry = Entry((f"/data/{name}",))
    assert contrast_warnings(entry, "T1") == [CONTRAST_WARNING]
    assert contrast_warnings(entry, "T1 with contrast agent") == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"ContrastBolusIngredient": "GADOLINIUM"}, [CONTRAST_WARNING]),
        ({"ContrastBolusAgent": "none"}, []),
        ({"EchoTime": 0.1}, []),
        ([1], []),
    ],
)
def test_the_json_file_beside_a_scan_tells_of_contrast_agent(tmp_path: Path, content: object, expected: list) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert contrast_warnings(Entry((str(tmp_path / "a.nii.gz"),)), "T1") == expected
