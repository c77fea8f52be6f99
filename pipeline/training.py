"""Training: a cohort of healthy scans in, a run out, which is a bundle with its weights."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.cohort import channels_of, read_training_cohort
from pipeline.configuration import create_run, made, parsed, training_configuration
from pipeline.errors import UsageError

logger = logging.getLogger(__name__)


def train(
    data: str | Path,
    output: str | Path,
    config: str = "train",
    settings: Sequence[str] = (),
    resume: bool = False,
    seed: int | None = None,
    device: str | None = None,
    bank: str | Path | None = None,
) -> Path:
    """Train a ceVAE and return its run.

    Args:
        data: the datalist.
        output: the run's directory.
        config: "train", "train_paper" or a file.
        settings: changes "key=value" of the configuration.
        resume: go on from the last checkpoint of the run.
        seed: the configuration's own when None.
        device: where to compute; the GPU where there is one when None.
        bank: folder of the slice bank, to share it between runs; inside the run when None.

    Raises:
        UsageError: where cohort or configuration cannot be used, or the run is there already.
    """
    run = Path(output)
    cohort = read_training_cohort(data)
    fixed: dict[str, object] = {"channels": channels_of(cohort["training"] + cohort["validation"])}
    if seed is not None:
        fixed["seed"] = seed
    text = training_configuration(config, settings, **fixed)
    configuration = run / "configs" / "train.yaml"
    if configuration.exists() and not resume:
        raise UsageError(f"{run}: there is a run already; give --resume to go on with it, or another --output")
    if resume and configuration.exists() and configuration.read_text(encoding="utf-8") != text:
        raise UsageError(f"{run}: it was begun with other settings (configs/train.yaml); --resume needs the same")

    create_run(run, text)
    values = {"bundle_root": str(run), "dataset_dir": str(data)}
    if device is not None:
        values["device"] = f"$torch.device('{device}')"
    if bank is not None:
        values["bank_dir"] = str(bank)
    parser = parsed(configuration, **values)
    made(parser, "initialize")
    _check(parser)
    trainer = made(parser, "train::trainer")
    if resume:
        checkpoints = next(h for h in made(parser, "train::handlers") if hasattr(h, "resume"))
        logger.info("resuming after epoch %d", checkpoints.resume(trainer))
    if trainer.state.epoch < trainer.state.max_epochs:
        trainer.run()
    logger.info("the model is in %s; next: python -m pipeline predict --model %s --input SCANS --output DIR", run, run)
    return run


def _check(parser: Any) -> None:
    """Refuse wrong values before anything is read or computed."""
    if parser["noise"] not in parser["noises"]:
        raise UsageError(f"noise is {parser['noise']!r}; known are {', '.join(parser['noises'])}")
    for part in ("network_def", "objective", "preprocessing", "augmentation", "noises"):
        made(parser, part)
