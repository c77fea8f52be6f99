"""Peak private memory (RssAnon) of training on growing cohorts and of prediction; the time of --help."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scans import write_datalist, write_scans
from benchmarks.training import seconds

MEMORY_SETTINGS = ("epochs=2", "size=192", "features=[4,4,8,8]", "latent_channels=8", "val_interval=1")
"""Settings with a small network and large slices, so that memory that grows with the cohort is visible."""


def peak_of(*arguments: str) -> float:
    """Run a command of the pipeline, and return its peak private memory, MB."""
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *arguments], stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")))
        except (OSError, TypeError):  # the process has just ended
            pass
        time.sleep(0.01)
    assert process.returncode == 0, arguments
    return round(peak / 1000, 1)


def run() -> dict[str, Any]:
    """Return peaks in MB, and seconds of --help."""
    results: dict[str, Any] = {"training, MB": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in (8, 16, 32):
            (folder / str(number)).mkdir()
            datalist = write_datalist(folder / str(number), number, (96, 112, 96), 2.0)
            output = folder / f"run_{number}"
            command = ("train", "--data", str(datalist), "--output", str(output), "--device", "cpu")
            results["training, MB"][f"{number} scans"] = peak_of(*command, "--set", *MEMORY_SETTINGS)
        peaks = list(results["training, MB"].values())
        results["largest over smallest"] = round(max(peaks) / min(peaks), 3)
        (folder / "scan").mkdir()
        (scan,) = write_scans(folder / "scan", 1, (240, 240, 155))
        command = ("predict", "--model", str(folder / "run_8"), "--input", str(scan), "--output", str(folder / "out"))
        results["prediction of 240 x 240 x 155, MB"] = peak_of(*command)

    def show_help() -> None:
        subprocess.run([sys.executable, "-m", "pipeline", "--help"], check=True, capture_output=True)

    results["seconds of --help"] = round(statistics.median(seconds(show_help) for _ in range(7)), 3)
    print(results, flush=True)
    return results


if __name__ == "__main__":
    run()
