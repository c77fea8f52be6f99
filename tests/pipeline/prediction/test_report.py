"""The report: what needs attention first, harmless whatever files are called, and it opens in a browser offline."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pytest
from browsers import CHROMIUM as BROWSER
from browsers import serious_of, visited
from PIL import Image

from benchmarks.report import write_case
from pipeline.prediction.earlier import OTHERWISE
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.report import write_report
from pipeline.prediction.results import BrainUsed, Hashes, Marking, Result, write_record
from pipeline.prediction.run_info import CalibrationInfo, RunInfo

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RUN = RunInfo(
    version="0.1.0", model="flair <model>", fingerprint="ab" * 32, torch="2", monai="1", device="cpu", fpr=0.01,
    minimum_cluster_ml=0.0, threshold=0.8, calibration=CalibrationInfo(12, 1300.0, 13.0, 6.0),
    started="2026-01-01T00:00:00+00:00", seconds=3.0, cases=1, failed=0, interrupted=False,
)  # fmt: skip
HOSTILE = "<script>document.title='owned'</script>"


def case(output: Path, name: str, **values: Any) -> Result:
    """Write the files of a case that is done, and return its result."""
    folder = output / name
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((60, 80, 3), 90, np.uint8))
    picture.save(folder / f"{name}_preview.png")
    picture.save(folder / f"{name}_thumbnail.jpg")
    table = pd.DataFrame({"position_mm": np.arange(60.0), "max_recommended": np.sin(np.arange(60) / 9) ** 2})
    table.to_csv(folder / f"{name}_slices.csv", index=False)
    (folder / f"{name}.itksnap").write_text("")
    known = {"max_surprise": 3.0, "anomaly_ml": 5.0, "clusters": 2, "largest_cluster_ml": 4.0}
    return Result(name, f"/scans/{name}.nii.gz", "done", "", **known | values)


class Page(HTMLParser):
    """The text of a page, its tags, and the addresses that it names."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text, self.tags, self.addresses = "", [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("href", "src") and value is not None]

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_failures_come_first_then_warnings_then_scans_by_marked_volume(tmp_path: Path) -> None:
    results = [
        case(tmp_path, "less", anomaly_ml=2.0, max_surprise=6.0),
        case(tmp_path, "doubtful", anomaly_ml=1.0, max_surprise=5.0, warnings=("odd spacing",)),
        case(tmp_path, "most", anomaly_ml=2.0, max_surprise=6.5),
        Result("broken", "/scans/broken.nii.gz", "failed", "the file is empty"),
        Result("later", "/scans/later.nii.gz"),
    ]
    write_report(results, RUN, tmp_path)
    text = Page(tmp_path / "report.html").text
    order = [
        "3 scans done",
        "the file is empty",
        "broken.nii.gz",
        "later.nii.gz",
        "odd spacing",
        "Scans: failed, with warnings, then the largest marked volume first",
    ]
    places = [text.index(words) for words in order]
    places += [text.index(f" {name} ", places[-1] + 20) for name in ("broken", "later", "doubtful", "most", "less")]
    assert places == sorted(places)
    assert "1 failed" in text
    assert "12 healthy scans" in text
    assert "13 ml of false alarm" in text
    assert "threshold that 1 % of healthy voxels exceed" in " ".join(text.split())
    assert "capped (here at 6.0)" in text
    assert "not for diagnosis" in text


