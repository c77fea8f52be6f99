"""Packing: a run as a MONAI bundle that is handed on, in one file or as a folder.

    python -m pipeline pack --model RUN --output NAME.zip
    python -m pipeline pack --model RUN --output bundles/NAME_cevae

The zip has the code that its configurations name, so that it runs elsewhere with nothing but the packages that its
metadata names. The folder is the same without the code, for models that ship with the project. Same run, same bytes: in
the zip, files stand in the order of their names, without times, and are not compressed, for weights do not shrink.
"""

import importlib.metadata
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, reason_of
from pipeline.files import written_aside
from pipeline.installation import OWN_PACKAGES
from pipeline.model.card_file import CardFile, read_card
from pipeline.model.configuration import BUNDLE
from pipeline.model.evaluations import EvaluationSummary, read_evaluation
from pipeline.model.integrity import FORMAT, SUMS, sums_of
from pipeline.model.model_card import card_of_zip, model_card
from pipeline.model.run import Run
from pipeline.model.trained import load_model
from pipeline.model.unpacking import open_model
from pipeline.version import __version__

CODE = ("*.py", "*.j2", "*.js", "*_LICENSE.txt")
"""Its files: modules, the templates and scripts of the pages, and the licences of scripts by others."""

OWN_KEYS = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
"""Packages that have a key of their own in a bundle's metadata."""


def pack(
    run: str | Path,
    output: str | Path,
    evaluations: Sequence[str | Path] = (),
    card: str | Path | None = None,
    data_license: str | Path | None = None,
) -> Path:
    """Write a run as a bundle, in one zip file or as a folder without the code, and return it.

    Args:
        run: the directory that training wrote, or the name of a model that ships.
        output: the file, which ends in .zip, or the folder.
        evaluations: folders that `evaluate` wrote of this model; their tables go into the model card.
        card: a text for the model card, see `read_card`; if None, the run's own docs/card.md if there is one.
        data_license: a text with the licence of the training scans and the attribution that it asks for; if None, the
            run's own docs/data_license.txt if there is one.

    Raises:
        UsageError: if the run is not complete, or a file cannot be read or written.
    """
    output = Path(output)
    if output.suffix not in ("", ".zip"):
        raise UsageError(f"{output}: the name of a file must end in .zip, and that of a folder has no dot")
    if Path(run).is_file():
        raise UsageError(f"{run}: it is packed already; hand it on as it is")
    with open_model(run) as folder:
        load_model(folder, "cpu")  # what cannot be used is not handed on
        if Run(folder).is_former:
            raise UsageError(
                f"{run}: a former version trained it, and its configurations need that one; pack it with that one"
            )
        if (folder / SUMS).is_file():
            if evaluations or card or data_license:
                raise UsageError(f"{run}: it is packed already, with its card; give the directory that `train` wrote")
            content = {file.relative_to(folder).as_posix(): file.read_bytes() for file in Run(folder).model_files()}
        else:
            content = _content(folder, [read_evaluation(Path(e)) for e in evaluations], card, data_license, output)
    if output.suffix == ".zip":
        metadata = json.loads(content["configs/metadata.json"])
        card = card_of_zip(content["docs/README.md"].decode(), metadata["version"])
        content |= _code(metadata) | {"docs/README.md": card.encode()}
    content[SUMS] = sums_of(content)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        (_write_zip if output.suffix == ".zip" else _write_folder)(output, content)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written ({reason_of(error)})") from error
    return output


def _write_zip(file: Path, content: Mapping[str, bytes]) -> None:
    with written_aside(file) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name)  # of 1980, as all of them
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # the same on every system
            archive.writestr(entry, content[name])


def _write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: it is there already, and no empty folder; delete it, or give another --output")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as aside:
        made = Path(aside) / folder.name
        for name, data in content.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(data)
        if folder.is_dir():
            folder.rmdir()  # it is empty; on Windows a folder replaces none
        made.rename(folder)


def _content(
    run: Path,
    evaluations: Sequence[EvaluationSummary],
    card: str | Path | None,
    data_license: str | Path | None,
    output: Path,
) -> dict[str, bytes]:
    """Return all files of the bundle but the code and the sums."""
    content = {file.relative_to(run).as_posix(): file.read_bytes() for file in Run(run).model_files()}
    if data_license is not None:
        content["docs/data_license.txt"] = _text_of(Path(data_license)).encode()
    text = CardFile()
    if card is not None or "docs/card.md" in content:
        text = read_card(Path(card) if card is not None else run / "docs" / "card.md")
        content |= {f"docs/{name}": data for name, data in text.files.items()}
    metadata = _metadata(run, evaluations) | dict(text.facts)
    has_license = "docs/data_license.txt" in content
    content["configs/metadata.json"] = (json.dumps(metadata, indent=4) + "\n").encode()
    readme = model_card(run, metadata, evaluations, text.text, has_license, with_code=output.suffix == ".zip")
    content["docs/README.md"] = readme.encode()
    return content


def _code(metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the code of this program, and the list of the packages that it needs."""
    pins = {name: metadata[key] for name, key in OWN_KEYS.items()} | metadata["required_packages_version"]
    requirements = "".join(f"{name}=={version}\n" for name, version in pins.items() if version)
    code = {"requirements.txt": requirements.encode()}
    source = Path(__file__).parents[2]
    for package in OWN_PACKAGES:
        for file in (file for kind in CODE for file in source.joinpath(package).rglob(kind)):
            code[file.relative_to(source).as_posix()] = file.read_bytes()
    return code


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: it cannot be read as text ({reason_of(error)})") from error


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
    if "training" in trained_on:
        scans = f"{trained_on['training']['scans']} scans, taken as healthy"
        metadata |= {"cevae_scans": scans, "data_source": f"{scans}; they are not part of the bundle"}
    for evaluation in evaluations:
        cohort = f"{evaluation.cohort} {evaluation.split}"
        for key in ("ap", "auroc_brain", "best_dice"):
            metadata["eval_metrics"][f"{key} ({cohort})"] = getattr(evaluation.voxels["recommended"], key)
        metadata.setdefault("key_metric", f"ap ({cohort})")  # of the first one
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
