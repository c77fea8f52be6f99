"""The demo: all steps on phantoms, from a cohort to maps and figures, in minutes."""

import logging
import time
from pathlib import Path

from pipeline.cohorts import make_phantom_cohort
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate, summary_text
from pipeline.prediction import predict
from pipeline.training import train

logger = logging.getLogger(__name__)

HEALTHY, LESIONED = 32, 9
SETTINGS = ("epochs=15", "learning_rate=0.001", "polarity=bright")
"""Settings for a quick training on phantoms; a real cohort needs more epochs and the smaller steps of train.yaml."""


def demo(output: Path, device: str | None = None) -> None:
    """Make a phantom cohort, train on its healthy part, predict and evaluate the rest, and print where the results are.

    Raises:
        UsageError: if the output folder is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output}: the folder is not empty; give another --output, or delete the folder")
    started = time.monotonic()
    print("These are phantoms made from an atlas, not patients. They show how it works, not how well.", flush=True)
    _say(1, f"making {HEALTHY} healthy and {LESIONED} lesioned phantoms")
    datalist = make_phantom_cohort(output / "cohort", HEALTHY, LESIONED)
    _say(2, "training on the healthy phantoms")
    run = train(datalist, output / "model", settings=SETTINGS, seed=0, device=device)
    _say(3, "predicting the lesioned phantoms")
    masks = [str(output / "cohort" / "masks")]
    predict(run, [datalist.parent / "images" / f"lesioned_{i:03d}.nii.gz" for i in range(LESIONED)],
            output / "predictions", masks, device)  # fmt: skip
    _say(4, "comparing the maps with the labels of the lesions")
    metrics = evaluate(run, datalist, output / "evaluation", device=device)
    print(summary_text(metrics))
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes, with phantoms only. Now open:")
    print(f"  report   {output / 'predictions' / 'report.html'}")
    print(f"  maps     {output / 'predictions'}, a folder for each scan: open its CASE.itksnap in ITK-SNAP")
    print(f"  figures  {output / 'evaluation' / 'evaluation.html'}")
    print("Next step: train on your own healthy scans, see the README.")


def _say(step: int, what: str) -> None:
    print(f"[{step}/4] {what}", flush=True)
