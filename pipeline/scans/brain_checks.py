"""Is a brain mask any good? What a mask of an adult's brain must be like, whoever made it."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from scipy import ndimage

from pipeline.errors import ScanError

ADULT_ML = (700.0, 2000.0)
"""Smallest and largest brain of an adult, with its CSF, ml."""

ABSURD_ML = (250.0, 3000.0)
"""Volumes beyond which a mask is no human brain at all, ml."""

LARGEST_SHARE = 0.95
"""Smallest share of a mask that its largest connected part holds."""

ABSURD_SHARE = 0.7
"""Share of the largest part below which a mask is no brain at all."""

BORDER_CM2 = 5.0
"""Area on a side of the volume from which on the brain is cut there, cm2: the brain stem is smaller."""

SIDES = (("left", "right"), ("back", "front"), ("bottom", "top"))
"""The sides of a volume in RAS order: low and high end of each axis."""

EDGE_MM = 5.0
"""Depth within which grey levels on both sides of a mask's edge are compared, mm."""

EDGE_VOXEL_MM = 3.0
"""Voxels are left out until they are this far apart, mm: the edge's contrast needs no finer ones."""

LOOK = "look at its outline in the preview, and give a better mask if it is wrong (--mask)"


class BrainMaskError(ScanError):
    """The mask that a tool made is no brain.

    Args:
        message: what is wrong, and what to do.
        scan: the scan.
        mask: the mask (X, Y, Z), boolean.
    """

    def __init__(self, message: str, scan: nib.nifti1.Nifti1Image, mask: np.ndarray) -> None:
        super().__init__(message)
        self.scan = scan
        self.mask = mask


@dataclass(frozen=True)
class MaskFacts:
    """What is measured of a brain mask.

    Attributes:
        ml: its volume, ml.
        largest_share: share of it that its largest connected part holds.
        cut: sides of the volume on which it lies.
    """

    ml: float
    largest_share: float
    cut: tuple[str, ...]

    @classmethod
    def of(cls, mask: np.ndarray, affine: np.ndarray) -> "MaskFacts":
        """Measure a mask (X, Y, Z) with its affine in mm."""
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        labels, number = ndimage.label(mask)
        largest = np.bincount(labels.ravel())[1:].max() / mask.sum() if number else 0.0
        orientation, cut = io_orientation(affine).astype(int), []
        for axis in range(3):
            area = np.prod(np.delete(sides, axis)) / 100
            ras, direction = orientation[axis]
            ends = (0, -1) if direction > 0 else (-1, 0)
            for name, end in zip(SIDES[ras], ends, strict=True):
                if np.take(mask, end, axis).sum() * area > BORDER_CM2:
                    cut.append(name)
        return cls(float(mask.sum() * sides.prod() / 1000), float(largest), tuple(cut))

    @property
    def absurd(self) -> str:
        """What shows that it is no brain: it is empty, in pieces, or much too small or large. Empty if nothing does."""
        if self.ml == 0:
            return "no brain at all"
        if not ABSURD_ML[0] <= self.ml <= ABSURD_ML[1]:
            return f"a brain of {self.ml:.0f} ml"
        if self.largest_share < ABSURD_SHARE:
            return f"a brain in pieces, of which the largest holds {self.largest_share:.0%}"
        return ""

    @property
    def warnings(self) -> list[str]:
        """What is unusual about it, each a sentence."""
        texts = []
        if not ADULT_ML[0] <= self.ml <= ADULT_ML[1]:
            texts.append(
                f"the brain mask holds {self.ml:.0f} ml, but the brain of an adult {ADULT_ML[0]:.0f} to "
                f"{ADULT_ML[1]:.0f} ml: {LOOK}"
            )
        if self.largest_share < LARGEST_SHARE:
            texts.append(f"the brain mask is in pieces, of which the largest holds {self.largest_share:.0%}: {LOOK}")
        if self.cut:
            texts.append(
                f"the brain mask reaches the {' and '.join(self.cut)} end of the volume: the scan shows a part of the "
                f"brain only, or the mask is wrong: {LOOK}"
            )
        return texts


def refuse_absurd(scan: nib.nifti1.Nifti1Image, mask: np.ndarray, maker: str) -> None:
    """Refuse a mask that is no brain.

    Args:
        scan: the scan (X, Y, Z).
        mask: its mask (X, Y, Z), boolean.
        maker: the tool that made it.

    Raises:
        BrainMaskError: if it is empty, in pieces, or much too small or large.
    """
    wrong = MaskFacts.of(mask, scan.affine).absurd
    if wrong:
        message = (
            f"{maker} found {wrong} in it: perhaps it is no head of an adult, or another sequence than the model's; "
            "look at the scan, and give a brain mask (--mask, or `mask` in a datalist)"
        )
        raise BrainMaskError(message, scan, mask)


def edge_contrast(voxels: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> float:
    """Return how much brighter a scan is inside the edge of its brain mask than outside, in standard deviations.

    The mask of another scan on the same grid has nearly none: its edge runs through brain, skull and air.

    Args:
        voxels: the scan (X, Y, Z).
        mask: its brain mask (X, Y, Z), boolean.
        affine: of both, mm.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    steps = np.maximum(EDGE_VOXEL_MM // sides, 1).astype(int)
    coarse = tuple(slice(None, None, int(step)) for step in steps)
    values, inside = voxels[coarse].astype(np.float32), mask[coarse]
    spread = values[inside].std() if inside.any() else 0.0
    if spread == 0 or inside.all():
        return 0.0
    depth = max(EDGE_MM, float((sides * steps).min()))  # both sides have voxels, however thick these are
    near = [ndimage.distance_transform_edt(part, sampling=sides * steps) <= depth for part in (inside, ~inside)]
    return float((values[inside & near[0]].mean() - values[~inside & near[1]].mean()) / spread)
