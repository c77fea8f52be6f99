"""The options of the command line: which commands there are, and what each takes."""

import argparse
from typing import Any

from pipeline.installation import program
from pipeline.version import __version__

INPUT = "scans (.nii, .nii.gz, .mgz, .nrrd, .mha), DICOM series, folders of these, a BIDS tree, or a datalist"
MASK = "brain masks: a folder (such as HD-BET's), or one for each scan in order; not needed if the skull is removed"
BRAIN = (
    "how the brain is found in a head without a mask: auto (default: deepbet for T1, hd-bet for the rest, as in the "
    "model's training), deepbet, hd-bet, or none (the whole head is scored)"
)
FPR = (
    "share of a healthy brain's voxels that CASE_anomalies may mark wrongly (default 0.003, which is 4 ml of a brain "
    "of 1300 ml; report.html gives the volume for the model's own healthy scans)"
)
SHARE = "do only the I-th of N shares of the scans, for the jobs of a cluster; at the end, run it once without --share"
LAYOUT = "case (default): a folder for each scan; bids: a BIDS derivative dataset, with these folders in DIR/cases"
DICOM = (
    "for scans that came as DICOM, write CASE_seg.dcm (a SEG of the clusters) and CASE_preview.dcm, in the scan's study"
)
KEY = (
    "write a table (CSV) that tells which CASE is which DICOM series; only you can read it, and the results name no "
    "patient without it"
)
RESEARCH_ONLY = "For research use only, not for diagnosis."
MODEL = "folder that `train` wrote, .zip that `pack` wrote, or name of a model that ships (see `models`)"
SHARED: dict[str, dict[str, Any]] = {
    "--model": {"required": True, "metavar": "RUN|ZIP|NAME", "help": MODEL},
    "--data": {"required": True, "metavar": "DATALIST", "help": "JSON file that lists the scans"},
    "--split": {"default": "test", "metavar": "NAME", "help": "split of the datalist (default test)"},
    "--config": {"default": "train", "metavar": "NAME|FILE", "help": "train (default), train_paper or a file"},
    "--set": {"nargs": "+", "action": "extend", "default": [], "metavar": "KEY=VALUE", "help": "change settings"},
    "--device": {"metavar": "D", "help": "cpu, cuda or cuda:1 (default: the GPU if there is one)"},
}
"""Options that several commands share."""


