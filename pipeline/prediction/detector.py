"""Use from Python: a model as a function from an image to its anomaly maps.

detector = AnomalyDetector("NAME.zip")
maps = detector(image)
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import nibabel as nib
import numpy as np

from pipeline.cohorts import Entry
from pipeline.errors import ScanError, reason_of
from pipeline.model import open_model
from pipeline.nifti import on_grid_of
from pipeline.prediction.meanings import meaning_of
from pipeline.scans import Case
from pipeline.scoring import open_predictor

if TYPE_CHECKING:  # `predict` starts without it
    import SimpleITK

logger = logging.getLogger(__name__)

Image: TypeAlias = "str | Path | nib.nifti1.Nifti1Image | SimpleITK.Image"
"""A NIfTI file, or an image of nibabel or SimpleITK."""


class AnomalyDetector:
    """A trained model that is called with a scan and returns its anomaly maps.

    Args:
        model: the directory that training wrote, or the zip that `pack` wrote; code in a zip is never run.
        device: where to compute; if None, the GPU if there is one.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; if None, the model's own.
        brain: how the brain is found in heads without a mask: "auto", "deepbet", "hd-bet" or "none"; if None, the
            model's own.

    Raises:
        UsageError: if the model cannot be used.
    """

    def __init__(
        self, model: str | Path, device: str | None = None, fpr: float | None = None, brain: str | None = None
    ) -> None:
        with open_model(model) as run:
            self.predictor = open_predictor(run, device, fpr, brain=brain)

    def __call__(self, image: Image | Sequence[Image], mask: Image | None = None) -> dict[str, Any]:
        """Return the maps of a scan by name, with the same voxels as those of `predict`, and log its warnings.

        Args:
            image: the scan (X, Y, Z), or a list of its channels.
            mask: the brain mask; if None, it is found.

        Returns:
            Images on the scan's grid: SimpleITK's for a SimpleITK image, else nibabel's. `surprise`, `anomalies`
            and `clusters` need a calibration; a context encoder has no `kl` and `combined`.

        Raises:
            ScanError: if the scan cannot be used.
        """
        import SimpleITK

        channels = [*image] if isinstance(image, (list, tuple)) else [image]
        with tempfile.TemporaryDirectory() as folder:  # MONAI's loader reads files
            files = [_file_of(channel, Path(folder) / f"image_{i}.nii") for i, channel in enumerate(channels)]
            mask_file = _file_of(mask, Path(folder) / "mask.nii") if mask is not None else None
            try:
                prediction = self.predictor(self.predictor.read(Case("", Entry(tuple(files), mask_file))))
            except Exception as error:  # any problem of the scan, as in predict
                raise ScanError(reason_of(error)) from error
        for warning in prediction.warnings:
            logger.warning("%s", warning)
        if isinstance(channels[0], SimpleITK.Image):
            return {name: _as_simple_itk(voxels, channels[0]) for name, voxels in prediction.maps.items()}
        maps = prediction.maps
        return {name: on_grid_of(prediction.source, voxels, meaning_of(name, voxels)) for name, voxels in maps.items()}


def _file_of(image: Any, file: Path) -> str:
    """Return the path of an image; an image in memory is written to `file`."""
    import SimpleITK

    if isinstance(image, (str, Path)):
        return str(image)
    if isinstance(image, SimpleITK.Image):
        if image.GetDimension() != 3:
            raise ScanError(f"the image has {image.GetDimension()} dimensions; give a 3D volume")
        SimpleITK.WriteImage(image, str(file))
    elif isinstance(image, nib.nifti1.Nifti1Image):
        nib.save(image, file)
    else:
        raise ScanError(
            f"{type(image).__name__} is not an image; give a NIfTI file or an image of nibabel or SimpleITK"
        )
    return str(file)


def _as_simple_itk(voxels: np.ndarray, scan: SimpleITK.Image) -> SimpleITK.Image:
    """Return voxels (X, Y, Z) as an image with a scan's origin, spacing and direction; its arrays are (Z, Y, X)."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose()))
    image.CopyInformation(scan)
    return image
