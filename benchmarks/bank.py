"""How fast a slice bank is built: scans per second with one and two processes, beside reading the same files only."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.transforms import Compose

from benchmarks.scans import write_scans
from benchmarks.training import seconds
from pipeline.cohorts import Entry
from pipeline.model import load_configuration, settings_of, training_configuration
from pipeline.training import SliceBank

SCANS = 160
SHAPE = (160, 192, 160)


def run(repeats: int = 2) -> dict[str, Any]:
    """Return scans per second, and the time of building divided by the time of reading."""
    parser = load_configuration(settings_of(training_configuration("train")))
    transform = Compose([parser.get_parsed_content("preprocessing"), parser.get_parsed_content("slice_selection")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_scans(folder, SCANS, SHAPE)
        entries = [Entry((str(file),)) for file in files]

        def read() -> None:
            for file in files[:20]:
                np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj)

        def build(workers: int) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as bank:
                return seconds(lambda: SliceBank(entries, transform, bank, workers=workers))

        one, two = ([build(workers) for _ in range(repeats)] for workers in (1, 2))
        reading = statistics.median(seconds(read) / 20 for _ in range(3))
    per_scan = statistics.median(one) / SCANS
    results = {
        "shape": SHAPE,
        "scans": SCANS,
        "scans_per_second_1_process": round(1 / per_scan, 2),
        "scans_per_second_2_processes": round(SCANS / statistics.median(two), 2),
        "ratio": round(statistics.median(one) / statistics.median(two), 2),
        "time_over_reading_with_nibabel": round(per_scan / reading, 2),
    }
    print(results, flush=True)
    return results


if __name__ == "__main__":
    run()
