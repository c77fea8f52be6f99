"""The demo: a head predicted by a model that ships, then all steps on phantoms, from a cohort to maps and figures."""

import logging
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohorts import make_phantom_cohort, make_template_head
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate, summary_text
from pipeline.model import shipped_models
from pipeline.prediction import predict
from pipeline.training import train

logger = logging.getLogger(__name__)

SHIPPED = "ixi-t1"
"""The model that predicts the head."""

HEAD_FPR = 0.0003
"""Share of a healthy brain that may be marked in it: an average of many people is unlike any one of them everywhere."""

HEALTHY, LESIONED = 32, 9
SETTINGS = ("epochs=12", "learning_rate=0.002", "polarity=bright")
"""Settings for a quick training on phantoms; a real cohort needs more epochs and the smaller steps of train.yaml."""


def demo(output: Path, device: str | None = None) -> None:
    """Predict a head with the model that ships, then make a phantom cohort, train on its healthy part, predict and
    evaluate the rest; print where the results are.

    Raises:
        UsageError: if the output folder is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output}: the folder is not empty; give another --output, or delete the folder")
    started = time.monotonic()
    reports = _predict_head(output / "head", device)
    print(f"      done after {time.monotonic() - started:.0f} s")
    print("What follows are phantoms made from an atlas, not patients. They show how it works, not how well.")
    _say(2, f"making {HEALTHY} healthy and {LESIONED} lesioned phantoms")
    datalist = make_phantom_cohort(output / "cohort", HEALTHY, LESIONED)
    _say(3, "training on the healthy phantoms")
    run = train(datalist, output / "model", settings=SETTINGS, seed=0, device=device)
    _say(4, "predicting the lesioned phantoms")
    masks = [str(output / "cohort" / "masks")]
    predict(run, [datalist.parent / "images" / f"lesioned_{i:03d}.nii.gz" for i in range(LESIONED)],
            output / "predictions", masks, device)  # fmt: skip
    _say(5, "comparing the maps with the labels of the lesions")
    metrics = evaluate(run, datalist, output / "evaluation", device=device)
    print(summary_text(metrics))
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Now open:")
    for report in reports:
        print(f"  head     {report}")
    print(f"  report   {output / 'predictions' / 'report.html'}")
    print(f"  maps     {output / 'predictions'}, a folder for each scan: open its CASE.itksnap in ITK-SNAP")
    print(f"  figures  {output / 'evaluation' / 'evaluation.html'}")
    print("Next step: your own scans by a model that ships, or a model of your own healthy scans: see the README.")


def _predict_head(output: Path, device: str | None) -> list[Path]:
    """Predict a T1 head with an old stroke planted in it, and return the report; none if no model ships."""
    if SHIPPED not in [model.name for model in shipped_models()]:
        _say(1, f"left out: the model {SHIPPED} does not ship with this installation; what follows needs none")
        return []
    _say(1, f"predicting a head with the model {SHIPPED}: the MNI152 template (T1), with an old stroke planted in it")
    scan, label = make_template_head(output)
    (result,) = predict(SHIPPED, [scan], output / "predictions", device=device, fpr=HEAD_FPR)
    if result.status == "failed":
        raise UsageError(f"{scan}: {result.reason}")
    marked, stroke = (
        np.asarray(nib.nifti1.Nifti1Image.from_filename(file).dataobj) > 0
        for file in (output / "predictions" / result.case / f"{result.case}_anomalies.nii.gz", label)
    )
    report = output / "predictions" / "report.html"
    print(f"      {(marked & stroke).sum() / stroke.sum():.0%} of the stroke is marked, and "
          f"{(marked & ~stroke).sum() / 1000:.1f} ml outside it: {report}")  # fmt: skip
    return [report]


def _say(step: int, what: str) -> None:
    print(f"[{step}/5] {what}", flush=True)
