"""The folder of a run, which is a MONAI bundle: only this file knows the names of its files."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UsageError
from pipeline.files import to_printable
from pipeline.model.card_file import read_card
from pipeline.model.configuration import BUNDLE, load_configuration, settings_of
from pipeline.model.plain_values import is_former, on_installed_blocks
from pipeline.model.settings import FORMER_SETTINGS

logger = logging.getLogger(__name__)

BUNDLE_FILES = (
    "configs/inference.yaml", "configs/evaluate.yaml", "configs/multi_gpu_train.yaml", "configs/metadata.json",
    "configs/logging.conf",
    "docs/README.md", "LICENSE",
)  # fmt: skip
"""Files that a run copies unchanged from the bundle."""


@dataclass(frozen=True)
class Run:
    """A training run, or the model that it made.

    Attributes:
        root: its folder.
    """

    root: Path

    @classmethod
    def at(cls, folder: str | Path) -> "Run":
        """Return the run in a folder; the MONAI bundle gives a number for a folder named 2024."""
        return cls(Path(str(folder)))

    @property
    def training_configuration(self) -> Path:
        """The configuration of its training."""
        return self.root / "configs" / "train.yaml"

    @property
    def inference_configuration(self) -> Path:
        """The configuration of its predictions."""
        return self.root / "configs" / "inference.yaml"

    @property
    def weights(self) -> Path:
        """The weights of the last epoch; the file exists once training has finished."""
        return self.root / "models" / "model.pt"

    @property
    def weight_settings(self) -> Path:
        """The settings that the weights were trained with."""
        return self.weights.with_suffix(".json")

    @property
    def calibration(self) -> Path:
        """The calibration: how high healthy scans score."""
        return self.root / "models" / "calibration.json"

    @property
    def trained_on(self) -> Path:
        """A description of the training scans, without naming any."""
        return self.root / "models" / "trained_on.json"

    @property
    def cohort(self) -> Path:
        """The fingerprints of its training and validation split."""
        return self.root / "cohort.json"

    @property
    def left_out(self) -> Path:
        """The training scans that could not be used, each with its reason."""
        return self.root / "left_out.json"

    @property
    def settings(self) -> dict[str, Any]:
        """The keys and values of its training configuration."""
        return FORMER_SETTINGS | settings_of(self.training_configuration.read_text(encoding="utf-8"))

    @property
    def is_former(self) -> bool:
        """Whether a former version of this program wrote it."""
        file = self.inference_configuration
        return file.is_file() and is_former(settings_of(file.read_text(encoding="utf-8")))

    def create(self, configuration: str) -> None:
        """Make the folder, with the text of a training configuration and the files of every bundle."""
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        for name in BUNDLE_FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(BUNDLE / name, self.root / name)
        self.training_configuration.write_text(configuration, encoding="utf-8")

    def training_facts(self) -> dict[str, Any]:
        """Return the description of its training scans, empty if there is none."""
        return json.loads(self.trained_on.read_text(encoding="utf-8")) if self.trained_on.is_file() else {}

    def cohort_name(self) -> str:
        """Return the name of the cohort that it was trained on: by its card, else the datalist's folder; or ""."""
        card = self.root / "docs" / "card.md"
        try:
            source = read_card(card).facts.get("data_source", "") if card.is_file() else ""
        except UsageError as error:  # a damaged text does not stop a model
            logger.debug("%s", error)
            source = ""
        # What follows in a card is the licence.
        return to_printable(source.partition(";")[0].strip() or str(self.training_facts().get("cohort", "")))

    def failures(self) -> dict[str, str]:
        """Return the training scans that could not be used, each with its reason."""
        failures: dict[str, str] = {}
        if self.left_out.is_file():
            failures = json.loads(self.left_out.read_text(encoding="utf-8"))
        return failures

    def calibration_note(self) -> str:
        """Return what its calibration says of itself on one line, empty if there is none.

        Raises:
            UsageError: if the file is damaged.
        """
        if not self.calibration.is_file():
            return ""
        try:
            return to_printable(json.loads(self.calibration.read_text(encoding="utf-8"))["note"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.calibration}: not a calibration; copy the model again") from error

    def model_files(self) -> list[Path]:
        """Return the files of the model: all that prediction, packing and export need."""
        model = (self.weights, self.weight_settings, self.calibration, self.trained_on)
        files = [file for part in ("configs", "docs") for file in sorted((self.root / part).glob("*"))]
        files.append(self.root / "LICENSE")
        return [file for file in (*files, *model) if file.is_file()]

    def load_inference(self, device: str | torch.device | None = None, **values: Any) -> Any:
        """Return MONAI's `ConfigParser` of its inference configuration, with other values for some keys.

        Args:
            device: where to compute; if None, the GPU if there is one.
            values: the new values by key; None keeps the configuration's own.

        Raises:
            UsageError: if the folder has no inference configuration.
        """
        if not self.inference_configuration.is_file():
            raise UsageError(f"{self.root}: not a model; give the directory that `train` wrote, or the zip of `pack`")
        configuration = settings_of(self.inference_configuration.read_text(encoding="utf-8"))
        if is_former(configuration):
            logger.warning(
                "%s: a former version wrote it; its plain values are used, and all else is this version's",
                self.inference_configuration,
            )
            configuration = settings_of(on_installed_blocks("inference.yaml", configuration))
        values = {key: value for key, value in values.items() if value is not None}
        if device is not None:
            values["device"] = f"$torch.device('{torch.device(device)}')"
        return load_configuration(configuration, bundle_root=self.root, **values)
