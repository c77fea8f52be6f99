"""Training: a cohort of healthy scans in, a run out, which is a bundle with its weights."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Events

from pipeline.cohorts import UNKNOWN_MODALITY, Entry, channels_of, modality_of
from pipeline.errors import UsageError
from pipeline.files import write_json
from pipeline.installation import program
from pipeline.model import Run, build, load_configuration, settings_of, training_configuration, with_settings
from pipeline.processes import barrier, joined_processes, rank
from pipeline.scans import fingerprint_of_cohort

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
    run = Run(Path(output))
    with joined_processes(device) as device:
        _train(run, data, config, settings, resume, seed, device, bank)
    return run.root


def _train(
    run: Run,
    data: str | Path,
    config: str,
    settings: Sequence[str],
    resume: bool,
    seed: int | None,
    device: str | None,
    bank: str | Path | None,
) -> None:
    fixed = {} if seed is None else {"seed": seed}
    values: dict[str, Any] = {"bundle_root": run.root, "dataset_dir": Path(data)}
    if device is not None:
        values["device"] = f"$torch.device('{device}')"
    if bank is not None:
        values["bank_dir"] = Path(bank)
    text = training_configuration(config, settings, **fixed)
    parser = load_configuration(settings_of(text), **values)
    # The cohort is read once: what is recorded is what is trained on.
    cohort = build(parser, "cohort")
    channels = channels_of(cohort["training"] + cohort["validation"])
    known = {"channels": channels, "modality": _modality(parser["modality"], cohort)}
    text = with_settings(text, known)
    for key, value in (known | {"cohort": cohort}).items():
        parser[key] = value
    fingerprints = {split: fingerprint_of_cohort(entries) for split, entries in cohort.items()}
    _refuse_another(run, text, fingerprints, resume, data)
    if run.weights.exists() and run.calibration.exists():
        logger.info("%s: its training has ended already", run.root)
        return

    build(parser, "initialize")
    _check(parser)
    barrier()  # no process may look for a run after another has begun it
    if rank() == 0:
        run.create(text)
        write_json(run.cohort, fingerprints)
    barrier()
    trainer = build(parser, "train::trainer")
    if resume and (epoch := build(parser, "checkpoints").resume(trainer)):
        logger.info("resuming after epoch %d", epoch)
    if rank() == 0:
        failures = {**build(parser, "train::dataset").failed, **build(parser, "validate::dataset").failed}
        write_json(run.left_out, failures)
    if not run.weights.exists():
        if trainer.state.epoch < trainer.state.max_epochs:
            trainer.run()
        else:  # it was stopped between its last checkpoint and its weights
            trainer.fire_event(Events.COMPLETED)
    build(parser, "calibration")()
    following = f"{program()} predict --model {run.root} --input SCANS --output DIR"
    logger.info("the model is in %s; next: %s", run.root, following)


def _modality(setting: str, cohort: dict[str, list[Entry]]) -> str:
    """Return the modality of a cohort: the setting, or if that says nothing, what the names of all scans tell."""
    if setting != UNKNOWN_MODALITY:
        return setting
    modality = modality_of(entry for entries in cohort.values() for entry in entries)
    if modality != UNKNOWN_MODALITY:
        logger.info("modality: %s, by the names of the scans (--set modality=... if it is another)", modality)
    return modality


def _refuse_another(run: Run, text: str, fingerprints: dict[str, str], resume: bool, data: str | Path) -> None:
    """Refuse to go on with a run that was begun with other settings or scans, or without being asked to."""
    begun = run.training_configuration.exists()
    if begun and not resume:
        raise UsageError(f"{run.root}: there is a run already; give --resume to go on with it, or another --output")
    if begun and run.settings != settings_of(text):
        raise UsageError(
            f"{run.root}: it was begun with other settings (configs/train.yaml), or by another version of this "
            "program; --resume needs the same"
        )
    if run.cohort.exists() and json.loads(run.cohort.read_text(encoding="utf-8")) != fingerprints:
        raise UsageError(f"{run.root}: it was begun with other scans than those of {data}; --resume needs the same")


def _check(parser: Any) -> None:
    """Refuse wrong values before anything is read or computed."""
    if parser["noise"] not in parser["noises"]:
        raise UsageError(f"noise is {parser['noise']!r}; known are {', '.join(parser['noises'])}")
    for part in ("network_def", "objective", "preprocessing", "augmentation", "noises"):
        build(parser, part)
