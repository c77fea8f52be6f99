"""Provenance: shares by hand, intervals by their formula, and words for a model card."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from pipeline.scoring.provenance import FalsePositives, Provenance, percent


def test_the_interval_of_a_mean_is_students() -> None:
    found = FalsePositives.of(np.asarray([0.1, 0.2, 0.3, 0.6]))
    assert (found.scans, found.mean, found.median, found.highest) == (4, pytest.approx(0.3), 0.25, 0.6)
    half = 3.182446 * np.sqrt((0.04 + 0.01 + 0 + 0.09) / 3) / 2  # 0.975 quantile of t with 3 degrees of freedom
    assert found.interval == pytest.approx((max(0.3 - half, 0), 0.3 + half), abs=1e-6)


def test_the_interval_holds_shares_only() -> None:
    assert FalsePositives.of(np.asarray([0.0, 1.0])).interval == (0.0, 1.0)
    assert FalsePositives.of(np.asarray([0.2, 0.2])).interval == pytest.approx((0.2, 0.2))


def test_one_scan_has_no_interval() -> None:
    found = FalsePositives.of(np.asarray([0.01]))
    assert found.interval is None
    assert found.text == "mean 1 %, median 1 %, highest 1 %"


def test_it_comes_back_from_its_json() -> None:
    several, one = FalsePositives.of(np.asarray([0.001, 0.002])), FalsePositives.of(np.asarray([0.01]))
    for by_former, by_new in ((several, one), (None, several), (one, None)):
        written = Provenance("2025-01-31", "1.2.3", "ab", 36, 0.003, by_former, by_new)
        assert Provenance.read(json.loads(json.dumps(asdict(written)))) == written


def test_its_words_say_when_by_what_and_in_place_of_what() -> None:
    note = Provenance("2025-01-31", "1.2.3", "ab12", 36, 0.003, FalsePositives.of(np.asarray([0.02])), None).note(1)
    assert "anew with 1 scan on 2025-01-31 by version 1.2.3, in place of a calibration with 36 scans" in note
    assert "SHA-256 ab12" in note
    assert "asked for: 0.3 %" in note
    assert "former threshold marks of these scans: mean 2 %" in note
    assert "no calibration" in Provenance("2025-01-31", "1.2.3", "", 0, 0.003, None, None).note(5)


@pytest.mark.parametrize(("share", "text"), [(0.003, "0.3 %"), (0, "0 %"), (1, "100 %"), (0.04459, "4.46 %")])
def test_shares_are_told_in_percent(share: float, text: str) -> None:
    assert percent(share) == text
