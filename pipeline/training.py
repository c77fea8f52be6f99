"""Training: a cohort of healthy scans in, a run out, which is a bundle with its weights."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from networks.scores import check_score_options
from pipeline.cohort import channels_of, fingerprint_of_cohort, read_training_cohort
from pipeline.configuration import create_run, made, parsed, settings_of, training_configuration
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
    configuration, hashes = run / "configs" / "train.yaml", run / "cohort.json"
    known = {split: fingerprint_of_cohort(entries) for split, entries in cohort.items()}
    if configuration.exists() and not resume:
        raise UsageError(f"{run}: there is a run already; give --resume to go on with it, or another --output")
    if configuration.exists() and configuration.read_text(encoding="utf-8") != text:
        raise UsageError(f"{run}: it was begun with other settings (configs/train.yaml); --resume needs the same")
    if hashes.exists() and json.loads(hashes.read_text(encoding="utf-8")) != known:
        raise UsageError(f"{run}: it was begun with other scans than those of {data}; --resume needs the same")
    if (run / "models" / "model.pt").exists():
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
    create_run(run, text)
    hashes.write_text(json.dumps(known), encoding="utf-8")
    trainer = made(parser, "train::trainer")
    if resume:
        checkpoints = next(h for h in made(parser, "train::handlers") if hasattr(h, "resume"))
        logger.info("resuming after epoch %d", checkpoints.resume(trainer))
    failed = {**made(parser, "train::dataset").failed, **made(parser, "validate::dataset").failed}
    (run / "left_out.json").write_text(json.dumps(failed, indent=1), encoding="utf-8")
    if trainer.state.epoch < trainer.state.max_epochs:
        trainer.run()
    logger.info("the model is in %s; next: python -m pipeline predict --model %s --input SCANS --output DIR", run, run)
    return run


def _check(parser: Any) -> None:
    """Refuse wrong values before anything is read or computed."""
    if parser["noise"] not in parser["noises"]:
        raise UsageError(f"noise is {parser['noise']!r}; known are {', '.join(parser['noises'])}")
    try:
        check_score_options(parser["polarity"], parser["median"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    for part in ("network_def", "objective", "preprocessing", "augmentation", "noises"):
        made(parser, part)
