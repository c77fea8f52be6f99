"""What report.html of 500 scans weighs, and how long a browser takes to open it from disk."""

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.prediction.report import write_report
from pipeline.prediction.results import Result
from pipeline.prediction.run_info import CalibrationInfo, RunInfo

RUN = RunInfo(
    version="0.1.0", model="benchmark", fingerprint="ab" * 32, torch="2", monai="1", device="cpu", fpr=0.003,
    minimum_cluster_ml=0.0, threshold=0.8, calibration=CalibrationInfo(30, 1300.0, 3.9, 6.0),
    started="2026-01-01T00:00:00+00:00", seconds=600.0, cases=500, failed=0, interrupted=False,
)  # fmt: skip
OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
"""Milliseconds from the request of the page to the end of loading."""


def write_case(output: Path, name: str, random: np.random.Generator) -> Result:
    """Write what the report shows of a case: a thumbnail as large as a head's, and a curve; return its result."""
    folder = output / name
    folder.mkdir()
    noise = Image.fromarray(random.integers(0, 256, (32, 24, 3), np.uint8))
    noise.resize((73, 96)).save(folder / f"{name}_thumbnail.jpg", quality=85)
    table = pd.DataFrame({"position_mm": np.arange(155.0), "max_recommended": random.random(155)})
    table.to_csv(folder / f"{name}_slices.csv", index=False)
    return Result(name, f"{name}.nii.gz", "done", "", anomaly_ml=50 * random.random(), clusters=3, max_surprise=4.0)


def run(cases: int = 500, repeats: int = 5) -> dict[str, Any]:
    """Return the size of the page, MB, and the median seconds that Chromium takes to open it."""
    from playwright.sync_api import sync_playwright  # only this benchmark needs it

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        output = Path(name)
        results = [write_case(output, f"sub-{i:04d}_ses-01_T1w", random) for i in range(cases)]
        write_report(results, RUN, output)
        file, seconds = output / "report.html", []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(repeats):
            page = browser.new_page()
            page.goto(file.as_uri())
            seconds.append(page.evaluate(OPENED) / 1000)
            page.close()
        browser.close()
        size = file.stat().st_size / 1e6
    result = {"cases": cases, "MB": round(size, 2), "seconds to open": round(statistics.median(seconds), 2)}
    print(result, flush=True)
    return result


if __name__ == "__main__":
    run()