def _rate(text: str) -> float:
    """Return a number below 1 such as 0.003."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 0.003 for 0.3 %") from None


def _share(text: str) -> tuple[int, int]:
    """Return the numbers of a share such as 3/16."""
    number, _, shares = text.partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 1/16 for the first of 16, to 16/16 for the last")
    return int(number), int(shares)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it sets `command` to the name of the command that was given."""
    parser = argparse.ArgumentParser(
        prog=program(),
        usage=f"{program()} [-h] [--version] COMMAND ...",
        description="Find unusual places in brain MRI with a model that was trained on healthy scans only (ceVAE).\n"
        + RESEARCH_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    overview: list[str] = []
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog=program(), help=argparse.SUPPRESS)

    def part(title: str) -> None:
        overview.extend(["", f"{title}:"])

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, description=f"{summary} {RESEARCH_ONLY}", allow_abbrev=False)
        sub.set_defaults(command=name)
        sub.add_argument("--verbose", action="store_true", help="print more detail, including tracebacks")
        overview.append(f"  {name:<10}{summary}")
        return sub

    part("new scans")
    predict = command("predict", "Write anomaly maps and a report of new scans.")
    given = predict.add_argument_group("input")
    _shared(given, "--model")
    given.add_argument("--input", required=True, nargs="+", metavar="PATH", help=INPUT)
    given.add_argument("--mask", nargs="+", default=[], metavar="PATH", help=MASK)
    given.add_argument("--brain", metavar="TOOL", help=BRAIN)
    given.add_argument("--share", type=_share, default=(1, 1), metavar="I/N", help=SHARE)
    made = predict.add_argument_group("output")
    made.add_argument("--output", required=True, metavar="DIR", help="folder for report.html and the maps of each scan")
    made.add_argument("--fpr", type=_rate, metavar="F", help=FPR)
    made.add_argument("--layout", choices=("case", "bids"), help=LAYOUT)
    made.add_argument("--dicom", action="store_true", default=None, help=DICOM)
    made.add_argument("--key", metavar="FILE", help=KEY)
    made.add_argument("--overwrite", action="store_true", help="recompute scans that already have results")
    _shared(predict, "--device")

    calibrate = command("calibrate", "Fit the threshold of a model to your scanner, with healthy scans of it.")
    _shared(calibrate, "--model", "--data")
    calibrate.add_argument("--output", required=True, metavar="RUN", help="folder for the new model, or a .zip")
    healthy = "split of the healthy scans, 20 or more (default training)"
    calibrate.add_argument("--split", default="training", metavar="NAME", help=healthy)
    _shared(calibrate, "--device")

    command("models", "List the models that ship with this program, and what each is for.")

    part("try it")
    demo = command("demo", "Predict a head by the model that ships, then all steps on phantoms, in minutes.")
    demo.add_argument("--output", required=True, metavar="DIR", help="folder for all results")
    _shared(demo, "--device")

    phantom = command("phantom", "Make a cohort of T2-like brain phantoms, some with lesions.")
    phantom.add_argument("--output", required=True, metavar="DIR", help="folder for the cohort and its datalist.json")
    phantom.add_argument("--healthy", required=True, type=int, metavar="N", help="phantoms without lesions")
    phantom.add_argument("--lesioned", required=True, type=int, metavar="M", help="phantoms with lesions")
    phantom.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other brains (default 0)")

    part("train your own model")
    index = command("index", "List the scans of a downloaded cohort in a datalist.")
    index.add_argument("directory", metavar="DIR", help="folder of the cohort")
    index.add_argument("--layout", required=True, help="folder, bids, brats2017, isles2015, hcp, ixi or msd")
    index.add_argument("--output", required=True, metavar="DATALIST", help="JSON file to write; its other splits stay")
    index.add_argument("--modality", nargs="+", default=[], metavar="M", help="sequence, or several as channels")
    index.add_argument("--healthy", action="store_true", help="the scans are healthy: no labels, split training")
    index.add_argument("--split", metavar="NAME", help="split to write (default test, or training with --healthy)")
    patterns = index.add_argument_group("patterns of paths, instead of the layout's own")
    patterns.add_argument("--image", nargs="+", default=[], metavar="PATTERN", help="scans, such as '{case}/t2'")
    patterns.add_argument("--label", metavar="PATTERN", help="lesion labels, such as '{case}/lesion'")
    patterns.add_argument("--mask", metavar="PATTERN", help="brain masks, such as '{case}/brain'")

    train = command("train", "Learn healthy anatomy from healthy scans.")
    _shared(train, "--data")
    train.add_argument("--output", required=True, metavar="RUN", help="folder for the model")
    _shared(train, "--config", "--set")
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    train.add_argument("--seed", type=int, metavar="S", help="the same seed on the same machine gives the same weights")
    _shared(train, "--device")

    evaluate = command("evaluate", "Measure a model on scans with annotated lesions.")
    _shared(evaluate, "--model", "--data", "--split")
    evaluate.add_argument("--output", required=True, metavar="DIR", help="folder for evaluation.html and metrics.json")
    _shared(evaluate, "--device")

    compare = command("compare", "Train and evaluate VAE, ceVAE and CE over several seeds.")
    _shared(compare, "--data")
    compare.add_argument("--output", required=True, metavar="DIR", help="folder for runs, evaluations and comparison")
    compare.add_argument("--lambdas", nargs="+", type=float, default=[0, 0.5, 1], metavar="L", help="default: 0 0.5 1")
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds for each lambda (default 3)")
    sweep = "train with each value of a setting, such as kl_weight=1,10,100; several sweeps are combined"
    compare.add_argument("--sweep", nargs="+", default=[], metavar="KEY=VALUE,VALUE", help=sweep)
    _shared(compare, "--split", "--config", "--set", "--device")

    part("give a model to others")
    pack = command("pack", "Put a model into one file that also runs without this program, or into a folder.")
    packed = "folder that `train` wrote, or name of a model that ships"
    pack.add_argument("--model", required=True, metavar="RUN|NAME", help=packed)
    bundle = "a MONAI bundle with the code in it, or a folder for the same without the code"
    pack.add_argument("--output", required=True, metavar="FILE.zip|DIR", help=bundle)
    evaluations = "folders that `evaluate` wrote, for the model card"
    pack.add_argument("--evaluation", nargs="+", default=[], metavar="DIR", help=evaluations)
    card = "text for the model card: Markdown with a head of YAML, see the how-to for data scientists"
    pack.add_argument("--card", metavar="FILE", help=card)
    license_of_scans = "text with the licence of the training scans and the attribution that it asks for"
    pack.add_argument("--data-license", metavar="FILE", help=license_of_scans)
    parser.epilog = "\n".join([*overview, "", f"Options of a command: {program()} COMMAND --help"])
    return parser


def _shared(parser: argparse._ActionsContainer, *names: str) -> None:
    for name in names:
        parser.add_argument(name, **SHARED[name])
