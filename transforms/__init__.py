"""MONAI transforms from a NIfTI volume to slices for the network, and from score maps back to the volume's grid."""

from transforms.augmentation import RandIntensity, RandIntensityd, RandSliceAffine, RandSliceAffined
from transforms.bias_field import CorrectBiasField, CorrectBiasFieldd
from transforms.binary import Binary, as_binary
from transforms.brain_mask import GIVEN, HEAD, STRIPPED, BrainMask, BrainMaskd
from transforms.intensity import NormalizeInMask, NormalizeInMaskd
from transforms.lesion_noise import RandLesionNoise, RandLesionNoised
from transforms.noise import RandCoarseNoise, RandCoarseNoised, RandNoised, RandSquareNoise, RandSquareNoised
from transforms.resampling import ResampleInPlane, ResampleInPlaned
from transforms.slicing import (
    SLICE_AXES,
    SelectHealthySlices,
    SelectHealthySlicesd,
    slices_to_volume,
    volume_to_slices,
)

__all__ = [
    "GIVEN",
    "HEAD",
    "SLICE_AXES",
    "STRIPPED",
    "Binary",
    "BrainMask",
    "BrainMaskd",
    "CorrectBiasField",
    "CorrectBiasFieldd",
    "NormalizeInMask",
    "NormalizeInMaskd",
    "RandCoarseNoise",
    "RandCoarseNoised",
    "RandIntensity",
    "RandIntensityd",
    "RandLesionNoise",
    "RandLesionNoised",
    "RandNoised",
    "RandSliceAffine",
    "RandSliceAffined",
    "RandSquareNoise",
    "RandSquareNoised",
    "ResampleInPlane",
    "ResampleInPlaned",
    "SelectHealthySlices",
    "SelectHealthySlicesd",
    "as_binary",
    "slices_to_volume",
    "volume_to_slices",
]
