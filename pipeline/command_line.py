"""The command line. Whatever is heavy to import is imported where it is needed, so that --help is quick."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from pipeline import __version__
from pipeline.errors import UsageError

FPR = (
    "share of a healthy brain's voxels that CASE_anomalies may mark wrongly (default 0.003, which is 4 ml of a brain "
    "of 1300 ml; report.html says how many ml for the model's own healthy scans)"
)
RESEARCH_ONLY = "For research use only, not for diagnosis."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 all done, 1 some scans failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    # Threads that wait by spinning make torch 25 times slower where another program needs the same processors.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _quieten_libraries(options.verbose)
    try:
        return int(options.run(options))
    except UsageError as error:
        if _is_first():
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped (train: with --resume)", file=sys.stderr)
        return 130


def _is_first() -> bool:
    """Return whether this process is the one that speaks: of several that torchrun started, the first."""
    return os.environ.get("RANK", "0") == "0"


def _quieten_libraries(verbose: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    level = logging.DEBUG if verbose else logging.INFO
    logging.getLogger("pipeline").setLevel(level if _is_first() else logging.ERROR)
    for name in (
        "ignite",
        "monai",
        "pipeline.training.trainer.CEVAETrainer",
        "pipeline.training.trainer.CEVAEEvaluator",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not verbose:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for the processes that preprocess


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        usage="python -m pipeline [-h] [--version] COMMAND ...",
        description="Find what is unusual in brain MRI, with a model that has seen healthy scans only (ceVAE).\n"
        + RESEARCH_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    overview: list[str] = []
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        metavar="COMMAND", required=True, prog="python -m pipeline", help=argparse.SUPPRESS
    )

    def part(title: str) -> None:
        overview.extend(["", f"{title}:"])

    def command(name: str, run, summary: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        sub = commands.add_parser(name, description=f"{summary} {RESEARCH_ONLY}", allow_abbrev=False)
        sub.set_defaults(run=run)
        sub.add_argument("--verbose", action="store_true", help="say more, with where an error came from")
        overview.append(f"  {name:<10}{summary}")
        return sub

    part("new scans")
    predict = command("predict", _predict, "Write anomaly maps of new scans, and a report of them.")
    given = predict.add_argument_group("what goes in")
    given.add_argument(
        "--model", required=True, metavar="RUN", help="directory that `train` wrote, or a .zip of `pack`"
    )
    given.add_argument(
        "--input", required=True, nargs="+", metavar="PATH",
        help="scans (.nii, .nii.gz), folders of scans, DICOM series or BIDS, or a datalist",
    )  # fmt: skip
    given.add_argument(
        "--mask", nargs="+", default=[], metavar="PATH",
        help="brain masks: their folder (such as HD-BET's), or one for each scan in order; not needed where the "
        "skull is stripped already",
    )  # fmt: skip
    made = predict.add_argument_group("what comes out")
    made.add_argument(
        "--output", required=True, metavar="DIR", help="folder of report.html, summary.csv and a folder for each scan"
    )
    made.add_argument("--fpr", type=float, metavar="F", help=FPR)
    made.add_argument("--overwrite", action="store_true", help="make scans anew whose outputs are there already")
    _device(predict)

    part("try it")
    demo = command("demo", _demo, "Make phantoms, train, predict and evaluate: the whole way, in minutes.")
    demo.add_argument("--output", required=True, metavar="DIR", help="folder of all that it makes")
    _device(demo)

    phantom = command("phantom", _phantom, "Make a cohort of T2-like brain phantoms, some with lesions.")
    phantom.add_argument("--output", required=True, metavar="DIR", help="folder of the cohort and its datalist.json")
    phantom.add_argument("--healthy", required=True, type=int, metavar="N", help="phantoms without lesions")
    phantom.add_argument("--lesioned", required=True, type=int, metavar="M", help="phantoms with lesions")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other brains (default 0)")

    part("a model of your own")
    index = command("index", _index, "List the scans of a downloaded cohort in a datalist.")
    index.add_argument("directory", metavar="DIR", help="folder of the cohort")
    index.add_argument("--layout", required=True, help="folder, bids, brats2017, isles2015, hcp, ixi or msd")
    index.add_argument("--output", required=True, metavar="DATALIST", help="JSON file to write; its other splits stay")
    index.add_argument("--modality", nargs="+", default=[], metavar="M", help="sequence, or several for channels")
    index.add_argument("--healthy", action="store_true", help="healthy scans: no labels, split training")
    index.add_argument("--split", metavar="NAME", help="default test, or training with --healthy")
    patterns = index.add_argument_group("with --layout folder, where files are")
    patterns.add_argument("--image", nargs="+", default=[], metavar="PATTERN", help="scans, such as '{case}/t2'")
    patterns.add_argument("--label", metavar="PATTERN", help="lesion labels, such as '{case}/lesion'")
    patterns.add_argument("--mask", metavar="PATTERN", help="brain masks, such as '{case}/brain'")

    train = command("train", _train, "Learn healthy anatomy from healthy scans.")
    train.add_argument("--data", required=True, metavar="DATALIST", help="JSON file that lists the scans")
    train.add_argument("--output", required=True, metavar="RUN", help="directory of the model")
    _configuration(train)
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument("--seed", type=int, metavar="S", help="same seed, same machine: same weights")
    _device(train)

    evaluate = command("evaluate", _evaluate, "Measure a model on scans with annotated lesions.")
    evaluate.add_argument(
        "--model", required=True, metavar="RUN", help="directory that `train` wrote, or a .zip of `pack`"
    )
    evaluate.add_argument("--data", required=True, metavar="DATALIST", help="JSON file that lists the scans")
    evaluate.add_argument("--split", default="test", metavar="NAME", help="split of the datalist (default test)")
    evaluate.add_argument("--output", required=True, metavar="DIR", help="folder of metrics.json")
    _device(evaluate)

    compare = command("compare", _compare, "Train and evaluate VAE, ceVAE and CE over several seeds.")
    compare.add_argument("--data", required=True, metavar="DATALIST", help="JSON file that lists the scans")
    compare.add_argument("--output", required=True, metavar="DIR", help="folder of runs, evaluations and comparison")
    compare.add_argument("--lambdas", nargs="+", type=float, default=[0, 0.5, 1], metavar="L", help="default 0 0.5 1")
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds for each lambda (default 3)")
    compare.add_argument("--split", default="test", metavar="NAME", help="split of the datalist (default test)")
    _configuration(compare)
    _device(compare)

    part("hand it on")
    pack = command("pack", _pack, "Put a model into one file that runs elsewhere, without this program.")
    pack.add_argument("--model", required=True, metavar="RUN", help="directory that `train` wrote")
    pack.add_argument("--output", required=True, metavar="FILE.zip", help="the file: a MONAI bundle")
    pack.add_argument(
        "--evaluation", nargs="+", default=[], metavar="DIR", help="what `evaluate` wrote: for the model card"
    )
    parser.epilog = "\n".join([*overview, "", "What a command takes: python -m pipeline COMMAND --help"])
    return parser


def _configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default="train", metavar="NAME|FILE", help="train (default), train_paper or a file")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change settings")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:1 (default: the GPU where there is one)")


def _checked_device(name: str | None) -> str | None:
    """Return the device's name, refused where it is unknown or not there."""
    if name is None:
        return None
    import torch

    try:
        if torch.zeros(1, device=name).item() == 0:  # a device that computes
            return name
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    raise UsageError(f"--device {name}: there is no such device here; give cpu, cuda or cuda:1")


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
    from pipeline.training import train

    device = _checked_device(options.device)
    run = train(options.data, options.output, options.config, options.set, options.resume, options.seed, device)
    left_out = run / "left_out.json"
    return 1 if left_out.exists() and left_out.read_text(encoding="utf-8") != "{}" else 0


