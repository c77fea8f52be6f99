"""The page of an evaluation: the verdict first, what each number is, and links to each case; it opens from disk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pandas as pd
import pytest
from browsers import serious_of, visited
from helpers import write_datalist

from pipeline.cohorts import read_datalist
from pipeline.evaluation import evaluate

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "50% <img src=x onerror=alert(1)> '&#.nii.gz"


@pytest.fixture(scope="module")
def evaluation(run: Path, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation of two phantoms with lesion, of which one has a hostile name, and a broken scan."""
    folder = tmp_path_factory.mktemp("evaluated")
    first, second, *_ = read_datalist(cohort)["test"]
    shutil.copyfile(first.images[0], folder / HOSTILE)
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    entries = [replace(first, images=(str(folder / HOSTILE),)), second]
    broken = replace(second, images=(str(folder / "broken.nii.gz"),))
    file = write_datalist(folder / "datalist.json", {"test": [*entries, broken]})
    evaluate(run, file, folder / "evaluation", device="cpu")
    return folder / "evaluation"


def words_of(folder: Path) -> str:
    page = (folder / "evaluation.html").read_text(encoding="utf-8")
    page = re.sub(r"<(script|style)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_it_says_which_model_it_is_and_the_verdict_before_all_numbers(evaluation: Path, cohort: Path) -> None:
    words, metrics = words_of(evaluation), json.loads((evaluation / "metrics.json").read_text())
    order = [
        "Research use only, not for diagnosis.", "Model run", f"Cohort {cohort.parent.name}", "healthy scan",
        "It cannot be told whether", "not a readable NIfTI", "Is the model better than no model?", "Dice at fpr 0.3 %",
        "Lesions by size", "FROC", "Worst and best case", "All cases, the worst first",
    ]  # fmt: skip
    places = [words.index(text) for text in order]
    assert places == sorted(places)
    for name, difference in metrics["paired"].items():
        assert f"{name.removeprefix('recommended - ')} " in words
        if difference["ap"] is None:
            assert difference["reason"] in words
        else:
            assert f"{difference['ap']:+.3f}" in words
            assert f"{difference['best_dice']:+.3f}" in words
    assert "There is no interval, because 2 cases are fewer than 5." in words
    assert f"{metrics['pixels']['recommended']['dice_at_fpr']:.3f}" in words


def test_what_is_unknown_says_why(evaluation: Path) -> None:
    words = words_of(evaluation)
    assert "Dice at fpr: only recommended is calibrated" in words
    assert "Dice 20/80: 2 cases are fewer than 5" in words


def test_every_link_leads_to_a_file_and_every_case_has_one(evaluation: Path) -> None:
    page = (evaluation / "evaluation.html").read_text(encoding="utf-8")
    links = {unquote(link) for link in re.findall(r'href="([^"#]+)"', page)}
    assert len(links) == 2
    for link in links:
        case = evaluation / link
        assert case.is_file()
        for other in re.findall(r'(?:href|src)="([^"#]+)"', case.read_text(encoding="utf-8")):
            assert (case.parent / unquote(other)).is_file(), other


def test_another_evaluation_in_the_same_folder_leaves_no_page_of_the_first(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    first, second, *_ = read_datalist(cohort)["test"]
    for entry in (first, second):
        evaluate(run, write_datalist(tmp_path / "datalist.json", {"test": [entry]}), tmp_path / "out", device="cpu")
    names = pd.read_csv(tmp_path / "out" / "cases.csv")["case"].tolist()
    assert sorted(file.name for file in (tmp_path / "out" / "pages").iterdir()) == sorted([*names, "viewer_files"])
    assert "Only case" in words_of(tmp_path / "out")


def test_without_pages_of_cases_there_are_no_links(run: Path, cohort: Path, tmp_path: Path) -> None:
    entry, *_ = read_datalist(cohort)["test"]
    file = write_datalist(tmp_path / "datalist.json", {"test": [entry]})
    evaluate(run, file, tmp_path / "out", device="cpu", case_pages=False)
    assert not (tmp_path / "out" / "pages").exists()
    assert "href=" not in (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8").replace('href="#main"', "")
    assert "lesioned_000" in words_of(tmp_path / "out")


def test_the_table_is_sorted_and_filtered_and_a_case_opens(evaluation: Path, browser: Browser) -> None:
    table = pd.read_csv(evaluation / "cases.csv").set_index("case")
    worst_first = table["recommended_ap"].sort_values().index.tolist()
    with visited(browser, evaluation / "evaluation.html") as page:
        page.on("dialog", lambda dialog: pytest.fail("a name was run as a script"))

        def shown() -> list[str]:
            return page.locator("#scans tbody tr:visible td.name a").all_inner_texts()

        assert shown() == worst_first
        page.get_by_role("button", name="Marked, ml").press("Enter")
        assert shown() == table["marked_ml"].sort_values(ascending=False, kind="stable").index.tolist()
        page.get_by_label("Find").fill("onerror")
        assert shown() == [name for name in worst_first if "onerror" in name]
        page.locator("#scans tbody tr:visible td.name a").click()
        page.wait_for_selector("#viewer[data-ready]", timeout=60_000)
        assert "annotated lesion" in page.locator("#place").inner_text()
        page.get_by_role("link", name="Evaluation").click()
        assert page.title().startswith("Evaluation of ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_read_it_on_a_narrow_screen(evaluation: Path, browser: Browser, scheme: str) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": 360, "height": 800}}
    with visited(browser, evaluation / "evaluation.html", **options) as page:
        assert serious_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_on_paper_no_column_is_cut(evaluation: Path, browser: Browser, tmp_path: Path, paper: str) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here to read the paper with")
    with visited(browser, evaluation / "evaluation.html") as page:
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 700, "height": 1000})  # about that of a page between its margins
        assert page.evaluate("Math.max(...[...document.images].map((one) => one.getBoundingClientRect().right))") <= 700
        page.pdf(path=tmp_path / "paper.pdf", format=paper)
    command = ["pdftotext", "-bbox", tmp_path / "paper.pdf", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (width,) = {float(number) for number in re.findall(r'<page width="([\d.]+)"', text)}
    words = re.findall(r'xMin="([\d.]+)" yMin="[\d.]+" xMax="([\d.]+)" yMax="[\d.]+">(.*?)</word>', text)
    assert max(float(right) for _, right, _ in words) < width - 33  # a margin of 12 mm
    assert {"clusters", "0.3", "FROC"} <= {word for *_, word in words}
