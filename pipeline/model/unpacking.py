"""A model from wherever it is: a run's directory, or a packed bundle, of which only values are read and no code."""

import logging
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml

from pipeline.errors import UsageError
from pipeline.model.integrity import SUMS, check_contents, check_folder, is_litter, packed_sums
from pipeline.model.plain_values import GUARDED_BLOCKS, on_installed_blocks
from pipeline.model.run import Run
from pipeline.model.shipped import find_model

logger = logging.getLogger(__name__)

LARGEST = 4 << 30
"""Bytes that a bundle may have when it is unpacked."""

MOST_FILES = 1000

UNPACKED_FILES = ("models/model.pt", "models/model.json", "models/calibration.json", "models/trained_on.json")
"""Files that are taken as they are, as the texts in docs/ are; of the configurations only the plain values are."""


@contextmanager
def open_model(model: str | Path) -> Iterator[Path]:
    """Give the run's directory of a model: its own, or one made of a packed bundle for as long as it is needed.

    Of a zip only the weights and plain values are read; the code that runs is the installed one.

    Args:
        model: the directory that training wrote, the zip or the folder that `pack` wrote, or the name of a model that
            ships with the project; if there is a directory or a zip of this name, it is taken, and a warning says so.

    Raises:
        UsageError: if there is no such model, or a packed one is damaged, changed, of a newer format, unsafe, has the
            calibration of another, or needs code of its own.
    """
    model = find_model(model)
    if not model.is_file():
        if (model / SUMS).is_file():
            check_folder(model)
        yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / model.stem
        _unpack(model, run)
        yield run


def _unpack(file: Path, run: Path) -> None:
    """Make a run of the zip's weights and values, and of the installed bundle."""
    content = _checked(file)
    try:
        packed = {name: dict(yaml.safe_load(content[f"configs/{name}"]).items()) for name in GUARDED_BLOCKS}
    except (KeyError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: not a bundle that `pack` wrote, or damaged; copy it again") from error
    try:
        texts = {name: on_installed_blocks(name, settings) for name, settings in packed.items()}
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    folder = Run(run)
    folder.create(texts["train.yaml"])
    folder.inference_configuration.write_text(texts["inference.yaml"], encoding="utf-8")
    for name, data in content.items():
        if name in UNPACKED_FILES or name.startswith("docs/"):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(data)


def _checked(file: Path) -> dict[str, bytes]:
    """Return the contents of a zip whose every file is the one that was packed."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _refuse_unsafe(file, entries)
            names = _packed_names([entry.filename for entry in entries])
            content = {name: archive.read(entry) for entry in entries if (name := names.get(entry.filename))}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{file}: not a model, and no whole zip file; give what `train` or `pack` wrote") from error
    check_contents(file, packed_sums(file, content.pop(SUMS, None)), content)
    return content


def _packed_names(names: Sequence[str]) -> dict[str, str]:
    """Return the name that each file of a zip was packed under.

    Where Finder or Explorer made the zip again, all is in one top folder, and there are folders and files of their own.
    """
    paths = {name: PurePosixPath(name) for name in names if not name.endswith("/")}
    kept = {name: path for name, path in paths.items() if not is_litter(path)}
    top = min(
        (path.parent for path in kept.values() if path.name == SUMS), key=lambda top: len(top.parts), default=None
    )
    if top is None or not all(path.is_relative_to(top) for path in kept.values()):
        return {name: name for name in kept}
    return {name: str(path.relative_to(top)) for name, path in kept.items()}


def _refuse_unsafe(file: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what would be too much, or lead out of a folder that it is unpacked into."""
    names = [entry.filename for entry in entries]
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise UsageError(f"{file}: unsafe, for it has a file that leads elsewhere ({name!r})")
    if len(set(names)) != len(names):
        raise UsageError(f"{file}: unsafe, for it has two files of one name")
    if len(names) > MOST_FILES or sum(entry.file_size for entry in entries) > LARGEST:
        raise UsageError(f"{file}: too large to be a model")
