"""Correction of the bias field: smooth shading by the coils, which multiplies the grey levels of a scan."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from scipy import ndimage

from transforms.background import find_background

WARNING = "its bias field was not corrected: {reason}"
BELOW_BACKGROUND = (
    "grey levels in its brain lie below its background, as after a z-score, and a bias field multiplies grey levels "
    "that count from the background; give the scan as it was before its normalisation"
)

SHARE_BELOW = 0.01
"""Largest share of a brain's voxels that lie below the background in a scan that was not normalised."""

FEWEST_POINTS = 200
"""Smallest number of points on the coarse grid that a field is fitted to."""

FEWEST_PLANES = 4
"""Smallest number of planes that shrinking leaves along an axis."""

THIN = 8
"""Number of planes of the coarse grid from which on a scan is a volume; with fewer it is a slice, or a thin slab."""

_threads = threading.Lock()


class CorrectBiasField(Transform):
    """Divide each channel by its bias field, as N4 finds it inside the mask (Tustison et al. 2010; SimpleITK).

    N4 looks for the smooth field that makes the histogram of the grey levels sharpest. The field is fitted to every
    n-th voxel of the mask's bounding box, about `spacing` mm apart, and its logarithm is interpolated between them. It
    is a B-spline with one mesh element a side, then twice as many at each further level: with three levels an element
    is a quarter of the brain. A fourth level follows large lesions too, and takes a fifth of their contrast away. So
    does the third in a slice, or a thin slab, where a lesion is a larger part of the whole: it is left out there.

    Grey levels count from the background, see `find_background`: it keeps its value. The mean inside the mask is kept
    as well. A mask of a single slice gets a field in 2D. The result does not depend on the number of threads.

    Args:
        spacing: distance of the points that the field is fitted to, mm.
        levels: number of resolutions of the field; a slice, or a thin slab, has one less.
        iterations: largest number of iterations at each of them.
    """

    def __init__(self, spacing: float = 6.0, levels: int = 3, iterations: int = 50) -> None:
        self.spacing = spacing
        self.levels = levels
        self.iterations = iterations

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, str | None]:
        """Return the corrected image (C, X, Y, Z) as float32, given a mask (1, X, Y, Z), and a warning or None.

        A channel that cannot be corrected stays as it is; the warning says why.
        """
        inside = np.asarray(mask)[0] > 0
        spacing = affine_to_spacing(image.affine).numpy() if isinstance(image, MetaTensor) else np.ones(3)
        corrected = image.to(torch.float32).clone()
        reasons = []
        for channel, values in enumerate(np.asarray(image, dtype=np.float64)):
            result, reason = self._corrected(values, inside, spacing)
            if reason is None:
                corrected[channel] = torch.from_numpy(result.astype(np.float32))
            else:
                reasons.append(reason if len(image) == 1 else f"channel {channel}: {reason}")
        return corrected, WARNING.format(reason="; ".join(reasons)) if reasons else None

    def _corrected(self, values: np.ndarray, inside: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, str | None]:
        """Return a corrected channel (X, Y, Z), and None; or the channel as it was, and the reason."""
        if not np.isfinite(values).all():
            return values, "some voxels are not finite"
        background = find_background(values)
        zero = 0.0 if background is None else background.value
        signal = values - zero
        in_brain = signal[inside]
        if in_brain.size and np.mean(in_brain < 0) > SHARE_BELOW:
            return values, BELOW_BACKGROUND
        fitted = inside & (signal > 0)  # the logarithm needs positive values
        if not fitted.any() or (signal[fitted] == signal[fitted][0]).all():
            return values, "its brain has only one grey level"
        grid = self._coarse_grid(fitted, spacing)
        points = int(np.count_nonzero(fitted[grid]))
        if points < FEWEST_POINTS:
            return (
                values,
                f"its brain is too small: it has {points} points for the field, and {FEWEST_POINTS} are needed",
            )
        corrected = signal * np.exp(-self._log_field(signal / signal[fitted].mean(), fitted, spacing, grid))
        corrected = zero + corrected * (in_brain.mean() / corrected[inside].mean())
        if background is not None:  # padding is neither background nor tissue
            corrected = np.where(inside | background.foreground(values), corrected, values)
        return corrected, None

    def _coarse_grid(self, fitted: np.ndarray, spacing: np.ndarray) -> tuple[slice, ...]:
        """Return the places of the voxels that the field is fitted to: every n-th one of the bounding box."""
        places = []
        for side, box in zip(spacing, ndimage.find_objects(fitted.astype(np.uint8))[0], strict=True):
            step = max(1, min(round(self.spacing / side), (box.stop - box.start) // FEWEST_PLANES))
            places.append(slice(box.start + (step - 1) // 2, box.stop, step))
        return tuple(places)

    def _log_field(
        self, signal: np.ndarray, fitted: np.ndarray, spacing: np.ndarray, grid: tuple[slice, ...]
    ) -> np.ndarray:
        """Return the logarithm of the field, for all voxels of a signal (X, Y, Z) or for one plane of them.

        Beyond the bounding box it goes on as at its border.
        """
        import SimpleITK  # it takes a quarter of a second, and only this needs it

        coarse, mask = signal[grid], fitted[grid]
        axes = [axis for axis in range(3) if coarse.shape[axis] > 1]  # a single plane has a field in 2D
        # The axes of an array run the other way in SimpleITK.
        step = [float(spacing[axis]) for axis in reversed(axes)]
        image, inside = (
            SimpleITK.GetImageFromArray(volume.squeeze().astype(kind))
            for volume, kind in ((coarse, np.float32), (mask, np.uint8))
        )
        for volume in (image, inside):
            volume.SetOrigin([grid[axis].start * float(spacing[axis]) for axis in reversed(axes)])
            volume.SetSpacing([grid[axis].step * float(spacing[axis]) for axis in reversed(axes)])
        n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations([self.iterations] * max(1, self.levels - (min(coarse.shape) < THIN)))
        with _one_thread():
            n4.Execute(image, inside)
            # Evaluated on the coarse grid: on another one SimpleITK stretches the field to the ends of that grid.
            field = n4.GetLogBiasFieldAsImage(image)
            resample = SimpleITK.ResampleImageFilter()
            resample.SetSize([signal.shape[axis] for axis in reversed(axes)])
            resample.SetOutputSpacing(step)
            resample.SetInterpolator(SimpleITK.sitkLinear)
            resample.UseNearestNeighborExtrapolatorOn()
            log_field: np.ndarray = SimpleITK.GetArrayFromImage(resample.Execute(field))
        return np.expand_dims(log_field, [axis for axis in range(3) if axis not in axes])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let SimpleITK compute with one thread inside the block: N4's sums depend on the number of threads.

    The filter's own number has no effect on the filters inside it, so the number of the process is set.
    """
    from SimpleITK import ProcessObject

    with _threads:
        number = ProcessObject.GetGlobalDefaultNumberOfThreads()
        ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            ProcessObject.SetGlobalDefaultNumberOfThreads(number)


class CorrectBiasFieldd(MapTransform):
    """Dictionary version of `CorrectBiasField`.

    Warnings are kept in the image's `meta["bias_field_warning"]`, and issued through `warnings` too.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        spacing: float = 6.0,
        levels: int = 3,
        iterations: int = 50,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.correct = CorrectBiasField(spacing, levels, iterations)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Apply the transform to the values of `keys`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key], warning = self.correct(d[key], d[self.mask_key])
            if warning is not None:
                if isinstance(d[key], MetaTensor):
                    d[key].meta["bias_field_warning"] = warning
                warnings.warn(warning, stacklevel=2)
        return d
