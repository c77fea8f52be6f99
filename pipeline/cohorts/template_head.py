"""A real head that everybody may use: the MNI152 template, with an old stroke planted in it.

nilearn carries the template, a T1 average of 152 healthy adults without their skulls (ICBM 152, Fonov et al. 2011; free
to use, copy and change, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre).
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from pipeline.cohorts.phantom_anatomy import Anatomy, load_atlas, load_template
from pipeline.cohorts.phantom_lesions import add_old_stroke, fluid_of

SPACING = 1.0
"""Side of a voxel, mm."""

RIM = 4.0
"""Width of the fluid around the brain, mm: the template ends at the cortex, but brain extraction leaves fluid there."""


def make_template_head(folder: Path, seed: int = 7) -> tuple[Path, Path]:
    """Write the template with an old stroke and the stroke's label, and return both files; both are in MNI space.

    Args:
        folder: the folder to write to.
        seed: another seed gives another stroke.
    """
    (*tissues, depth), affine = load_atlas(SPACING)
    head = load_template("t1", SPACING)
    position = np.indices(head.shape, dtype=np.float32) * SPACING + affine[:3, 3, None, None, None].astype(np.float32)
    brain, left = depth > 0, position[0] < 0
    cerebrum = brain & ((position[2] > -12) | (position[1] > -10))
    anatomy = Anatomy(np.stack(tissues), position, depth, brain, left, cerebrum, SPACING)
    signal, label = add_old_stroke(np.random.default_rng(seed), anatomy, head)
    rim = ndimage.distance_transform_edt(~brain, sampling=SPACING) <= RIM
    signal = np.select([brain, rim], [signal, fluid_of(anatomy, head)], 0)
    signal = np.where(rim, (1000 * signal).round().clip(1, None), 0)  # voxels of the brain stay above 0
    folder.mkdir(parents=True, exist_ok=True)
    files = (folder / "template_with_stroke_T1w.nii.gz", folder / "template_with_stroke_label.nii.gz")
    for file, voxels in zip(files, (signal.astype(np.int16), label.astype(np.uint8)), strict=True):
        image = nib.nifti1.Nifti1Image(voxels, affine)
        image.set_sform(affine, code="mni")
        image.set_qform(affine, code="mni")
        image.header.set_xyzt_units("mm")
        nib.save(image, file)
    return files
