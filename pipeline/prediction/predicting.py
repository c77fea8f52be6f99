"""The door to prediction for the command line and for Python: it fills in the inference configuration, and runs it."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.model import Run, build, open_model
from pipeline.prediction.evaluator import ScanEvaluator
from pipeline.prediction.results import Result
from pipeline.processes import joined_processes


def predict(
    model: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    masks: Sequence[str | Path] = (),
    device: str | None = None,
    overwrite: bool = False,
    fpr: float | None = None,
    brain: str | None = None,
    share: tuple[int, int] = (1, 1),
    layout: str | None = None,
    dicom: bool | None = None,
    key: str | Path | None = None,
) -> list[Result]:
    """Predict scans with the inference configuration of a run, and return the result of each.

    Args:
        model: the directory that training wrote, or the zip that `pack` wrote.
        inputs: scans, folders, DICOM series or datalists.
        output: the folder of the outputs.
        masks: brain masks, see `find_cases`.
        device: where to compute; if None, the GPU if there is one.
        overwrite: whether cases that already have results are computed again.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; if None, the configuration's own.
        brain: how the brain is found in heads without a mask; if None, the configuration's own.
        share: which share of the scans is predicted, and of how many: (1, 4) to (4, 4).
        layout: "case": a folder for each case; "bids": a BIDS derivative dataset too; if None, the configuration's own.
        dicom: whether cases that came as DICOM get a SEG and a Secondary Capture; if None, the configuration's own.
        key: a file to write which case is which DICOM series; if None, none is written.

    Raises:
        UsageError: if the model or the inputs cannot be used at all.
        LostProcessError: if another process that torchrun started has died.
    """
    with open_model(model) as run, joined_processes(device) as device:
        parser = Run(run).load_inference(device, output_dir=Path(output), overwrite=overwrite, fpr=fpr, brain=brain)
        parser["cases::inputs"], parser["cases::masks"] = list(map(Path, inputs)), list(map(Path, masks))
        parser["cases::share"] = list(share)
        # Not by keys of their own, which the configurations of older models do not have.
        for name, value in {"layout": layout, "dicom": dicom, "key": Path(key) if key is not None else None}.items():
            if value is not None:
                parser[f"evaluator::{name}"] = value
        evaluator: ScanEvaluator = build(parser, "evaluator")
        return evaluator.run()
