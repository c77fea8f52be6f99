"""The demo: the whole way on phantoms, from a cohort to maps and figures, in minutes."""

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
"""Quick, for phantoms; a real cohort is trained for longer, and with the smaller steps of train.yaml."""


def demo(output: Path, device: str | None = None) -> None:
    """Make a phantom cohort, train on its healthy part, predict and evaluate the rest, and say where to look.

    Raises:
        UsageError: where the output folder is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output}: the folder is not empty; give another --output, or delete it")
    started = time.monotonic()
    print("These are phantoms made from an atlas, not patients: they show how it works, not how well.", flush=True)
    _say(1, f"making {HEALTHY} healthy and {LESIONED} lesioned phantoms")
    datalist = make_phantom_cohort(output / "cohort", HEALTHY, LESIONED)
    _say(2, "training on the healthy ones")
    run = train(datalist, output / "model", settings=SETTINGS, seed=0, device=device)
    _say(3, "predicting the lesioned ones")
    masks = [str(output / "cohort" / "masks")]
    predict(run, [datalist.parent / "images" / f"lesioned_{i:03d}.nii.gz" for i in range(LESIONED)],
            output / "predictions", masks, device)  # fmt: skip
    _say(4, "comparing with the lesions' labels")
    metrics = evaluate(run, datalist, output / "evaluation", device=device)
    print(summary_text(metrics))
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Phantoms only. Where to look:")
    print(f"  the report {output / 'predictions' / 'report.html'}")
    print(f"  the maps   {output / 'predictions'}, one folder a scan: open CASE.itksnap in ITK-SNAP")
    print(f"  figures    {output / 'evaluation' / 'evaluation.html'}")
    print("  next       train on healthy scans of your own: see the README")


def _say(step: int, what: str) -> None:
    print(f"[{step}/4] {what}", flush=True)