def _predict(options: argparse.Namespace) -> int:
    from pipeline.prediction import predict

    device = _checked_device(options.device)
    paths = (options.model, options.input, options.output, options.mask)
    results = predict(*paths, device, options.overwrite, options.fpr)
    failed = sum(result.status == "failed" for result in results)
    if _is_first():
        print(f"{len(results) - failed} of {len(results)} scans done; look at {Path(options.output) / 'report.html'}")
    return 1 if failed else 0


def _evaluate(options: argparse.Namespace) -> int:
    from pipeline.evaluation import evaluate, summary_text

    device = _checked_device(options.device)
    metrics = evaluate(options.model, options.data, options.output, options.split, device)
    print(summary_text(metrics))
    print(f"all of it: {Path(options.output) / 'metrics.json'}")
    return 1 if metrics.failed else 0


def _compare(options: argparse.Namespace) -> int:
    from pipeline.evaluation import compare, markdown

    device = _checked_device(options.device)
    arguments = (options.lambdas, options.seeds, options.config, options.set, options.split, device)
    print(markdown(compare(options.data, options.output, *arguments)))
    print(f"table and picture: {Path(options.output) / 'comparison.md'}, comparison.png")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from pipeline.model import pack

    file = pack(options.model, options.output, options.evaluation)
    print(f"{file} ({file.stat().st_size / 1e6:.1f} MB); next: python -m pipeline predict --model {file} ...")
    return 0
