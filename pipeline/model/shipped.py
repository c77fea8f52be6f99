"""Models that ship with the project: the packed bundles beside its own, each with a name that `--model` takes."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.model.integrity import SUMS, check_folder

logger = logging.getLogger(__name__)

BUNDLES = Path(__file__).parents[2] / "bundles"
"""The folder of the bundles, in a checkout as in an installation."""

SUFFIX = "_cevae"
"""The end of a bundle's folder, which is not in the model's name."""


@dataclass(frozen=True)
class ShippedModel:
    """What a model that ships says of itself.

    Attributes:
        name: what `--model` takes.
        modality: the sequence that it knows.
        scans: the scans that it was trained on.
        finds: what it finds.
        misses: what it misses.
        problem: why it cannot be used; empty if it can be.
    """

    name: str
    modality: str
    scans: str
    finds: str
    misses: str
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.name}\n  cannot be used: {self.problem}"
        facts = {"modality": self.modality, "saw": self.scans, "finds": self.finds, "misses": self.misses}
        return "\n".join([self.name, *(f"  {key + ':':<10}{value}" for key, value in facts.items() if value)])


def shipped_folders() -> dict[str, Path]:
    """Return the folder of each shipped model by the model's name: `bundles/ixi_t1_cevae` is `ixi-t1`."""
    folders = sorted(BUNDLES.glob(f"*{SUFFIX}"))
    # The project's own bundle has no sums: nothing was trained in it.
    return {_name_of(folder): folder for folder in folders if (folder / SUMS).is_file()}


def shipped_models() -> list[ShippedModel]:
    """Return all models that ship, those too that were damaged."""
    return [_described(name, folder) for name, folder in shipped_folders().items()]


def find_model(model: str | Path) -> Path:
    """Return the folder or file of a model: a path, or else the name of a model that ships.

    Raises:
        UsageError: if it is neither.
    """
    path, folders = Path(str(model)), shipped_folders()  # the MONAI bundle gives a number for 2024
    shipped = folders.get(str(model))
    if path.exists():
        if shipped is not None:
            logger.warning("%s: taken from %s, not the model of this name that ships", model, path.absolute())
        return path
    if shipped is not None:
        return shipped
    names = f", or the name of a model that ships: {', '.join(folders)}" if folders else ""
    raise UsageError(f"{model}: not a model; give the directory that `train` wrote, a zip of `pack`{names}")


def _name_of(folder: Path) -> str:
    return folder.name.removesuffix(SUFFIX).replace("_", "-")


def _described(name: str, folder: Path) -> ShippedModel:
    try:
        check_folder(folder)
    except UsageError as error:
        return ShippedModel(name, "", "", "", "", problem=str(error))
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    facts = [str(metadata.get(key, "")) for key in ("cevae_scans", "cevae_finds", "cevae_misses")]
    return ShippedModel(name, str(metadata["training_cohort"].get("modality", "MR")), *facts)
