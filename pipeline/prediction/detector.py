"""Use from Python: a model as a function from an image to its anomaly maps.

detector = AnomalyDetector("NAME.zip")
maps = detector(image)
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK

from pipeline.cohorts import Entry
from pipeline.errors import ScanError, reason_of
from pipeline.model import open_model
from pipeline.nifti import on_grid_of
from pipeline.scans import Case
from pipeline.scoring import open_predictor

logger = logging.getLogger(__name__)

Image = str | Path | nib.nifti1.Nifti1Image | SimpleITK.Image
"""A NIfTI file, or an image of nibabel or SimpleITK."""


class AnomalyDetector:
    """A trained model that is called with a scan and returns its anomaly maps.

    Args:
        model: the directory that training wrote, or the zip that `pack` wrote; of a zip no code is run.
        device: where to compute; the GPU where there is one when None.
        fpr: share of a healthy brain's voxels that `anomalies` may mark; the model's own when None.

    Raises:
        UsageError: where the model cannot be used.
    """

    def __init__(self, model: str | Path, device: str | None = None, fpr: float | None = None) -> None:
        with open_model(model) as run:
            self.predictor = open_predictor(run, device, fpr)

    def __call__(self, image: Image | Sequence[Image], mask: Image | None = None) -> dict[str, Any]:
        """Return the maps of a scan by name: those that `predict` writes, with the same voxels. It logs its warnings.

        Args:
            image: the scan (X, Y, Z), or a list of its channels.
            mask: its brain; as for `predict`, it is not needed where the skull is stripped already.

        Returns:
            Images on the scan's grid: SimpleITK's for a SimpleITK image, else nibabel's. Without calibration there are
            no `surprise` and `anomalies`, and for a context encoder no `kl` and `combined`.

        Raises:
            ScanError: where the scan cannot be used.
        """
        channels = [*image] if isinstance(image, (list, tuple)) else [image]
        with tempfile.TemporaryDirectory() as folder:  # MONAI's loader reads files
            files = [_file_of(channel, Path(folder) / f"image_{i}.nii") for i, channel in enumerate(channels)]
            mask_file = _file_of(mask, Path(folder) / "mask.nii") if mask is not None else None
            try:
                prediction = self.predictor(self.predictor.read(Case("", Entry(tuple(files), mask_file))))
            except Exception as error:  # whatever is wrong with the scan, as for predict
                raise ScanError(reason_of(error)) from error
        for warning in prediction.warnings:
            logger.warning("%s", warning)
        if isinstance(channels[0], SimpleITK.Image):
            return {name: _as_simple_itk(voxels, channels[0]) for name, voxels in prediction.maps.items()}
        return {name: on_grid_of(prediction.source, voxels) for name, voxels in prediction.maps.items()}


def _file_of(image: Any, file: Path) -> str:
    """Return the path of an image, written to `file` where it is none."""
    if isinstance(image, (str, Path)):
        return str(image)
    if isinstance(image, SimpleITK.Image):
        if image.GetDimension() != 3:
            raise ScanError(f"the image has {image.GetDimension()} dimensions; give a volume of 3")
        SimpleITK.WriteImage(image, str(file))
    elif isinstance(image, nib.nifti1.Nifti1Image):
        nib.save(image, file)
    else:
        raise ScanError(f"{type(image).__name__} is no image; give a NIfTI file, or an image of nibabel or SimpleITK")
    return str(file)


def _as_simple_itk(voxels: np.ndarray, scan: SimpleITK.Image) -> SimpleITK.Image:
    """Return voxels (X, Y, Z) as an image with a scan's origin, spacing and direction: its arrays are (Z, Y, X)."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose()))
    image.CopyInformation(scan)
    return image
