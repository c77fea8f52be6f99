"""Packing: one file from a run, which runs elsewhere with nothing but the packages that its metadata names.

    python -m pipeline pack --model RUN --output NAME.zip

The zip is a MONAI bundle with the code that its configurations name. Same run, same bytes: files stand in the order of
their names, without times, and are not compressed, for weights do not shrink.
"""

import importlib.metadata
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, reason_of
from pipeline.files import written_aside
from pipeline.installation import OWN_PACKAGES
from pipeline.model.configuration import BUNDLE
from pipeline.model.evaluations import EvaluationSummary, read_evaluation
from pipeline.model.model_card import model_card
from pipeline.model.run import Run
from pipeline.model.trained import load_model
from pipeline.version import __version__

FORMAT = 2
"""Format of the zip; increased on changes that an older program cannot read. Format 1 is read too (plain_values.py)."""

SUMS = "SHA256SUMS"
"""The SHA-256 of every other file, in the form that `sha256sum --check` reads."""

CODE = ("*.py", "*.j2")
"""Its files: modules, and the templates of the pages."""

OWN_KEYS = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
"""Packages that have a key of their own in a bundle's metadata."""


def pack(run: str | Path, output: str | Path, evaluations: Sequence[str | Path] = ()) -> Path:
    """Write a run as a bundle in one zip file, and return it.

    Args:
        run: the directory that training wrote.
        output: the file.
        evaluations: folders that `evaluate` wrote of this model; their tables go into the model card.

    Raises:
        UsageError: where the run is not complete, or the file cannot be written.
    """
    run, output = Path(run), Path(output)
    if output.suffix != ".zip":
        raise UsageError(f"{output}: its name must end in .zip")
    load_model(run, "cpu")  # what cannot be used is not handed on
    if Run(run).is_former:
        raise UsageError(
            f"{run}: a former version trained it, and its configurations need that one; pack it with that one"
        )
    content = _content(run, [read_evaluation(Path(folder)) for folder in evaluations])
    content[SUMS] = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items())).encode()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(output) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name in sorted(content):
                entry = zipfile.ZipInfo(name)  # of 1980, as all of them
                entry.external_attr = 0o644 << 16
                entry.create_system = 3  # the same on every system
                archive.writestr(entry, content[name])
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({reason_of(error)})") from error
    return output


def _content(run: Path, evaluations: Sequence[EvaluationSummary]) -> dict[str, bytes]:
    """Return all files of the zip but the sums."""
    content = {file.relative_to(run).as_posix(): file.read_bytes() for file in Run(run).model_files()}
    metadata = _metadata(run, evaluations)
    content["configs/metadata.json"] = (json.dumps(metadata, indent=4) + "\n").encode()
    content["docs/README.md"] = model_card(run, metadata, evaluations).encode()
    pins = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    pins |= metadata["required_packages_version"]
    content["requirements.txt"] = "".join(f"{name}=={version}\n" for name, version in pins.items() if version).encode()
    source = Path(__file__).parents[2]
    for package in OWN_PACKAGES:
        for file in (file for kind in CODE for file in source.joinpath(package).rglob(kind)):
            content[file.relative_to(source).as_posix()] = file.read_bytes()
    return content


def _metadata(run: Path, evaluations: Sequence[EvaluationSummary]) -> dict[str, Any]:
    """Return the bundle's metadata with what is true of this run."""
    metadata: dict[str, Any] = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    settings = Run(run).settings
    trained_on = {key: value for key, value in Run(run).training_facts().items() if key != "contents"}
    metadata["cevae_format"] = FORMAT
    metadata["version"] = __version__
    for package, key in OWN_KEYS.items():
        metadata[key] = _version_of(package)
    required = metadata["required_packages_version"]
    metadata["required_packages_version"] = {name: _version_of(name) for name in required} | dict(_foreign(run))
    metadata["training_cohort"] = trained_on | {"seed": settings["seed"]}
    for evaluation in evaluations:
        recommended = evaluation.voxels["recommended"]
        values = {key: getattr(recommended, key) for key in ("ap", "auroc_brain", "best_dice")}
        metadata["eval_metrics"][f"{evaluation.cohort} {evaluation.split}"] = values
    for tensor in (*metadata["network_data_format"]["inputs"].values(), *_outputs(metadata)):
        tensor["num_channels"] = settings["channels"]
        tensor["spatial_shape"] = [settings["size"], settings["size"]]
        name = tensor["channel_def"]["0"]
        names = [name] if settings["channels"] == 1 else [f"{name} {i}" for i in range(settings["channels"])]
        tensor["channel_def"] = {str(i): name for i, name in enumerate(names)}
        tensor["value_range"] = trained_on.get("value_range", tensor["value_range"])
    return metadata


def _outputs(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    return list(metadata["network_data_format"]["outputs"].values())


def _version_of(distribution: str) -> str:
    """Return the version of an installed package without its build; empty where it is not installed."""
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _foreign(run: Path) -> Iterator[tuple[str, str]]:
    """Yield the packages beyond ours and the required ones that the configurations name, and their versions."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((run / "configs").glob("*.yaml")))
    named = re.findall(r"_target_:\s*[\"']?(\w+)\.|\$\s*(?:import|from)\s+(\w+)", text)
    known = {*OWN_PACKAGES, *OWN_KEYS, "ignite", *sys.stdlib_module_names}
    distributions = importlib.metadata.packages_distributions()
    for module in sorted({target or imported for target, imported in named} - known):
        distribution = distributions.get(module, [module])[0]
        yield distribution, _version_of(distribution)
