"""The command line. Functions import heavy packages only when a command needs them, so that --help stays fast."""

import argparse
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import LostProcessError, UsageError
from pipeline.installation import install_command, is_dependency, program
from pipeline.lean_imports import unused_packages_hidden
from pipeline.options import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 all done, 1 some scans failed, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the console cannot show must fail no run
    options = build_parser().parse_args(arguments)
    options.own_process = arguments is None  # no other code needs this process
    # Threads that wait by spinning make torch 25 times slower if another program needs the same processors.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _quieten_libraries(options.verbose)
    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        return _refuse(str(error))
    except LostProcessError as error:
        print(f"error: {error}; {_again(options.command)}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if not is_dependency(error):
            raise
        return _refuse(
            f"the package {(error.name or '').partition('.')[0]} is not installed; install it by: {install_command()}"
        )
    except KeyboardInterrupt:
        print(f"interrupted; {_again(options.command)}", file=sys.stderr)
        return 130


def _again(command: str) -> str:
    """Return how to go on with a command that was stopped."""
    return f"run the same command again to continue{', with --resume' if command == 'train' else ''}"


def _refuse(message: str) -> int:
    """Print an error on one line, and return the status of wrong usage."""
    if _is_first():
        print(f"error: {message}", file=sys.stderr)
    return 2


def _is_first() -> bool:
    """Return whether this process prints: the first one, if torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def _quieten_libraries(verbose: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    level = logging.DEBUG if verbose else logging.INFO
    logging.getLogger("pipeline").setLevel(level if _is_first() else logging.ERROR)
    trainer = "pipeline.training.trainer"
    for name in ("ignite", "monai", f"{trainer}.CEVAETrainer", f"{trainer}.CEVAEEvaluator"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not verbose:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for the worker processes that preprocess


def _checked_device(name: str | None) -> str | None:
    """Return the device's name, or refuse it if this machine has no such device."""
    if name is None:
        return None
    import torch

    try:
        if torch.zeros(1, device=name).item() == 0:  # a device that computes
            return name
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    raise UsageError(f"--device {name}: no such device on this machine; give cpu, cuda or cuda:1")


def _demo(options: argparse.Namespace) -> int:
    from pipeline.demo import demo

    demo(Path(options.output), device=_checked_device(options.device))
    return 0


def _phantom(options: argparse.Namespace) -> int:
    from pipeline.cohorts import make_phantom_cohort

    try:
        datalist = make_phantom_cohort(Path(options.output), options.healthy, options.lesioned, options.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(f"phantoms, not patients: {datalist}")
    return 0


def _index(options: argparse.Namespace) -> int:
    from pipeline.cohorts import index_cohort

    patterns = (options.image, options.label, options.mask)
    arguments = (options.layout, Path(options.output), options.modality, options.healthy, options.split, *patterns)
    splits = index_cohort(Path(options.directory), *arguments)
    print(f"{options.output}: " + ", ".join(f"{len(entries)} {split}" for split, entries in splits.items()))
    return 0


def _train(options: argparse.Namespace) -> int:
    from pipeline.model import Run
    from pipeline.training import train

    device = _checked_device(options.device)
    run = train(options.data, options.output, options.config, options.set, options.resume, options.seed, device)
    return 1 if Run(run).failures() else 0


def _predict(options: argparse.Namespace) -> int:
    if options.own_process:
        # A cluster ends jobs by this signal: the report is still written, as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with unused_packages_hidden():
            import monai  # noqa: F401
    from pipeline.prediction import predict

    device = _checked_device(options.device)
    paths = (options.model, options.input, options.output, options.mask)
    results = predict(
        *paths,
        device,
        overwrite=options.overwrite,
        fpr=options.fpr,
        brain=options.brain,
        share=options.share,
        layout=options.layout,
        dicom=options.dicom,
        key=options.key,
    )
    failed = sum(result.status == "failed" for result in results)
    if _is_first():
        print(f"{len(results) - failed} of {len(results)} scans done; now open {Path(options.output) / 'report.html'}")
        if options.share != (1, 1):
            print("if all shares are done, give the command once without --share: it lists all scans in one report")
    return 1 if failed else 0


def _calibrate(options: argparse.Namespace) -> int:
    from pipeline.scoring import recalibrate

    device = _checked_device(options.device)
    result = recalibrate(options.model, options.data, options.output, options.split, device)
    print(result.summary())
    print(f"the new model: {result.output}; next step: {program()} predict --model {result.output} ...")
    return 1 if result.failed else 0


def _evaluate(options: argparse.Namespace) -> int:
    from pipeline.evaluation import evaluate, summary_text

    device = _checked_device(options.device)
    metrics = evaluate(options.model, options.data, options.output, options.split, device)
    print(summary_text(metrics))
    output = Path(options.output)
    print(f"all results: {output / 'metrics.json'}; now open {output / 'evaluation.html'}")
    return 1 if metrics.failed else 0


def _compare(options: argparse.Namespace) -> int:
    from pipeline.evaluation import compare, markdown

    device = _checked_device(options.device)
    arguments = (options.lambdas, options.seeds, options.config, options.set, options.split, device, options.sweep)
    print(markdown(compare(options.data, options.output, *arguments)))
    print(f"table and picture: {Path(options.output) / 'comparison.md'}, comparison.png")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from pipeline.model import pack

    made = pack(options.model, options.output, options.evaluation, options.card, options.data_license)
    size = sum(file.stat().st_size for file in [made, *made.rglob("*")] if file.is_file())
    print(f"{made} ({size / 1e6:.1f} MB); next step: {program()} predict --model {made} ...")
    return 0


def _models(options: argparse.Namespace) -> int:
    from pipeline.model import shipped_models

    models = shipped_models()
    print("\n\n".join(map(str, models)) if models else "no model ships with this installation")
    if models:
        print(f"\nnext step: {program()} predict --model {models[0].name} --input SCANS --output RESULTS")
    return 1 if any(model.problem for model in models) else 0


COMMANDS = {
    "predict": _predict,
    "calibrate": _calibrate,
    "models": _models,
    "demo": _demo,
    "phantom": _phantom,
    "index": _index,
    "train": _train,
    "evaluate": _evaluate,
    "compare": _compare,
    "pack": _pack,
}
"""The commands by name."""
