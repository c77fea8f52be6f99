"""The folder of a run, which is a bundle: the one place that knows the names of its files."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE, load_configuration, settings_of
from pipeline.model.plain_values import is_former, on_installed_blocks

logger = logging.getLogger(__name__)

BUNDLE_FILES = (
    "configs/inference.yaml", "configs/evaluate.yaml", "configs/multi_gpu_train.yaml", "configs/metadata.json",
    "configs/logging.conf",
    "docs/README.md", "LICENSE",
)  # fmt: skip
"""Files that a run takes from the bundle as they are."""


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        root: its folder.
    """

    root: Path

    @property
    def training_configuration(self) -> Path:
        """The configuration that it is trained with."""
        return self.root / "configs" / "train.yaml"

    @property
    def inference_configuration(self) -> Path:
        """The configuration that it predicts with."""
        return self.root / "configs" / "inference.yaml"

    @property
    def weights(self) -> Path:
        """The weights of the last epoch; they are there once training has ended."""
        return self.root / "models" / "model.pt"

    @property
    def weight_settings(self) -> Path:
        """The settings that the weights were trained with."""
        return self.weights.with_suffix(".json")

    @property
    def calibration(self) -> Path:
        """How high healthy scans score."""
        return self.root / "models" / "calibration.json"

    @property
    def trained_on(self) -> Path:
        """What it was trained on, without naming a scan."""
        return self.root / "models" / "trained_on.json"

    @property
    def cohort(self) -> Path:
        """Fingerprints of the splits that it is trained on."""
        return self.root / "cohort.json"

    @property
    def left_out(self) -> Path:
        """The training scans that could not be used, with the reason of each."""
        return self.root / "left_out.json"

    @property
    def settings(self) -> dict[str, Any]:
        """The keys and values of its training configuration."""
        return settings_of(self.training_configuration.read_text(encoding="utf-8"))

    @property
    def is_former(self) -> bool:
        """Whether a former version of this program wrote it."""
        file = self.inference_configuration
        return file.is_file() and is_former(settings_of(file.read_text(encoding="utf-8")))

    def create(self, configuration: str) -> None:
        """Make the folder: a training configuration's text, and what belongs to every bundle."""
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        for name in BUNDLE_FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(BUNDLE / name, self.root / name)
        self.training_configuration.write_text(configuration, encoding="utf-8")

    def failures(self) -> dict[str, str]:
        """Return the training scans that could not be used, with the reason of each."""
        failures: dict[str, str] = {}
        if self.left_out.is_file():
            failures = json.loads(self.left_out.read_text(encoding="utf-8"))
        return failures

    def load_inference(self, device: str | torch.device | None = None, **values: Any) -> Any:
        """Return MONAI's `ConfigParser` of its inference configuration, with some of its keys set to other values.

        Args:
            device: where to compute; the GPU if there is one when None.
            values: by key; a None leaves the configuration's own.

        Raises:
            UsageError: if there is no such configuration.
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
        return load_configuration(configuration, bundle_root=str(self.root), **values)
