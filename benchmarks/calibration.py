"""How well healthy scans outside the calibration realise the requested share of false positives.

    python -m benchmarks.calibration --model RUN --data DATALIST --splits validation tune

Healthy scans (entries without lesion) are split at random many times: one half calibrates, the other half is measured.
The output is the realised share divided by the requested one: its mean and spread over the splits, and its range over
single scans, each measured with all others as calibration.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohorts import read_datalist
from pipeline.scans import Case, read_label
from pipeline.scoring import Calibration, open_predictor
from pipeline.scoring.calibration import count_scores, leave_one_out, shares_above


def counts_of(run: Path, datalist: Path, splits: list[str]) -> list[np.ndarray]:
    """Return the `count_scores` of each scan of the splits that has no lesion."""
    predictor = open_predictor(run, "cpu", calibrated=False)
    counts = []
    for entry in [entry for split in splits for entry in read_datalist(datalist)[split]]:
        scores = predictor(predictor.read(Case("", entry))).scores
        if entry.label is None or not read_label(entry).voxels.any():
            counts.append(count_scores(scores.maps["recommended"][scores.mask]))
    return counts


def realised(calibrating: list[np.ndarray], measured: list[np.ndarray], fpr: float) -> float:
    """Return the share of voxels that pass the threshold of `fpr`, averaged over the measured scans."""
    return float(shares_above(Calibration.of(calibrating, 0.0).threshold(fpr), measured).mean())


def coverage(counts: list[np.ndarray], fpr: float, partings: int = 200, seed: int = 0) -> dict[str, float]:
    """Return the ratio of the realised to the requested share: mean, spread and quantiles, and range over scans."""
    random, half, ratios = np.random.default_rng(seed), len(counts) // 2, []
    for _ in range(partings):
        order = random.permutation(len(counts))
        calibrating, measured = ([counts[i] for i in part] for part in (order[:half], order[half:]))
        ratios.append(realised(calibrating, measured, fpr) / fpr)
    single = leave_one_out(counts, fpr) / fpr
    low, high = np.quantile(ratios, (0.05, 0.95))
    return {
        "scans": len(counts), "fpr": fpr, "mean": float(np.mean(ratios)), "sd": float(np.std(ratios)),
        "q05": low, "q95": high, "lowest_scan": single.min(), "median_scan": float(np.median(single)),
        "highest_scan": single.max(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--splits", nargs="+", default=["validation"])
    parser.add_argument("--fpr", nargs="+", type=float, default=[0.1, 0.01, 0.001])
    options = parser.parse_args()
    counts = counts_of(options.model, options.data, options.splits)
    print(pd.DataFrame([coverage(counts, fpr) for fpr in options.fpr]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
