"""What a single `predict` costs beside its imports: CPU seconds of whole processes, side by side."""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.scans import write_datalist, write_scans
from pipeline.training import train

SHAPE = (96, 112, 96)
"""A scan of 2 mm."""


def cpu_seconds(*command: str) -> float:
    """Return the CPU seconds, user and system, of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(repeats: int = 5) -> dict[str, Any]:
    """Return the median CPU seconds of a prediction, of importing torch and MONAI, and of --help and --version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cohort").mkdir()
        model = train(
            write_datalist(folder / "cohort", 4, SHAPE, 2.0), folder / "run", settings=["epochs=1"], device="cpu"
        )
        (scan,) = write_scans(folder, 1, SHAPE, 2.0)
        program = ("-m", "pipeline")
        predict = (*program, "predict", "--model", str(model), "--input", str(scan), "--overwrite")
        commands = {
            "predict one scan of 2 mm": (*predict, "--output", str(folder / "out")),
            "import torch, monai": ("-c", "import torch, monai"),
            "--help": (*program, "--help"),
            "--version": (*program, "--version"),
        }
        # The commands take turns, so that a slow moment of the machine meets all of them.
        seconds = [{title: cpu_seconds(*command) for title, command in commands.items()} for _ in range(repeats)]
    results = {title: round(statistics.median(turn[title] for turn in seconds), 2) for title in commands}
    print(results, flush=True)
    return results


if __name__ == "__main__":
    run()
