"""The name and the colour of a cluster, the same in ITK-SNAP as in DICOM."""

import colorsys

GOLDEN = 0.618034
"""Step between the hues of two clusters, as a share of the circle: no two of them are alike."""


def cluster_label(number: int, volume_ml: float, side: str) -> str:
    """Return the name of a cluster, such as "cluster 2, 1.5 ml, left"."""
    return f"cluster {number}, {volume_ml:.3g} ml, {side}"


def cluster_colour(number: int) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255; clusters of neighbouring numbers have hues that are far from each other."""
    red, green, blue = colorsys.hsv_to_rgb(0.54 + GOLDEN * (number - 1), 1.0, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
