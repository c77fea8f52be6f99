"""Pages: names are escaped, a missing value is an error, and all pages have one style and one notice."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from pipeline.pages import ENVIRONMENT, RESEARCH_ONLY, render

PIPELINE = Path(__file__).parents[2] / "pipeline"


def test_values_are_escaped_and_the_notice_is_there() -> None:
    page = render("page.html.j2", title="<script>&")
    assert page.count("&lt;script&gt;&amp;") == 2
    assert "<script>" not in page
    assert RESEARCH_ONLY in page


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("page.html.j2")


def test_every_page_extends_the_one_with_the_style() -> None:
    templates = [file.relative_to(PIPELINE).as_posix() for file in PIPELINE.rglob("*.j2")]
    assert len(templates) == 4
    for name in set(templates) - {"page.html.j2"}:
        source = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0]
        assert source.startswith('{% extends "page.html.j2" %}')
        assert "<style" not in source


def test_a_page_may_not_fetch_anything_and_runs_no_script_unless_it_says_so() -> None:
    policy = render("page.html.j2", title="one").split('Content-Security-Policy" content="')[1].split('"')[0]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'none'"
    assert "connect-src" not in rules
