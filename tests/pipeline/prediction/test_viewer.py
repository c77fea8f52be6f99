"""The page of a case: its volumes lie where the scan lies, and it works in a browser from disk."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from browsers import serious_of, visited
from helpers import ball, save_scan

from pipeline.nifti import copy_of
from pipeline.prediction.case_folder import write_clusters, write_viewer
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.preview import write_preview
from pipeline.prediction.viewer import copy_viewer
from pipeline.scoring import Calibration, Prediction, ScanScores
from pipeline.scoring.calibration import count_scores
from pipeline.scoring.familiarity import Facts
from pipeline.scoring.findings import find_anomalies

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LABEL = ModelLabel("flair <model>", "FLAIR", "bright", 40, 12, 0.01, None, 0.0002, "0.1.0", "2026-01-01")
AFFINES = {
    "RAS": np.diag([4.0, 4.0, 4.0, 1.0]),
    "PSR": np.array([[0, 0, 4.0, -80], [-4.0, 0, 0, 90], [0, 4.0, 0, -60], [0, 0, 0, 1]]),
    "oblique": np.array([[-3.8, -1.0, 0.2, 70], [-1.0, 3.8, 0.4, -70], [-0.3, 0.3, 4.0, -60], [0, 0, 0, 1]]),
}
HOSTILE = "</script><img src=x onerror=alert(1)> \u2028'\" %&#"


def prediction_of(folder: Path, affine: np.ndarray, flat: bool = False, warnings: tuple[str, ...] = ()) -> Prediction:
    """Return the prediction of a ball with two bright boxes, the larger one at the indices 26 to 29, 20 to 23, ..."""
    image = ball()[:, :, 16:17] if flat else ball()
    image[26:30, 20:24, : 1 if flat else 20] *= 2
    recommended = np.zeros(image.shape, np.float32)
    last = slice(0, 1) if flat else slice(14, 19)
    recommended[26:30, 20:24, last] = 5.0
    recommended[27, 21, last.start] = 6.0
    recommended[12:14, 30:32, last] = 4.0
    mask = image > 0
    scan = nib.nifti1.load(save_scan(folder / "scan.nii.gz", image, affine))
    calibration = Calibration.of([count_scores(np.linspace(0.0, 1.0, 1000, dtype=np.float32))], brain_ml=1000.0)
    table = pd.DataFrame({"index": [last.start], "position_mm": [0.0], "max_recommended": [6.0]})
    scores = ScanScores({"recommended": recommended}, image.astype(np.float32), mask, table, "axial", 2, [])
    findings = find_anomalies(recommended, mask, affine, calibration, 0.01)
    facts = Facts(130.0, 150.0, 120.0, 4.0, 0.0, 0.1, [])
    return Prediction(scan, scores, facts, findings, warnings)


def write(output: Path, case: str, prediction: Prediction) -> Path:
    """Write the page of a case and what it links, and return the page."""
    folder = output / case
    folder.mkdir(parents=True)
    copy_viewer(output)
    assert prediction.findings is not None
    write_preview(folder, case, prediction.source, prediction.scores, prediction.findings.surprise, LABEL.lines)
    write_clusters(prediction.findings.clusters, folder / f"{case}_clusters.csv")
    write_viewer(folder, case, copy_of(prediction.source), prediction, LABEL, 1.0)
    return folder / f"{case}_viewer.html"


def data_of(page: Path) -> dict[str, Any]:
    """Return what a page says of its case."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="case-data">(.*?)</script>', text, re.DOTALL)[1])


def content_of(page: Path, name: str) -> bytes:
    """Return the file in the script of a volume."""
    text = page.with_name(page.name.replace(".html", f"_{name}.js")).read_text(encoding="ascii")
    found = re.fullmatch(rf'cevaeVolume\("{name}","([A-Za-z0-9+/=]*)"\);\n', text)
    return gzip.decompress(base64.b64decode(found[1]))


def ready(page: Page) -> None:
    page.wait_for_selector("#viewer[data-ready]", timeout=60_000)


@pytest.mark.parametrize("axes", AFFINES)
def test_each_voxel_lies_where_the_scan_has_it(tmp_path: Path, axes: str) -> None:
    prediction = prediction_of(tmp_path, AFFINES[axes])
    page = write(tmp_path / "out", "one", prediction)
    inside = np.argwhere(prediction.scores.mask)
    values = np.asarray(prediction.source.dataobj)[tuple(inside.T)]
    for name, expected, step in (("scan", values, 0), ("recommended", None, 6 / 255)):
        shown = nib.nifti1.Nifti1Image.from_bytes(content_of(page, name))
        assert nib.aff2axcodes(shown.affine) == ("R", "A", "S")
        mm = inside @ AFFINES[axes][:3, :3].T + AFFINES[axes][:3, 3]
        voxels = (np.linalg.inv(shown.affine) @ np.c_[mm, np.ones(len(mm))].T)[:3].T
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-3)  # no voxel lies between two others
        expected = prediction.scores.maps[name][tuple(inside.T)] if expected is None else expected
        found = shown.get_fdata()[tuple(np.rint(voxels).astype(int).T)]
        np.testing.assert_allclose(found, expected, atol=step + 1e-9)


