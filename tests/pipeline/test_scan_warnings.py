"""Warnings on the terminal: a line a scan, one for a kind that several share, and causes before consequences."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scan_warnings import lines_of, log_warnings, preprocessing_warnings, short_names

SKULL = "the scan has its skull: give a mask"


def unlike(length: float) -> str:
    return f"this scan differs from the 6 healthy reference scans: length {length} mm (limits 150 to 180)"


def test_a_scan_alone_has_one_line() -> None:
    assert lines_of({"a": [SKULL, unlike(236)], "b": []}) == [f"a: {SKULL}; {unlike(236)}"]


def test_many_scans_share_a_line_that_counts_them() -> None:
    warnings = {name: [SKULL] for name in "abcde"}
    assert lines_of(warnings) == [f"5 scans (a, b, c, ...): {SKULL}"]
    assert lines_of(warnings, all_names=True) == [f"5 scans (a, b, c, d, e): {SKULL}"]
    assert lines_of({name: [SKULL] for name in "abc"}) == [f"3 scans (a, b, c): {SKULL}"]


def test_numbers_that_differ_become_a_range_and_file_names_dots() -> None:
    (line,) = lines_of({"a": [unlike(236)], "b": [unlike(99.5)], "c": [unlike(200)]})
    assert line.endswith("the 6 healthy reference scans: length 99.5 to 236 mm (limits 150 to 180)")
    masks = {name: [f"{name}_mask.nii.gz: {share} % lie between 0 and 1"] for name, share in (("a", 3), ("b", 12))}
    assert lines_of(masks) == ["2 scans (a, b): ...: 3 to 12 % lie between 0 and 1"]


def test_causes_stand_before_consequences() -> None:
    warnings = {"z": [unlike(200)], "a": [SKULL, unlike(236)], "b": [SKULL, unlike(237)], "c": ["odd header", SKULL]}
    kinds = ["odd header", "skull", "differs"]
    places = [next(i for i, line in enumerate(lines_of(warnings)) if kind in line) for kind in kinds]
    assert places == sorted(places)


@given(
    st.dictionaries(st.text("abc", min_size=1), st.lists(st.sampled_from(["cold", "odd 3", "odd 4.5"]), unique=True))
)
def test_every_warning_of_every_scan_is_said(warnings: dict[str, list[str]]) -> None:
    lines = lines_of(warnings, all_names=True)
    for name, texts in warnings.items():
        for text in texts:
            word = text.split()[0]
            assert any(word in line and name in line.partition(": ")[0] for line in lines)
    assert len(lines) <= max(2, len(warnings))


def test_the_log_has_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    log_warnings(logging.getLogger("pipeline.test"), {"a": [SKULL], "b": [SKULL], "c": ["cold"]})
    assert caplog.messages == [f"warning: 2 scans (a, b): {SKULL}", "warning: c: cold"]


@pytest.mark.parametrize(("share", "said"), [(0.0, []), (0.01, []), (0.2, ["20% of the brain"]), (1.0, ["100% of"])])
def test_preprocessing_tells_what_lies_outside(share: float, said: list[str]) -> None:
    warnings = preprocessing_warnings({"outside_field_of_view": share})
    assert [words in warning for words, warning in zip(said, warnings, strict=True)] == [True] * len(said)
    assert preprocessing_warnings({"mask_warning": SKULL, "outside_field_of_view": share})[0] == SKULL
    assert preprocessing_warnings({"bias_field_warning": "not corrected", "mask_warning": SKULL})[1] == "not corrected"
    assert preprocessing_warnings({}) == []


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["/data/a/x.nii", "/data/b/x.nii"]) == ["a/x.nii", "b/x.nii"]
    assert short_names(["/data/x.nii", "/data/y.nii"]) == ["x.nii", "y.nii"]
    assert short_names(["/data/x.nii"]) == ["x.nii"]
    assert short_names([]) == []