def test_names_are_harmless_in_the_page(tmp_path: Path) -> None:
    name = 'a" onerror="x & <b>ü</b> #%'
    results = [
        case(tmp_path, name.replace("/", "_"), warnings=[HOSTILE]),
        Result(HOSTILE, f"/scans/{HOSTILE}", "failed", HOSTILE),
    ]
    write_report(results, RUN, tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.tags.count("script") == 1  # our own
    assert page.text.count(HOSTILE) == 4  # the warning, the reason, the file, and the name in the table
    assert page.text.count(f"/scans/{HOSTILE}") == 1
    assert page.tags.count("b") == 6  # our own: two scans, four in the explanation


def test_links_lead_to_the_files(tmp_path: Path) -> None:
    name = "a b#ü%20"
    write_report([case(tmp_path, name)], RUN, tmp_path)
    from urllib.parse import unquote

    links = [address for address in Page(tmp_path / "report.html").addresses if not address.startswith(("data:", "#"))]
    assert len(links) == 4  # the picture and three files
    assert all((tmp_path / unquote(link)).is_file() for link in links)


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    write_report([case(tmp_path, "one")], RUN, tmp_path)
    content = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", content)


def test_lost_pictures_and_tables_are_no_reason_to_have_no_report(tmp_path: Path) -> None:
    results = [case(tmp_path, "lost"), case(tmp_path, "damaged")]
    shutil.rmtree(tmp_path / "lost")
    (tmp_path / "damaged" / "damaged_thumbnail.jpg").write_bytes(b"no picture")
    (tmp_path / "damaged" / "damaged_slices.csv").write_text("nonsense")
    write_report(results, RUN, tmp_path)
    text = Page(tmp_path / "report.html").text
    assert "lost" in text
    assert "damaged" in text


def test_without_calibration_the_report_says_so(tmp_path: Path) -> None:
    unknown = {"max_surprise": None, "anomaly_ml": None, "clusters": None, "largest_cluster_ml": None}
    write_report([case(tmp_path, "one", **unknown)], replace(RUN, calibration=None, threshold=None), tmp_path)
    assert "no calibration" in Page(tmp_path / "report.html").text


@pytest.mark.parametrize("warning", OTHERWISE)
def test_a_scan_made_otherwise_is_marked_and_has_no_threshold_in_its_curve(tmp_path: Path, warning: str) -> None:
    results = [case(tmp_path, "earlier", warnings=(warning,)), case(tmp_path, "now", warnings=("odd spacing",))]
    write_report(results, RUN, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="limit"') == 1
    assert page.count(f'<small class="warn-mark">{warning}</small>') == 1
    assert page.count("see the warning") == 1


@pytest.mark.parametrize(
    ("volume", "words"),
    [(0.0, "less than 0.1 ml"), (1e-5, "less than 0.1 ml"), (0.14, "about 0.14 ml"), (9.97, "about 10 ml")],
)
def test_no_volume_of_false_alarm_is_0(tmp_path: Path, volume: float, words: str) -> None:
    calibration = CalibrationInfo(12, 1300.0, volume, 6.0)
    write_report([case(tmp_path, "one")], replace(RUN, calibration=calibration), tmp_path)
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert f"Expect {words} of false alarm" in text
    assert "healthy: 0 ml" not in text


def test_a_place_is_told_in_words(tmp_path: Path) -> None:
    write_report([case(tmp_path, "one", largest_cluster_ras_mm="-34.2 12.0 -40.4")], RUN, tmp_path)
    text = Page(tmp_path / "report.html").text.replace("\xa0", " ")
    assert "34 mm left, 12 mm anterior, 40 mm inferior" in " ".join(text.split()).replace(" ,", ",")


def test_without_a_scan_the_report_says_so(tmp_path: Path) -> None:
    write_report([], RUN, tmp_path)
    assert "No scan was processed." in Page(tmp_path / "report.html").text


@pytest.mark.parametrize("number", [0, 1, 30, 500])
def test_it_opens_in_a_browser_without_a_network(tmp_path: Path, number: int) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium here to open the report in")
    results = [case(tmp_path / "out", f"case {i}", max_surprise=i / 100) for i in range(number)]
    results += [Result(f"bad {i}", f"/scans/{HOSTILE}{i}", "failed", HOSTILE) for i in range(number // 10 + 1)]
    (tmp_path / "out").mkdir(exist_ok=True)
    write_report(results, RUN, tmp_path / "out")
    report = tmp_path / "out" / "report.html"
    assert report.stat().st_size < 5e6
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *(
            "--disable-component-update",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ),
        *("--window-size=1280,800", "--dump-dom", report.as_uri()),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert f"<title>Anomaly maps of {len(results)} scan" in dom  # no hostile name has renamed it
    assert dom.count('<td class="name">') == len(results)
    assert dom.count("<script") == 1


def test_the_page_of_500_cases_is_small_enough_to_open_at_once(tmp_path: Path, browser: Browser) -> None:
    rng = np.random.default_rng(0)
    results = [write_case(tmp_path, f"sub-{i:04d}_ses-01_T1w", rng) for i in range(500)]
    for i, result in enumerate(results):
        if i % 3 == 0:
            results[i] = replace(result, warnings=("the scan has its skull and no brain mask was given",))
    write_report(results, RUN, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 5e6
    with visited(browser, tmp_path / "report.html") as page:
        assert page.locator("#cases tbody tr").count() == 500


@pytest.mark.parametrize("paper", ["A4", "letter"])
@pytest.mark.parametrize("length", [5, 60, 200])
def test_on_paper_no_column_is_cut(tmp_path: Path, paper: str, length: int) -> None:
    if BROWSER is None or shutil.which("pdftotext") is None:
        pytest.skip("no Chromium or pdftotext here to print the report with")
    large = {"anomaly_ml": 1234.5, "clusters": 1234, "largest_cluster_ml": 1234.5}
    names = ["W" * length, ("part_" * 40)[:length], ("two words " * 20)[:length].strip()]
    results = [
        case(
            tmp_path, name, warnings=("W" * length, OTHERWISE[0]), largest_cluster_ras_mm="-134.2 112.0 -140.4", **large
        )
        for name in names
    ]
    results.append(Result("bad", f"/scans/{'W' * length}", "failed", "W" * 2 * length))
    calibration = CalibrationInfo(12, 1300.0, 0.0, 6.0)
    write_report(results, replace(RUN, model="m" * length, calibration=calibration), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "paper.html").write_text(page.replace("@page {", f"@page {{ size: {paper};"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--print-to-pdf={tmp_path / 'paper.pdf'}", (tmp_path / "paper.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    text = subprocess.run(
        ["pdftotext", "-bbox", tmp_path / "paper.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    (width,) = {float(number) for number in re.findall(r'<page width="([\d.]+)"', text)}
    assert width == pytest.approx({"A4": 595, "letter": 612}[paper], abs=1)
    words = re.findall(r'xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</word>', text)
    assert max(float(right) for _, _, right, _, _ in words) < width - 33  # a margin of 12 mm
    assert [word for *_, word in words].count("ITK-SNAP") == len(names)
    heights = [float(bottom) - float(top) for _, top, _, bottom, word in words if word == "ITK-SNAP"]
    assert min(heights) > 8.5  # points: nothing was made smaller to fit


def test_failures_and_warnings_of_a_kind_are_told_once_with_the_names_beneath(tmp_path: Path) -> None:
    results = [case(tmp_path, f"scan{i}", warnings=(f"it is {150 + i} mm long",)) for i in range(3)]
    results += [Result(f"bad{i}", f"/scans/bad{i}.nii.gz", "failed", "the file is empty") for i in range(20)]
    write_report(results, RUN, tmp_path)
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert text.count("the file is empty") == 1
    assert "20 scans: the file is empty /scans/bad0.nii.gz" in text
    assert "12 more" in text
    assert "3 scans: it is 150 to 152 mm long" in text


def test_the_page_says_which_model_it_is(tmp_path: Path) -> None:
    label = ModelLabel("flair <model>", "FLAIR", "bright", 40, 12, 0.01, 0.014, 0.0002, "0.1.0", "2026-01-01")
    write_report([case(tmp_path, "one")], replace(RUN, label=label), tmp_path)
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert "Model flair <model> Trained on 40 healthy FLAIR scans Looks for bright lesions" in text
    assert "12 other healthy scans; marks 1 % of a healthy brain (1.4 % measured), and can tell 0.02 %" in text


def test_a_case_that_is_not_done_has_no_files_of_its_name(tmp_path: Path) -> None:
    earlier = case(tmp_path, "one")
    write_report([replace(earlier, status="failed", reason="another scan of this name")], RUN, tmp_path)
    assert not [link for link in Page(tmp_path / "report.html").addresses if not link.startswith("#")]


def test_the_table_is_sorted_and_filtered(tmp_path: Path, browser: Browser) -> None:
    results = [
        case(tmp_path, "scan10", anomaly_ml=2.0, max_surprise=6.0),
        case(tmp_path, "scan9", anomaly_ml=30.0, max_surprise=5.0),
        case(tmp_path, "odd", anomaly_ml=4.0, max_surprise=5.5, warnings=("odd spacing",)),
        Result("broken", "/scans/broken.nii.gz", "failed", "the file is empty"),
    ]
    write_report(results, RUN, tmp_path)
    with visited(browser, tmp_path / "report.html") as page:

        def shown() -> list[str]:
            return page.locator("#scans tbody tr:visible td.name b").all_inner_texts()

        assert shown() == ["broken", "odd", "scan9", "scan10"]
        page.get_by_role("button", name="Scan", exact=False).first.click()
        assert shown() == ["broken", "odd", "scan9", "scan10"]
        page.get_by_role("button", name="surprise").click()
        assert shown() == ["scan10", "odd", "scan9", "broken"]
        page.get_by_role("button", name="surprise").press("Enter")
        assert shown() == ["scan9", "odd", "scan10", "broken"]
        page.get_by_role("button", name="surprise").press("Enter")
        assert shown() == ["broken", "odd", "scan9", "scan10"]
        page.get_by_label("Find").fill("SCAN")
        assert shown() == ["broken", "odd", "scan9", "scan10"]  # all files are in /scans
        page.get_by_label("Find").fill("scan9")
        assert shown() == ["scan9"]
        page.get_by_label("Find").fill("")
        page.get_by_label("Marked at least").fill("3")
        assert shown() == ["odd", "scan9"]
        page.get_by_label("Only failed or with warnings").check()
        assert shown() == ["odd"]
        page.get_by_label("Marked at least").fill("")
        assert shown() == ["broken", "odd"]
        assert page.get_by_text("2 of 4 shown").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_read_it(tmp_path: Path, browser: Browser, scheme: Literal["light", "dark"]) -> None:
    results = [case(tmp_path, "one", warnings=("odd spacing",)), Result("two", "/scans/two", "failed", "it is empty")]
    write_report(results, RUN, tmp_path)
    with visited(
        browser, tmp_path / "report.html", color_scheme=scheme, viewport={"width": 360, "height": 800}
    ) as page:
        assert serious_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_scans_are_ordered_by_what_they_have_above_a_healthy_brain_of_their_size(tmp_path: Path) -> None:
    results = [case(tmp_path, "large", anomaly_ml=14.0), case(tmp_path, "small", anomaly_ml=6.0)]
    for result, brain_ml in zip(results, (1500.0, 100.0), strict=True):
        hashes, marking = Hashes((), None, "", None, ""), Marking("", 0.01, 0.8, 0.0)  # another fpr than the last one
        write_record(tmp_path / result.case, result, hashes, BrainUsed("given", brain_ml), marking)
    write_report(results, replace(RUN, fpr=0.2), tmp_path)
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert text.index("small") < text.index("large")
    assert "5.0 ml above healthy" in text  # one voxel in a hundred of 100 ml
    assert "14.0 ml none above healthy" in text
