"""Lesion labels, read in one place: zeros and ones on the scan's grid, with a word on what is odd about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.files import to_printable
from pipeline.nifti import voxel_ml
from pipeline.scans.checks import read_header, read_whole
from pipeline.scans.grids import in_order_of
from transforms import as_binary

NEARLY_ALL = 0.9
"""Share of the brain from which on a label is no lesion's."""

IN_AIR = 0.5
"""Share of a label outside the brain from which on it is not of this scan."""


@dataclass(frozen=True)
class Label:
    """A lesion label.

    Attributes:
        voxels: boolean (X, Y, Z), on the scan's grid.
        warnings: what is odd about it, each a sentence that names the file.
    """

    voxels: np.ndarray
    warnings: tuple[str, ...]


def read_label(entry: Entry, brain: np.ndarray | None = None) -> Label:
    """Return the label of an entry that has one.

    Args:
        entry: as in a datalist.
        brain: the brain mask, boolean (X, Y, Z); with it, a label of another place than the brain is warned of.

    Raises:
        ScanError: if the label cannot be read, lies on another grid, or has values that are not finite.
    """
    assert entry.label is not None
    scan = read_header(entry.images[0])
    image = in_order_of(scan, "label", entry.label, read_whole(entry.label))
    name = f"its label {to_printable(Path(entry.label).name)}"
    try:
        binary = as_binary(np.asanyarray(image.dataobj).reshape(scan.shape[:3]))
    except ValueError as error:
        raise ScanError(f"{name}: {error}") from error
    found = [binary.warning(voxel_ml(scan.affine)), _odd_place(binary.mask, brain)]
    return Label(binary.mask, tuple(f"{name} {text}" for text in found if text is not None))


def _odd_place(label: np.ndarray, brain: np.ndarray | None) -> str | None:
    """Return why a label is probably no lesion's, None if its place is not odd."""
    if label.all():
        return "covers the whole file; check that it is the lesion's label"
    if brain is None or not label.any() or not brain.any():
        return None
    if (covered := (label & brain).sum() / brain.sum()) >= NEARLY_ALL:
        return f"covers {covered:.0%} of the brain: it may be a brain mask; check that it is the lesion's label"
    if (outside := (label & ~brain).sum() / label.sum()) > IN_AIR:
        return f"lies to {outside:.0%} outside the brain; check that it belongs to this scan"
    return None
