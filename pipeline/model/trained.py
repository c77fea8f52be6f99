"""A trained model: its network and all that was fixed when it was trained."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose

from networks import CEVAE, ScoreOptions
from pipeline.errors import UsageError, reason_of
from pipeline.files import sha256_of
from pipeline.model.configuration import load_configuration
from pipeline.model.run import Run
from transforms import HEAD


@dataclass(frozen=True)
class Model:
    """A trained ceVAE with the preprocessing and the settings that it was trained with."""

    network: CEVAE
    preprocessing: Compose
    settings: dict[str, Any]
    device: torch.device
    fingerprint: str
    """SHA-256 of the weights' file."""
    name: str = ""
    """Name of the run's directory."""
    trained_on: frozenset[str] = frozenset()
    """What the scans hold that it was trained on, see `content_of`; empty if the run does not tell."""
    modality: str = "MR"
    """What the scans are that it was trained on, such as T1 or FLAIR."""
    training_scans: int | None = None
    """Number of the scans that it was trained on; None if the run does not tell."""
    cohort: str = ""
    """Name of the cohort that it was trained on; empty if the run does not tell."""
    learned_heads: bool = False
    """Whether most of the scans that it was trained on were whole heads, without a brain mask."""

    def score_options(self) -> ScoreOptions:
        """Return how its slices are scored: the settings, with millimetres as pixels on the network's grid."""
        settings = self.settings
        return ScoreOptions(
            reconstruction=settings["reconstruction"],
            polarity=settings["polarity"],
            smoothing=float(settings["smoothing"] * settings["size"] / settings["field_of_view"]),
            # A sagittal slice has no other side.
            symmetry=0.0 if settings["slice_axis"] == "sagittal" else float(settings["symmetry"]),
            symmetry_other_sign=settings["symmetry_other_sign"],
            # With a share below 1 bright tissue keeps a bright residual and dark tissue a darker one, so all of the
            # reconstruction is subtracted unless only bright lesions count.
            reconstruction_share=float(settings["reconstruction_share"]) if settings["polarity"] == "bright" else 1.0,
            between_slices=settings["smoothing_between_slices"],
        )

    @property
    def kl_is_trained(self) -> bool:
        """False for the context encoder: at lambda = 1 nothing trains the variance."""
        return self.settings["lambda"] < 1


def load_model(run: str | Path, device: str | torch.device | None = None) -> Model:
    """Return the model of a run.

    Args:
        run: the directory that training wrote.
        device: where to compute; the GPU where there is one when None.

    Raises:
        UsageError: where the directory is not a run, its training has not ended, or its weights do not fit.
    """
    folder = Run.at(run)
    configuration, weights = folder.training_configuration, folder.weights
    if not configuration.is_file():
        raise UsageError(f"{run}: not a model; give the directory that `train --output` wrote")
    if not weights.is_file():
        raise UsageError(f"{run}: it has no weights yet (models/model.pt); let its training end, see `train --resume`")
    parser = load_configuration(configuration, bundle_root=folder.root)
    chosen = torch.device(device) if device is not None else parser.get_parsed_content("device")
    try:
        network = parser.get_parsed_content("network_def")
        preprocessing = parser.get_parsed_content("preprocessing")
    except Exception as error:  # whatever the constructors make of foreign or huge values
        raise UsageError(f"{configuration}: no model can be made of it ({reason_of(error)[:200]})") from error
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a damaged or foreign file makes the unpickler raise
        raise UsageError(f"{weights}: not the weights of this model ({reason_of(error)[:200]})") from error
    network.to(chosen).eval().requires_grad_(False)
    settings = folder.settings
    if folder.weight_settings.is_file():
        for key, value in json.loads(folder.weight_settings.read_text(encoding="utf-8")).items():
            if settings[key] != value:
                raise UsageError(
                    f"{weights}: trained with {key} = {value}, but configs/train.yaml says {settings[key]}"
                )
    facts = folder.training_facts()
    masks = facts.get("brain_masks", {})
    return Model(
        network,
        preprocessing,
        settings,
        chosen,
        fingerprint=sha256_of(weights),
        name=folder.root.absolute().name,
        trained_on=frozenset(facts.get("contents", ())),
        modality=str(facts.get("modality", settings["modality"])),
        training_scans=facts.get("training", {}).get("scans"),
        cohort=folder.cohort_name(),
        learned_heads=2 * masks.get(HEAD, 0) > sum(masks.values()),
    )