@pytest.mark.parametrize("axes", AFFINES)
def test_outlines_and_peaks_lie_on_the_same_grid(tmp_path: Path, axes: str) -> None:
    prediction = prediction_of(tmp_path, AFFINES[axes])
    page = write(tmp_path / "out", "one", prediction)
    data = data_of(page)
    labels = np.frombuffer(content_of(page, "outlines"), "<u2").reshape(data["shape"], order="F")
    findings = prediction.findings
    assert (labels & 1).sum() == prediction.scores.mask.sum()
    assert np.array_equal(np.bincount((labels >> 2).ravel())[1:], np.bincount(findings.cluster_map.ravel())[1:])
    for one in data["clusters"]:
        assert labels[tuple(one["peak"])] >> 2 == one["cluster"]
        cluster = findings.clusters[one["cluster"] - 1]
        np.testing.assert_allclose(np.array(data["affine"]) @ [*one["peak"], 1], cluster.peak_ras_mm, atol=1e-3)


def test_names_and_warnings_are_harmless(tmp_path: Path, browser: Browser) -> None:
    case = HOSTILE.replace("/", "_")
    page_file = write(tmp_path / "out", case, prediction_of(tmp_path, AFFINES["RAS"], warnings=(HOSTILE,)))
    with visited(browser, page_file) as page:
        page.on("dialog", lambda dialog: pytest.fail("a name was run as a script"))
        ready(page)
        assert page.locator("h1").inner_text().split() == case.split()
        assert page.locator("img[src=x]").count() == 0
        assert page.locator("script").count() == 6  # the data, two of the viewer, three volumes


@pytest.mark.parametrize("axes", AFFINES)
def test_a_click_on_a_cluster_moves_the_cross_hair_there(tmp_path: Path, browser: Browser, axes: str) -> None:
    prediction = prediction_of(tmp_path, AFFINES[axes])
    page_file = write(tmp_path / "out", "one", prediction)
    peaks = [" ".join(map(str, one["peak"])) for one in data_of(page_file)["clusters"]]
    with visited(browser, page_file) as page:
        ready(page)
        place = page.locator("#slices")
        assert place.get_attribute("data-voxel") == peaks[0]
        page.get_by_role("button", name="Show cluster 2").click()
        assert place.get_attribute("data-voxel") == peaks[1]
        assert "cluster 2" in page.locator("#place").inner_text()
        assert page.locator("tr.selected").get_attribute("data-cluster") == "2"
        place.focus()
        page.keyboard.press("n")
        assert place.get_attribute("data-voxel") == peaks[0]
        x, y, z = map(int, peaks[0].split())
        page.keyboard.press("ArrowLeft")  # to the patient's right, which is at the left edge
        page.keyboard.press("PageUp")
        assert place.get_attribute("data-voxel") == f"{x + 1} {y} {z + 1}"
        # The words are those of the scan's own millimetres.
        mm = np.array(data_of(page_file)["affine"]) @ [x + 1, y, z + 1, 1]
        assert f"{abs(mm[0]):.0f} mm {'right' if mm[0] >= 0 else 'left'}" in page.locator("#place").inner_text()


def test_the_marked_box_is_seen_on_its_side(tmp_path: Path, browser: Browser) -> None:
    """The larger box lies in the half of the patient that NiiVue draws at the left edge, where R stands."""
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"]))
    with visited(browser, page_file) as page:
        ready(page)
        page.evaluate("cevaeViewer.nv.setSliceType(0); cevaeViewer.go([20, 23, 15].map((i) => i), 0)")
        page.evaluate("cevaeViewer.goToCluster(1)")
        page.uncheck("#edges")
        columns = page.evaluate(
            """() => {
              const nv = cevaeViewer.nv, gl = nv.gl, width = gl.canvas.width, height = gl.canvas.height;
              nv.opts.crosshairWidth = 0; nv.drawScene();
              const pixels = new Uint8Array(4 * width * height);
              gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
              const places = [];
              for (let i = 0; i < width * height; i++)
                if (pixels[4 * i] > 180 && pixels[4 * i + 2] < pixels[4 * i] - 40) places.push((i % width) / width);
              return places;
            }"""
        )
        assert len(columns) > 100
        assert np.median(columns) < 0.5  # index 28 of 40 lies on the right


