"""Scans of another kind than the model's: CT, another sequence by its name, and contrast agent."""

import json
from pathlib import Path

import numpy as np

from pipeline.cohorts import Entry, has_contrast_agent, is_another, modality_of
from pipeline.errors import ScanError
from pipeline.nifti import stem_of

CT_AIR, CT_SOFT_TISSUE = (-1100, -900), (-20, 100)
"""Hounsfield units of the air around a head, and of the soft tissue in it."""
CT_SHARE = 0.05
"""Smallest share of the voxels that are air, and soft tissue, in a CT scan of a head."""

CONTRAST_WARNING = (
    "it was made with contrast agent, but the model's healthy scans without: vessels, dura and plexus look anomalous; "
    "give the scan before the contrast agent if there is one"
)


ANOTHER_SEQUENCE = "by its name it is {}, but the model knows {}: its maps are meaningless; give scans of that sequence"


def refuse_ct(voxels: np.ndarray) -> None:
    """Refuse a CT scan, which is told by its grey levels.

    Raises:
        ScanError: if the voxels have the Hounsfield units of a head in air.
    """
    if voxels.min() > CT_AIR[1]:
        return
    if all(((low <= voxels) & (voxels <= high)).mean() > CT_SHARE for low, high in (CT_AIR, CT_SOFT_TISSUE)):
        raise ScanError("its grey levels are those of CT (Hounsfield units); give MRI scans (MR)")


def sequence_warnings(entry: Entry, modality: str) -> list[str]:
    """Return a warning if the names of a scan's files tell another sequence than that of the model.

    Args:
        entry: the scan.
        modality: the modality of the model's scans.
    """
    told = modality_of([entry])
    # `contrast_warnings` tells of a contrast agent.
    other = is_another(told, modality) and not has_contrast_agent(told)
    return [ANOTHER_SEQUENCE.format(told, modality)] if other else []


def contrast_warnings(entry: Entry, modality: str) -> list[str]:
    """Return a warning if a scan's name, or the JSON file beside it, tells of a contrast agent and the model has none.

    Args:
        entry: the scan.
        modality: the modality of the model's scans.
    """
    file = Path(entry.images[0])
    told = has_contrast_agent(modality_of([Entry(entry.images[:1])])) or "_ce-" in file.name.lower()
    return [CONTRAST_WARNING] if (told or _names_agent(file)) and not has_contrast_agent(modality) else []


def _names_agent(file: Path) -> bool:
    """Return whether the JSON file that dcm2niix or BIDS puts beside a scan names a contrast agent."""
    try:
        sidecar = json.loads((file.parent / f"{stem_of(file.name)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    agent = (
        sidecar.get("ContrastBolusIngredient") or sidecar.get("ContrastBolusAgent")
        if isinstance(sidecar, dict)
        else None
    )
    return isinstance(agent, str) and agent.strip().lower() not in ("", "none", "no")
