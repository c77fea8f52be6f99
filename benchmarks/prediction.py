"""How long each stage of a prediction takes: a 240 x 240 x 155 scan without pictures, beside nibabel's own reading and
writing of the same files."""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np
from monai.data import MetaTensor

from benchmarks.scans import write_datalist, write_scans
from benchmarks.training import seconds
from pipeline.prediction import predict
from pipeline.prediction.case_folder import write_case
from pipeline.prediction.model_label import ModelLabel
from pipeline.scans import find_cases
from pipeline.scoring import MAPS, open_predictor, score_scan
from pipeline.training import train

SHAPE = (240, 240, 155)


def stages(run: Path, scan: Path, folder: Path) -> dict[str, float]:
    """Return the seconds of each stage of one scan, run one after another."""
    predictor = open_predictor(run, "cpu", fpr=0.01)
    model, scorer = predictor.model, predictor.inferer
    case = find_cases([scan])[0]
    clock = [time.perf_counter()]
    np.asarray(nib.nifti1.Nifti1Image.from_filename(scan).dataobj)
    clock.append(time.perf_counter())
    item = predictor.read(case)
    clock.append(time.perf_counter())
    volume = scorer(item["image"].as_tensor(), model.network, item["mask"].as_tensor())
    clock.append(time.perf_counter())
    model.preprocessing.inverse({"image": MetaTensor(volume.as_tensor()).copy_meta_from(item["image"])})
    clock.append(time.perf_counter())
    score_scan(model, item, scorer)
    clock.append(time.perf_counter())
    prediction = predictor(item)
    clock.append(time.perf_counter())
    folder.mkdir()
    write_case(folder, "case", prediction, ModelLabel.of(predictor), predictor.threshold)
    clock.append(time.perf_counter())
    read, read_and_preprocess, score, invert, whole_score, whole, write = np.diff(clock).tolist()
    return {
        "read": read, "preprocess": read_and_preprocess - read, "score": score, "invert": invert,
        "mask and tables": whole_score - score - invert, "calibrate and find": whole - whole_score, "write": write,
    }  # fmt: skip


def with_nibabel(scan: Path, images: dict[str, nib.nifti1.Nifti1Image], folder: Path) -> None:
    """Read the scan and write the images of a case with nibabel."""
    np.asarray(nib.nifti1.Nifti1Image.from_filename(scan).dataobj)
    folder.mkdir()
    for file, image in images.items():
        nib.save(image, folder / file)


def images_of(case: Path) -> dict[str, nib.nifti1.Nifti1Image]:
    """Return the images of a case's folder, in memory."""
    found = {}
    for file in sorted(case.glob("*.nii.gz")):
        image = nib.nifti1.Nifti1Image.from_filename(file)
        found[file.name] = nib.nifti1.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    return found


def run(repeats: int = 5) -> dict[str, Any]:
    """Return the seconds of the stages, of one scan, of each of 20 scans, and of nibabel alone."""
    with tempfile.TemporaryDirectory() as name, patch("pipeline.prediction.case_folder.write_preview"):
        folder = Path(name)
        (folder / "cohort").mkdir()
        (folder / "scans").mkdir()
        datalist = write_datalist(folder / "cohort", 4, (96, 112, 96), 2.0)
        model = train(datalist, folder / "run", settings=["epochs=1"], device="cpu")
        scans = write_scans(folder / "scans", 20, SHAPE)
        measured = [stages(model, scans[0], folder / f"stages_{i}") for i in range(repeats + 1)][1:]
        median = {key: round(statistics.median(m[key] for m in measured), 3) for key in measured[0]}

        def whole(scan: Path, output: str) -> None:
            predict(model, [scan], folder / output, device="cpu")

        one = [seconds(partial(whole, scans[0], f"one_{i}")) for i in range(repeats)]
        cohort = seconds(partial(whole, folder / "scans", "cohort_out"))
        images = images_of(folder / "one_0" / "scan_000")
        own = [seconds(partial(with_nibabel, scans[0], images, folder / f"nibabel_{i}")) for i in range(repeats)]
        bare = statistics.median(own)
    results = {
        "shape": SHAPE,
        "maps": len(MAPS) + 3,
        "seconds": median,
        "all but reading and writing": round(sum(median.values()) - median["read"] - median["write"], 3),
        "one scan, whole command without imports": round(statistics.median(one), 3),
        "a scan of 20": round(cohort / 20, 3),
        "reading and writing with nibabel": round(bare, 3),
        "a scan of 20 over nibabel": round(cohort / 20 / bare, 2),
        "one scan over nibabel": round(statistics.median(one) / bare, 2),
    }
    print(results, flush=True)
    return results


if __name__ == "__main__":
    run()
