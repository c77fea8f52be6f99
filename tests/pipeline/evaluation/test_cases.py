"""The cases of an evaluation: distinct names, the worst first, and pages that show where the lesions are."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts import read_datalist
from pipeline.cohorts.datalist import Entry
from pipeline.errors import UsageError
from pipeline.evaluation.cases import CasePages, case_names, case_rows, check_pages, page_of
from pipeline.prediction import ModelLabel
from pipeline.scans import Case, read_label
from pipeline.scoring import open_predictor


def test_scans_of_one_name_get_distinct_names_that_are_safe_as_folders() -> None:
    files = ["/a/one/T1.nii.gz", "/a/two/T1.nii.gz", "/a/../x?.nii", "/b/viewer_files.nii.gz"]
    assert case_names([Entry((file,)) for file in files]) == ["one_T1", "two_T1", "x_", "_viewer_files"]
    assert len(set(case_names([Entry(("/a/T1.nii.gz",))] * 3))) == 3


def test_the_lowest_ap_comes_first_and_last_come_scans_without_lesion_by_what_is_marked() -> None:
    known = {"dice_at_threshold": 0.5, "lesion_ml": 2.0, "marked_ml": 1.0, "lesions": 3, "lesions_hit": 1,
             "false_positives": 4}  # fmt: skip
    nothing = known | {"lesion_ml": 0.0, "lesions": 0, "lesions_hit": 0, "dice_at_threshold": np.nan}
    table = pd.DataFrame(
        [
            {"number": 0, "case": "good", **known, "recommended_ap": 0.9, "recommended_best_dice": 0.8},
            {"number": 1, "case": "healthy", **nothing},
            {"number": 2, "case": "more marked", **nothing | {"marked_ml": 5.0}},
            {"number": 4, "case": "bad", **known, "recommended_ap": 0.0, "recommended_best_dice": 0.1},
        ]
    )
    rows = case_rows(table, {4: ("odd spacing",)})
    assert [row.name for row in rows] == ["bad", "good", "more marked", "healthy"]
    assert [row.ap for row in rows] == [0.0, 0.9, None, None]
    assert [row.warnings for row in rows] == [("odd spacing",), (), (), ()]
    assert (rows[1].best_dice, rows[1].dice, rows[3].dice) == (0.8, 0.5, None)
    assert (rows[0].lesion_ml, rows[0].marked_ml, rows[0].lesions, rows[0].lesions_hit) == (2.0, 1.0, 3, 1)


def test_an_address_is_quoted() -> None:
    assert page_of("50 % #1") == "pages/50%20%25%20%231/50%20%25%20%231_viewer.html"


def test_the_page_of_a_case_outlines_the_lesions_and_begins_there(run: Path, cohort: Path, tmp_path: Path) -> None:
    predictor, entry = open_predictor(run, "cpu"), read_datalist(cohort)["test"][0]
    prediction = predictor(predictor.read(Case("", entry)))
    lesion = read_label(entry).voxels
    CasePages(tmp_path, ModelLabel.of(predictor), predictor.threshold).write("one", prediction, lesion)
    page = (tmp_path / "one" / "one_viewer.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="case-data">(.*?)</script>', page, re.DOTALL)[1])
    packed = re.search(r'"([A-Za-z0-9+/=]+)"\);', (tmp_path / "one" / "one_viewer_outlines.js").read_text())[1]
    labels = np.frombuffer(gzip.decompress(base64.b64decode(packed)), "<u2").reshape(data["shape"], order="F")
    assert (labels & 2 > 0).sum() == lesion.sum()
    assert (labels & 1).sum() == prediction.scores.mask.sum()
    places = np.argwhere(labels & 2) @ np.asarray(data["affine"])[:, :3].T + np.asarray(data["affine"])[:, 3]
    affine = prediction.source.affine
    expected = np.argwhere(lesion) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(sorted(places.round(3).tolist()), sorted(expected.round(3).tolist()), atol=1e-2)
    assert labels[tuple(data["start"])] & 2
    assert 'href="../../evaluation.html"' in page
    assert "annotated lesion" in page
    assert (tmp_path / "one" / "one_preview.png").is_file()
    assert not list(tmp_path.glob(".*"))


def test_a_lesion_in_air_is_on_the_page(run: Path, cohort: Path, tmp_path: Path) -> None:
    predictor, entry = open_predictor(run, "cpu"), read_datalist(cohort)["test"][0]
    prediction = predictor(predictor.read(Case("", entry)))
    lesion = np.zeros(prediction.scores.mask.shape, bool)
    lesion[0, 0, 0] = True
    assert not prediction.scores.mask[:4, :4, :4].any()
    CasePages(tmp_path, ModelLabel.of(predictor), predictor.threshold).write("one", prediction, lesion)
    assert "annotated lesion" in (tmp_path / "one" / "one_viewer.html").read_text(encoding="utf-8")


def test_a_folder_with_other_files_is_not_replaced_by_pages(run: Path, cohort: Path, tmp_path: Path) -> None:
    predictor, entry = open_predictor(run, "cpu"), read_datalist(cohort)["test"][0]
    check_pages(tmp_path / "missing")
    prediction = predictor(predictor.read(Case("", entry)))
    CasePages(tmp_path, ModelLabel.of(predictor), None).write("one", prediction, read_label(entry).voxels)
    check_pages(tmp_path)
    (tmp_path / "of a person.txt").touch()
    with pytest.raises(UsageError, match=r"other files \(of a person.txt\)"):
        check_pages(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing(run: Path, cohort: Path, tmp_path: Path) -> None:
    predictor, entry = open_predictor(run, "cpu"), read_datalist(cohort)["test"][0]
    prediction = predictor(predictor.read(Case("", entry)))
    wrong = np.zeros((2, 2, 2), bool)
    with pytest.raises((ValueError, IndexError)):
        CasePages(tmp_path, ModelLabel.of(predictor), None).write("one", prediction, wrong)
    assert [file.name for file in tmp_path.iterdir()] == ["viewer_files"]
