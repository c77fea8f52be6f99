"""The model card: docs/README.md of a packed bundle, in the form of MONAI's model zoo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.model.configuration import BUNDLE
from pipeline.model.evaluations import EvaluationSummary, ScoreSummary
from pipeline.model.run import Run
from pipeline.model.settings import CARD_SETTINGS

IN_ZIP = "From the folder that the zip was unpacked to"
IN_FOLDER = "With the project installed: from this folder"
"""Where the commands of a bundle run."""

NEEDS_OF_ZIP = "`pip install -r requirements.txt`"
NEEDS_OF_FOLDER = "brain-mri-cevae {version}"
"""What a bundle needs."""

COMMANDS = """\
## MONAI Bundle Commands

{place}, or from elsewhere with its path for `.` and before `configs`. These
commands run the code of the bundle: use them with bundles that you trust.

#### Execute inference

    python -m monai.bundle run --config_file configs/inference.yaml --bundle_root . --dataset_dir SCANS --output_dir OUT

#### Execute evaluation

    python -m monai.bundle run --config_file configs/evaluate.yaml --bundle_root . \\
        --dataset_dir DATALIST --output_dir OUT

#### Execute training

In another copy of the folder, without `models/`:

    python -m monai.bundle run --config_file configs/train.yaml --bundle_root . --dataset_dir DATALIST
"""

DATA_LICENSE = """\
This holds for the code. The weights and the calibration are made of the training scans: docs/data_license.txt has the
licence of the scans, under which they stand, and the attribution that it asks for.
"""


def model_card(
    run: Path,
    metadata: dict[str, Any],
    evaluations: Sequence[EvaluationSummary],
    text_of_model: str = "",
    has_data_license: bool = False,
    with_code: bool = True,
) -> str:
    """Return the card of a run: the bundle's own text with what this model was trained on and how well it did.

    Args:
        run: the directory that training wrote.
        metadata: of the packed bundle.
        evaluations: of this model.
        text_of_model: what its maker writes of it, which comes first.
        has_data_license: whether the bundle has docs/data_license.txt.
        with_code: whether the bundle has the code too.
    """
    text = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    start, end = text.index("## Data\n"), text.index("# References")
    settings = Run(run).settings
    cohort = metadata["training_cohort"]
    scans = [
        f"{cohort[split]['scans']} scans ({cohort[split]['slices']} slices) {purpose}"
        for split, purpose in (("training", "to train on"), ("validation", "held out"))
        if split in cohort
    ]
    packages = metadata["required_packages_version"]
    lacking = [f"`{name}`" for name, version in packages.items() if not version]
    needs = NEEDS_OF_ZIP if with_code else NEEDS_OF_FOLDER.format(version=metadata["version"])
    parts = [
        *([text_of_model] if text_of_model else []),
        "## Data\n",
        f"- Target: anomalies of the brain\n- Modality: {cohort.get('modality', 'MR')}, "
        f"{settings['channels']} channel(s)\n- Scans: {', '.join(scans) or 'not recorded'}, taken as healthy\n"
        f"- Calibration: {Run(run).calibration_note() or 'none'}\n",
        "## Training configuration\n",
        _table(["setting", "value"], [[f"`{key}`", str(settings[key])] for key in CARD_SETTINGS if key in settings]),
        "### Input\n",
        f"Slices (B, {settings['channels']}, {settings['size']}, {settings['size']}) over "
        f"{settings['field_of_view']} mm, in RAS orientation, normalised inside the brain mask.\n",
        "### Output\n",
        "Reconstructions of the same shape. From them and from the gradient of the KL divergence come the maps `rec`, "
        "`kl`, `combined` and `recommended`.\n",
        "## Performance\n",
        *map(_performance, evaluations),
        *(["Not evaluated on annotated scans.\n"] if not evaluations else []),
        "## What it needs\n",
        needs
        + (f", and these packages, which are no installed ones: {', '.join(lacking)}" if lacking else "")
        + ". `sha256sum --check SHA256SUMS` tells whether all files are as they were packed.\n",
        COMMANDS.format(place=IN_ZIP if with_code else IN_FOLDER),
    ]
    return text[:start] + "\n".join(parts) + "\n" + text[end:] + (DATA_LICENSE if has_data_license else "")


def card_of_zip(card: str, version: str) -> str:
    """Return the card of a folder without the code as that of a zip of it, which has the code too."""
    needs = NEEDS_OF_FOLDER.format(version=version)
    return card.replace(f"\n{needs}", f"\n{NEEDS_OF_ZIP}").replace(IN_FOLDER, IN_ZIP)


def _performance(evaluation: EvaluationSummary) -> str:
    columns = list(ScoreSummary.__dataclass_fields__)
    scores = evaluation.voxels | {f"{name} (no model)": values for name, values in evaluation.baselines.items()}
    rows = [[name, *(_number(getattr(values, key)) for key in columns)] for name, values in scores.items()]
    title = f"{evaluation.cohort}, {evaluation.split}: {evaluation.cases} scans, voxels inside the brain.\n\n"
    return title + _table(["score", *columns], rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells]) + "\n"
