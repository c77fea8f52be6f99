"""The colours of an overlay, the same in the preview as in ITK-SNAP, and the grey levels of the scan under it."""

import numpy as np

SHOWN = (1.0, 4.0)
"""The surprise that is shown: from one voxel in ten of a healthy brain, still transparent, to one in 10 000."""

COLOURS = np.array([
    (0.00, 140, 0, 60, 0),
    (0.15, 190, 10, 50, 110),
    (0.33, 225, 40, 30, 210),
    (0.66, 250, 150, 20, 255),
    (1.00, 255, 250, 150, 255),
])  # fmt: skip
"""The colour map of overlays: place in the shown range (0 to 1), red, green, blue and opacity (0 to 255)."""

OPACITY = 0.8
"""The opacity of an overlay as a whole."""

CONTOUR = (0, 191, 255)
"""The colour of outlines, which no overlay has."""


def grey_window(brain: np.ndarray) -> tuple[float, float]:
    """Return the values shown as black and as white, given the values of the brain: fat and metal are white."""
    low, high = np.percentile(brain, (1, 99.5)) if brain.size else (0, 0)
    return min(0.0, float(low)), float(high)
