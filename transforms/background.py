"""The background of a stripped scan, judged in one place: any value that is constant, or nearly so, at the border."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

EXACT_SHARE = 0.5
"""Smallest share of the border that one single value has, if it is a constant background."""

PADDED_SHARE = 0.1
"""Smallest share that a background inside padding has of the border there: a brain may have a few such voxels."""

NEAR_SHARE = 0.6
"""Smallest share of the border that lies close to its median, if it is a nearly constant background."""

NEAR = 0.002
"""How close, as a share of the brightest tissue above the background."""

RINGING = 0.2
"""Height that a spline's ringing stays below, on both sides of the background, as a share of the brightest tissue's."""

BRIGHT_BORDER = 0.25
"""Height above the smallest value from which on a border is no air, as a share of the brightest tissue's."""


@dataclass(frozen=True)
class Background:
    """The background of a volume.

    Attributes:
        value: its value.
        exact: whether all of it has this one value; if not, values ring around it.
        box: the volume without planes of padding, which have another value.
    """

    value: float
    exact: bool
    box: tuple[slice, ...] = (slice(None),) * 3

    def foreground(self, image: np.ndarray) -> np.ndarray:
        """Return the voxels of an image (X, Y, Z) that are neither background nor padding, boolean."""
        foreground = np.zeros(image.shape, bool)
        foreground[self.box] = self._foreground(image[self.box])
        return foreground

    def _foreground(self, image: np.ndarray) -> np.ndarray:
        if self.exact:
            return image != self.value
        inside = fill_planes(image > self.value + RINGING * _height(image, self.value))
        labels, number = ndimage.label(inside)
        return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if number else inside


def find_background(image: np.ndarray) -> Background | None:
    """Return the background of an image (X, Y, Z), None if its border is not constant.

    0 is the background if the border has it, and no other value most of it: that is what tools that remove the skull
    write. Scaling after that gives another constant: 1, -1, -1000, the smallest value of the brain, or a z-score. A
    spline's interpolation gives values that ring around a constant, on both sides of it. Padding that was
    added later is no background.
    """
    background = _background_of(image)
    box = _without_padding(image)
    inner = _background_of(image[box])
    if inner is None or (inner.exact and (border_of(image[box]) == inner.value).mean() < PADDED_SHARE):
        return background
    outside = np.ones(image.shape, bool)
    outside[box] = False
    is_padded = bool((image[outside] != inner.value).any())
    return replace(inner, box=box) if is_padded else background


def _without_padding(image: np.ndarray) -> tuple[slice, ...]:
    """Return an image's box without the outer planes that have one value each; all of it if nothing else is left."""
    places = []
    for axis in range(3):
        planes = np.moveaxis(image, axis, 0).reshape(image.shape[axis], -1)
        varied = np.flatnonzero(planes.min(1) < planes.max(1))
        places.append(slice(varied[0], varied[-1] + 1) if varied.size else slice(None))
    return tuple(places)


def _background_of(image: np.ndarray) -> Background | None:
    """Return the background of an image whose padding has no value of its own."""
    border = border_of(image)
    values, counts = np.unique(border, return_counts=True)
    value = float(values[counts.argmax()])
    if counts.max() < EXACT_SHARE * border.size and (border == 0).any():
        value = 0.0
    share = (border == value).mean()
    if share < EXACT_SHARE and _is_near(image, border, median := float(np.median(border))):
        return Background(median, exact=False)
    if value == 0 or share >= EXACT_SHARE:
        return Background(value, exact=not _rings(image, value))
    return None


def _rings(image: np.ndarray, value: float) -> bool:
    """Return whether some voxels lie a little below the background; those of a normalised brain lie far below it."""
    below = image[image < value]
    share = below.size / max(int(np.count_nonzero(image != value)), 1)
    return share > 0.01 and value - float(np.percentile(below, 1)) < RINGING * _height(image, value)


def _is_near(image: np.ndarray, border: np.ndarray, value: float) -> bool:
    """Return whether a border lies close to a value, with values on both sides of it, as ringing leaves it."""
    margin = NEAR * _height(image, value)
    below, above = (border < value).mean(), (border > value).mean()
    return bool((np.abs(border - value) <= margin).mean() >= NEAR_SHARE and min(below, above) > 0.05)


def _height(image: np.ndarray, value: float) -> float:
    """Return how far the brightest tissue lies above a background."""
    return float(np.percentile(image, 99.5)) - value


def is_bright_at_border(image: np.ndarray) -> bool:
    """Return whether an image (X, Y, Z) is bright where air should be: a background that cannot be recognised."""
    low, high = float(image.min()), float(np.percentile(image, 99.5))
    return float(np.median(border_of(image))) - low > BRIGHT_BORDER * (high - low)


def border_of(image: np.ndarray) -> np.ndarray:
    """Return the voxels (n,) of the outer faces of an image (X, Y, Z); a single slice has no faces along its axis."""
    inner = tuple(slice(1, -1) if side > 2 else slice(None) for side in image.shape)
    on_border = np.ones(image.shape, bool)
    on_border[inner] = False
    return image[on_border]


def fill_planes(mask: np.ndarray) -> np.ndarray:
    """Return a mask (X, Y, Z) with the holes of each plane filled, so that a scan that cuts the head is filled too."""
    for axis in range(3):
        planes = np.moveaxis(mask, axis, 0)
        mask = np.moveaxis(np.stack([ndimage.binary_fill_holes(plane) for plane in planes]), 0, axis)
    return mask
