"""The gallery: the same pictures whatever the order of a scan's axes, with the patient's right at the left edge."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helpers import ball

from pipeline.evaluation.gallery import roles_of, row_of
from pipeline.scoring import Calibration, Prediction, ScanScores
from pipeline.scoring.calibration import count_scores
from pipeline.scoring.familiarity import Facts
from pipeline.scoring.findings import find_anomalies

RAS = np.array([[4.0, 0, 0, -80], [0, 4.0, 0, -90], [0, 0, 6.0, -60], [0, 0, 0, 1]])
FACTS = Facts(130.0, 150.0, 120.0, 4.0, 0.0, 0.1, [])


def prediction_in(axes: str, calibrated: bool = True) -> tuple[Prediction, np.ndarray]:
    """Return a prediction, and the label: a box at the patient's right, front and in slice 20 from below."""
    scan = ball().astype(np.float32)
    label = np.zeros(scan.shape, bool)
    label[26:30, 30:34, 20] = label[26, 30, 19] = True  # the largest part is in slice 20
    recommended = np.where(label, 5.0, 0).astype(np.float32)
    recommended[8:10, 20:22, 20] = 3.0  # falsely marked at the left
    order = nib.orientations.ornt_transform(nib.orientations.io_orientation(RAS), nib.orientations.axcodes2ornt(axes))
    affine = RAS @ nib.orientations.inv_ornt_aff(order, scan.shape)
    scan, label, recommended = (nib.orientations.apply_orientation(v, order) for v in (scan, label, recommended))
    axis = next(i for i, letter in enumerate(axes) if letter in "SI")
    mask, slices = scan > 0, np.arange(scan.shape[axis])
    places = nib.affines.apply_affine(affine, np.eye(3)[axis] * slices[:, None])[:, 2]
    table = pd.DataFrame({"index": slices, "position_mm": places, "max_recommended": 0.0})
    scores = ScanScores({"recommended": recommended}, scan / 100, mask, table, "axial", axis, [])
    calibration = Calibration.of([count_scores(np.linspace(0.0, 1.0, 1000, dtype=np.float32))], brain_ml=1000.0)
    findings = find_anomalies(recommended, mask, affine, calibration, 0.01) if calibrated else None
    return Prediction(nib.nifti1.Nifti1Image(scan, affine), scores, FACTS, findings, ()), label


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "SLA", "IAL"])
def test_a_lesion_at_the_right_and_front_lies_at_the_upper_left(axes: str) -> None:
    row = row_of(*prediction_in(axes), 2.0, "worst", "one", 0.5)
    expected = np.zeros((48, 40), bool)
    expected[48 - 34 : 48 - 30, 40 - 30 : 40 - 26] = True  # front upwards, right at the left
    for name in ("label", "marked"):
        assert np.array_equal(getattr(row, name)[:, :20], expected[:, :20]), name
    assert np.array_equal(row.scores["recommended"] == 5, expected)
    assert not row.label[:, 20:].any()
    assert row.marked[:, 20:].sum() == 4
    assert (row.sides, row.aspect) == (("R", "L"), 1.0)
    assert row.place.endswith(", +60 mm")
    plain = row_of(*prediction_in("RAS"), 2.0, "worst", "one", 0.5)
    for name in ("scan", "reconstruction", "brain"):
        assert np.array_equal(getattr(row, name), getattr(plain, name)), name


def test_a_pixel_is_as_high_as_the_voxels_lie_apart() -> None:
    prediction, label = prediction_in("RAS")
    scores = prediction.scores
    coronal = ScanScores(scores.maps, scores.reconstruction, scores.mask, scores.slices, "coronal", 1, [])
    row = row_of(Prediction(prediction.source, coronal, FACTS, prediction.findings, ()), label, 2.0, "best", "one", 0.5)
    assert row.aspect == 1.5  # 6 mm from slice to slice, 4 mm within


def test_without_calibration_the_threshold_marks_and_there_is_no_surprise() -> None:
    prediction, label = prediction_in("RAS", calibrated=False)
    row = row_of(prediction, label, 4.0, "worst", "one", 0.5)
    assert np.array_equal(row.marked, row.label)
    assert set(row.scores) == {"recommended"}


@pytest.mark.parametrize(
    ("cases", "roles"),
    [
        (0, {}),
        (1, {0: "only case"}),
        (2, {0: "worst", 1: "best"}),
        (3, {0: "worst", 1: "median", 2: "best"}),
        (24, {0: "worst", 12: "median", 23: "best"}),
    ],
)
def test_no_case_is_shown_twice(cases: int, roles: dict[int, str]) -> None:
    assert roles_of(cases) == roles
