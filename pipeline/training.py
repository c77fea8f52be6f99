"""Training: a cohort of healthy scans in, a run out, which is a bundle with its weights."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events

from networks.scores import check_score_options
from pipeline.calibration import SCORE_SETTINGS, calibration_file
from pipeline.cohort import channels_of, fingerprint_of_cohort, read_training_cohort
from pipeline.configuration import create_run, made, parsed, settings_of, training_configuration
from pipeline.errors import UsageError
from pipeline.files import write_json
from pipeline.processes import joined_processes

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
    with joined_processes(device) as device:
        return _train(run, data, config, settings, resume, seed, device, bank)


def _train(
    run: Path,
    data: str | Path,
    config: str,
    settings: Sequence[str],
    resume: bool,
    seed: int | None,
    device: str | None,
    bank: str | Path | None,
) -> Path:
    cohort = read_training_cohort(data)
    fixed: dict[str, object] = {"channels": channels_of(cohort["training"] + cohort["validation"])}
    if seed is not None:
        fixed["seed"] = seed
    text = training_configuration(config, settings, **fixed)
    known = {split: fingerprint_of_cohort(entries) for split, entries in cohort.items()}
    _refuse_another(run, text, known, resume, data)
    weights = run / "models" / "model.pt"
    if weights.exists() and calibration_file(run).exists():
        logger.info("%s: its training has ended already", run)
        return run

    values = {"bundle_root": str(run), "dataset_dir": str(data)}
    if device is not None:
        values["device"] = f"$torch.device('{device}')"
    if bank is not None:
        values["bank_dir"] = str(bank)
    parser = parsed(settings_of(text), **values)
    made(parser, "initialize")
    _check(parser)
    idist.barrier()  # no process may look for a run after another has begun it
    if idist.get_rank() == 0:
        create_run(run, text)
        write_json(run / "cohort.json", known)
    idist.barrier()
    trainer = made(parser, "train::trainer")
    if resume:
        checkpoints = next(h for h in made(parser, "train::handlers") if hasattr(h, "resume"))
        if epoch := checkpoints.resume(trainer):
            logger.info("resuming after epoch %d", epoch)
    if idist.get_rank() == 0:
        failed = {**made(parser, "train::dataset").failed, **made(parser, "validate::dataset").failed}
        write_json(run / "left_out.json", failed)
    if not weights.exists():
        if trainer.state.epoch < trainer.state.max_epochs:
            trainer.run()
        else:  # it was stopped between its last checkpoint and its weights
            trainer.fire_event(Events.COMPLETED)
    made(parser, "calibration")()
    logger.info("the model is in %s; next: python -m pipeline predict --model %s --input SCANS --output DIR", run, run)
    return run


def _refuse_another(run: Path, text: str, known: dict[str, str], resume: bool, data: str | Path) -> None:
    """Refuse to go on with a run that was begun with other settings or scans, or without being asked to."""
    configuration, cohort = run / "configs" / "train.yaml", run / "cohort.json"
    if configuration.exists() and not resume:
        raise UsageError(f"{run}: there is a run already; give --resume to go on with it, or another --output")
    if configuration.exists() and configuration.read_text(encoding="utf-8") != text:
        raise UsageError(f"{run}: it was begun with other settings (configs/train.yaml); --resume needs the same")
    if cohort.exists() and json.loads(cohort.read_text(encoding="utf-8")) != known:
        raise UsageError(f"{run}: it was begun with other scans than those of {data}; --resume needs the same")


def _check(parser: Any) -> None:
    """Refuse wrong values before anything is read or computed."""
    if parser["noise"] not in parser["noises"]:
        raise UsageError(f"noise is {parser['noise']!r}; known are {', '.join(parser['noises'])}")
    try:
        check_score_options(**{key: parser[key] for key in SCORE_SETTINGS})
    except ValueError as error:
        raise UsageError(str(error)) from error
    for part in ("network_def", "objective", "preprocessing", "augmentation", "noises"):
        made(parser, part)