def test_maps_are_switched_and_thresholded(tmp_path: Path, browser: Browser) -> None:
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"]))
    with visited(browser, page_file) as page:
        ready(page)
        assert "surprise" in page.locator("#place").inner_text()
        scripts = page.locator("script[src*=recommended]")
        assert scripts.count() == 0  # it is loaded when it is asked for
        page.get_by_label("Map").select_option("recommended")
        page.wait_for_selector("#slices[data-map=recommended]")
        assert page.evaluate("cevaeViewer.volumes.recommended.opacity") == pytest.approx(0.8)
        assert page.evaluate("cevaeViewer.volumes.surprise.opacity") == 0
        page.get_by_label("Shown from").fill("5.5")
        assert page.evaluate("cevaeViewer.volumes.recommended.cal_min") == pytest.approx(5.5, abs=0.05)
        page.locator("#slices").focus()
        page.keyboard.press("o")
        page.wait_for_selector("#slices[data-map='']")
        assert page.evaluate("cevaeViewer.volumes.recommended.opacity") == 0
        page.keyboard.press("b")
        assert not page.get_by_label("Outlines").is_checked()


def test_a_single_slice_is_shown(tmp_path: Path, browser: Browser) -> None:
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"], flat=True))
    with visited(browser, page_file) as page:
        ready(page)
        assert page.evaluate("cevaeViewer.nv.screenSlices.map((tile) => tile.axCorSag)") == [0]
        page.get_by_role("button", name="Show cluster 2").click()
        assert "cluster 2" in page.locator("#place").inner_text()


def test_without_scripts_or_webgl_the_picture_stays(tmp_path: Path, browser: Browser) -> None:
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"]))
    with visited(browser, page_file, java_script_enabled=False) as page:
        assert page.locator("#still img").is_visible()
        assert page.locator("#clusters tbody tr").count() == 2
        assert not page.locator("#viewer").is_visible()
    shutil.rmtree(tmp_path / "out" / "viewer_files")
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.get_by_text("the folder viewer_files is not beside").is_visible()
    assert page.locator("#still img").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_read_it_on_a_narrow_screen(tmp_path: Path, browser: Browser, scheme: str) -> None:
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"], warnings=("odd spacing",)))
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": 360, "height": 800}}
    with visited(browser, page_file, **options) as page:
        ready(page)
        assert serious_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_on_paper_it_has_the_picture_and_all_columns(tmp_path: Path, browser: Browser, paper: str) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here to read the paper with")
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"]))
    with visited(browser, page_file) as page:
        ready(page)
        page.pdf(path=tmp_path / "paper.pdf", format=paper)
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "paper.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "Map" not in text.split("Clusters")[0].split("Slices")[1]  # no control
    (row,) = re.findall(r"^ *2 .*$", text, re.MULTILINE)
    assert len(row.split()) == 16
    assert "Research use only" in text


def test_the_wheel_goes_through_slices_and_dragging_sets_the_grey_levels(tmp_path: Path, browser: Browser) -> None:
    page_file = write(tmp_path / "out", "one", prediction_of(tmp_path, AFFINES["RAS"]))
    with visited(browser, page_file, viewport={"width": 1280, "height": 900}) as page:
        ready(page)

        def inside() -> tuple[float, float]:
            """Return a place in the first plane on the screen, which a click on a control may scroll."""
            page.locator("#place").scroll_into_view_if_needed()
            box = page.locator("#slices").bounding_box()
            return box["x"] + 150, box["y"] + box["height"] / 2

        def voxel() -> list[int]:
            return [int(i) for i in page.locator("#slices").get_attribute("data-voxel").split()]

        def levels() -> list[float]:
            return page.evaluate("[cevaeViewer.nv.volumes[0].cal_min, cevaeViewer.nv.volumes[0].cal_max]")

        def drag(button: Literal["left", "right"]) -> None:
            x, y = inside()
            page.mouse.move(x, y)
            page.mouse.down(button=button)
            page.mouse.move(x + 50, y + 30, steps=4)
            page.mouse.up(button=button)

        before = voxel()
        page.mouse.move(*inside())
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(200)
        after = voxel()
        assert after[:2] == before[:2]
        assert abs(after[2] - before[2]) == 1
        first = levels()
        drag("left")
        assert levels() == first
        assert voxel()[:2] != before[:2]
        drag("right")
        assert levels() != first
        page.get_by_role("button", name="Reset grey levels").click()
        assert levels() == first
        page.get_by_label("Drag for grey levels").check()
        drag("left")
        assert levels() != first
