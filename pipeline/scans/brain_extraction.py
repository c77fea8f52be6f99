"""Brain extraction: a scan that has its skull and no mask gets one, once.

The masks are kept in a folder of the user, each under a hash of the scan's voxels, its place and the tool. So training,
prediction and evaluation extract a scan once between them.
"""

import hashlib
import logging
import os
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from platformdirs import user_cache_path

from pipeline.cohorts import UNKNOWN_MODALITY, is_t1
from pipeline.errors import ScanError, UsageError, reason_of
from pipeline.files import written_aside
from pipeline.nifti import on_grid_of, write
from pipeline.scans.brain_checks import refuse_absurd
from pipeline.scans.brain_tools import TOOLS, BrainTool
from pipeline.scans.contents import content_of

logger = logging.getLogger(__name__)

AUTO, NONE = "auto", "none"
"""The tool that the modality calls for; no tool, so that the whole head is scored."""

THINNEST_MM = 100.0
"""Smallest side of a head that AUTO gives to a tool, mm. In a thinner slab, tools find no brain, or a wrong one."""

CACHE = "CEVAE_CACHE"
"""Environment variable that names another folder for the masks."""

_LOCK = threading.Lock()


class BrainNotKept(Exception):
    """The mask of a head was not made before."""


def mask_folder() -> Path:
    """Return the folder in which masks are kept."""
    return Path(os.environ.get(CACHE) or user_cache_path("cevae")) / "brain_masks"


@dataclass(frozen=True)
class BrainExtraction:
    """How the brain is found in scans that have their skull and no mask.

    Attributes:
        tool: the tool, None if the whole head is taken.
        advice: what would give a mask, if the tool that the modality calls for is missing.
        device: where the tool computes.
        only_kept: whether masks are only looked up, not made.
        leaves_slabs: whether thin slabs are left whole.
    """

    tool: BrainTool | None = None
    advice: str = ""
    device: str = "cpu"
    only_kept: bool = False
    leaves_slabs: bool = False

    @classmethod
    def of(
        cls, brain: str, modality: str, learned_heads: bool = False, device: str | torch.device | None = None
    ) -> "BrainExtraction":
        """Return the extraction that a setting and a modality call for.

        Args:
            brain: AUTO, NONE or the name of a tool.
            modality: the modality of the scans.
            learned_heads: whether the model learned from whole heads, so that AUTO leaves them whole.
            device: where the tool computes; the CPU when None.

        Raises:
            UsageError: if a tool is named that is unknown or not installed.
        """
        place = str(device or "cpu")
        if brain not in (AUTO, NONE, *TOOLS):
            raise UsageError(f"unknown brain extraction {brain!r}; known are {AUTO}, {NONE}, {', '.join(TOOLS)}")
        if brain == NONE or (brain == AUTO and learned_heads):
            return cls()
        if brain != AUTO:
            tool = TOOLS[brain]
            if not tool.is_installed:
                raise UsageError(f"{brain} is not installed; install it by: {tool.install_command}")
            return cls(tool, device=place)
        tool = TOOLS["deepbet" if is_t1(modality) else "hd-bet"]
        if tool.is_installed:
            return cls(tool, device=place, leaves_slabs=True)
        return cls(advice=_advice(tool, modality))

    def reason_to_leave(self, scan: nib.nifti1.Nifti1Image) -> str:
        """Return why a head (X, Y, Z) stays whole, a sentence; empty if its brain is to be found."""
        thinnest = float(min(nib.affines.voxel_sizes(scan.affine) * scan.shape[:3]))
        if self.leaves_slabs and self.tool is not None and thinnest < THINNEST_MM:
            return (
                f"by its header it is {thinnest:.0f} mm thick, too thin for brain extraction: the whole head is taken; "
                f"correct the header if it is wrong, or give a brain mask (--mask, or `mask` in a datalist)"
            )
        return self.advice if self.tool is None else ""

    def __call__(self, scan: nib.nifti1.Nifti1Image) -> Path:
        """Return the file of a scan's mask, which lies on the scan's grid; it is made if it is not kept yet.

        Args:
            scan: the head (X, Y, Z), channel 0.

        Raises:
            ScanError: if the tool finds no brain.
            BrainNotKept: if it would have to be made, but masks are only looked up.
        """
        assert self.tool is not None
        file = self._file(scan)
        if file.is_file():
            return file
        if self.only_kept:
            raise BrainNotKept
        _announce(self.tool)
        with _LOCK:  # a tool needs up to 2 GB, and keeps a state
            try:
                mask = self.tool(scan, torch.device(self.device))
            except Exception as error:  # whatever a tool makes of an image that is no head
                logger.debug("%s", self.tool.version, exc_info=error)
                reason = f"{self.tool.version} found no brain in it ({reason_of(error)[:100]})"
                raise ScanError(f"{reason}; give a brain mask (--mask, or `mask` in a datalist)") from error
        refuse_absurd(scan, mask, self.tool.version)
        image = on_grid_of(scan, mask.astype(np.uint8))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(file) as partial:
                write(image, partial)
        except OSError as error:
            logger.debug("%s: the mask is not kept: %s", file, error)
            file = Path(_own_folder().name) / file.name
            write(image, file)
        return file

    def _file(self, scan: nib.nifti1.Nifti1Image) -> Path:
        assert self.tool is not None
        digest = hashlib.sha256(f"{content_of(scan)} {self.tool.version}".encode())
        digest.update(np.ascontiguousarray(scan.affine.round(3) + 0.0).tobytes())
        return mask_folder() / f"{digest.hexdigest()[:32]}.nii.gz"


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder of this process, for masks that cannot be kept."""
    return tempfile.TemporaryDirectory()


@cache
def _announce(tool: BrainTool) -> None:
    """Say once which tool is used, and where its masks are kept."""
    logger.info("heads without a brain mask: %s finds the brain; the masks are kept in %s", tool.version, mask_folder())


def _advice(tool: BrainTool, modality: str) -> str:
    if modality == UNKNOWN_MODALITY:
        reason = "the modality of the model's scans is not known (setting `modality`), and "
    else:
        reason = f"for {modality} "
    return (
        f"{reason}{tool.name} would find the brain, but it is not installed; install it by: {tool.install_command}, or "
        "give brain masks (--mask, or `mask` in a datalist)"
    )
