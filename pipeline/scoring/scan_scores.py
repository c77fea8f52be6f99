"""The scores of one scan, on its own grid."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MAPS = ("combined", "rec", "kl", "recommended")
"""Names of the four scores."""


@dataclass(frozen=True)
class ScanScores:
    """The scores of a scan, on the scan's own grid.

    Attributes:
        maps: the four scores, each (X, Y, Z) in float32, 0 outside the mask.
        reconstruction: g(mu(x)) of channel 0 (X, Y, Z), in the normalised units of the network.
        mask: the brain, boolean (X, Y, Z).
        slices: a row for each slice with brain.
        slice_axis: "axial", "coronal" or "sagittal".
        scan_axis: the scan's own axis along which these slices are counted, 0 to 2.
        warnings: warnings about the scan, each a sentence.
    """

    maps: dict[str, np.ndarray]
    reconstruction: np.ndarray
    mask: np.ndarray
    slices: pd.DataFrame
    slice_axis: str
    scan_axis: int
    warnings: list[str]
