"""The phantom cohort: reproducible, individual, and labelled exactly where it was changed."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cohorts import phantom, phantom_anatomy, phantom_lesions
from pipeline.cohorts.phantom import make_phantom_cohort

SPACING = 5.0
LESIONS = {
    "tumour": phantom_lesions.add_tumour,
    "stroke": phantom_lesions.add_stroke,
    "spots": phantom_lesions.add_spots,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cohort")
    return make_phantom_cohort(output, healthy=3, lesioned=3, spacing=SPACING, workers=2).parent


def read(path: Path) -> NDArray[Any]:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj)


def entries(folder: Path) -> dict[str, list[dict[str, str]]]:
    splits: dict[str, list[dict[str, str]]] = json.loads((folder / "datalist.json").read_text())
    return splits


@lru_cache(maxsize=20)
def anatomy(seed: int) -> phantom_anatomy.Anatomy:
    return phantom_anatomy.draw_anatomy(np.random.default_rng(seed), *phantom_anatomy.load_atlas(SPACING))


@lru_cache(maxsize=3)
def lesions(kind: str) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Signal without and with the lesion, and label, of ten subjects."""
    made = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        healthy = phantom._signal(rng, anatomy(seed))
        made.append((healthy, *LESIONS[kind](rng, anatomy(seed), healthy)))
    return made


def test_same_seed_gives_the_same_files_however_many_are_made(cohort: Path, tmp_path: Path) -> None:
    make_phantom_cohort(tmp_path, healthy=1, lesioned=2, spacing=SPACING, workers=1)
    volumes = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.nii.gz"))
    assert len(volumes) == 8
    for volume in volumes:
        assert (tmp_path / volume).read_bytes() == (cohort / volume).read_bytes(), volume


def test_another_seed_gives_other_voxels(cohort: Path, tmp_path: Path) -> None:
    make_phantom_cohort(tmp_path, healthy=1, lesioned=0, seed=1, spacing=SPACING, workers=1)
    image = Path("images/healthy_000.nii.gz")
    assert (read(tmp_path / image) != read(cohort / image)).any()


def test_every_subject_has_its_own_anatomy_and_contrast(cohort: Path) -> None:
    images = [read(path).astype(float) for path in sorted((cohort / "images").iterdir())]
    masks = [read(path) > 0 for path in sorted((cohort / "masks").iterdir())]
    for first in range(len(images)):
        for second in range(first):
            both = masks[first] & masks[second]
            likeness = np.corrcoef(images[first][both], images[second][both])[0, 1]
            assert 0.1 < likeness < 0.9, "heads are alike but not the same"
            assert 0.8 < 2 * both.sum() / (masks[first].sum() + masks[second].sum()) < 0.99


def test_image_is_zero_outside_the_mask_and_positive_inside(cohort: Path) -> None:
    for path in (cohort / "images").iterdir():
        image, mask = read(path), read(cohort / "masks" / path.name)
        assert mask.dtype == np.uint8
        assert ((image > 0) == (mask == 1)).all()
        assert 400 < np.quantile(image[mask == 1], 0.99) < 1200
        assert 1400 < mask.sum() * SPACING**3 / 1000 < 2300  # ml


def test_brain_keeps_away_from_the_border_of_the_grid() -> None:
    for seed in range(20):
        brain = anatomy(seed).brain
        inner = brain[1:-1, 1:-1, 1:-1]
        assert inner.sum() == brain.sum()


def test_fluid_is_brightest_and_white_matter_darkest() -> None:
    head = anatomy(0)
    signal = phantom._signal(np.random.default_rng(0), head)
    csf, gm, wm = (np.median(signal[head.brain & (tissue > 0.95)]) for tissue in head.tissues)
    assert csf > 0.7
    assert csf > gm + 0.2
    assert gm > wm + 0.03


def test_only_lesioned_subjects_have_a_label_and_it_lies_inside_the_mask(cohort: Path) -> None:
    labels = sorted((cohort / "labels").iterdir())
    assert [path.name for path in labels] == [f"lesioned_{index:03d}.nii.gz" for index in range(3)]
    for path in labels:
        label = read(path)
        assert label.dtype == np.uint8
        assert label.max() == 1
        assert not label[read(cohort / "masks" / path.name) == 0].any()


@pytest.mark.parametrize("kind", LESIONS)
def test_label_is_exactly_where_the_signal_was_visibly_changed(kind: str) -> None:
    for healthy, lesioned, label in lesions(kind):
        assert ((lesioned != healthy) == label).all()
        assert (np.abs(lesioned - healthy)[label] > 0.03).mean() > 0.75


@pytest.mark.parametrize(("kind", "least", "most"), [("tumour", 8, 41), ("stroke", 4.5, 41), ("spots", 0.7, 4)])
def test_lesion_volumes_are_plausible(kind: str, least: float, most: float) -> None:
    volumes = [label.sum() * SPACING**3 / 1000 for _, _, label in lesions(kind)]  # ml
    assert least <= min(volumes)
    assert max(volumes) <= most
    assert len(set(volumes)) > 3


@pytest.mark.parametrize("kind", LESIONS)
def test_lesions_are_mostly_brighter_than_the_tissue_but_not_than_fluid(kind: str) -> None:
    contrasts = [np.median((lesioned - healthy)[label]) for healthy, lesioned, label in lesions(kind)]
    assert 0.04 < min(contrasts) < 0.16, "low contrasts occur"
    assert 0.16 < max(contrasts) < 0.5, "high contrasts occur"
    assert np.median([(lesioned[label] < 0.85).mean() for _, lesioned, label in lesions(kind)]) > 0.7


def test_tumours_have_dark_and_bright_parts() -> None:
    ranges = [np.ptp(np.quantile(lesioned[label], [0.02, 0.98])) for _, lesioned, label in lesions("tumour")]
    assert max(ranges) > 0.3


def test_grid_is_ras_in_mm_and_the_same_for_all_files(cohort: Path) -> None:
    affines = []
    for path in cohort.rglob("*.nii.gz"):
        image = nib.Nifti1Image.from_filename(path)
        assert nib.orientations.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms() == (SPACING,) * 3
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.header["sform_code"] == image.header["qform_code"] == 1
        affines.append(image.affine)
    assert np.ptp(affines, axis=0).max() == 0


def test_datalist_names_existing_files_once_with_relative_paths(cohort: Path) -> None:
    splits = entries(cohort)
    assert {name: len(split) for name, split in splits.items()} == {"training": 2, "validation": 1, "test": 3}
    assert all(set(entry) == {"image", "mask"} for entry in splits["training"] + splits["validation"])
    assert all(set(entry) == {"image", "mask", "label"} for entry in splits["test"])
    paths = [path for split in splits.values() for entry in split for path in entry.values()]
    assert len(set(paths)) == len(paths)
    assert all((cohort / path).is_file() and not Path(path).is_absolute() for path in paths)


def test_nothing_but_the_cohort_is_left_behind(cohort: Path) -> None:
    listed = {path for split in entries(cohort).values() for entry in split for path in entry.values()}
    found = {path.relative_to(cohort).as_posix() for path in cohort.rglob("*") if path.is_file()}
    assert found == listed | {"datalist.json"}


@pytest.mark.parametrize(("healthy", "lesioned"), [(1, 0), (0, 1)])
def test_splits_without_entries_are_left_out(healthy: int, lesioned: int, tmp_path: Path) -> None:
    make_phantom_cohort(tmp_path, healthy, lesioned, spacing=SPACING, workers=1)
    assert list(entries(tmp_path)) == ["training" if healthy else "test"]


@pytest.mark.parametrize(
    ("healthy", "lesioned", "spacing", "reason"),
    [(-1, 1, 2.0, "negative"), (1, -1, 2.0, "negative"), (0, 0, 2.0, "nothing to make"), (1, 1, 0.0, "spacing")],
)
def test_impossible_requests_are_refused_before_anything_is_written(
    healthy: int, lesioned: int, spacing: float, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        make_phantom_cohort(tmp_path / "cohort", healthy, lesioned, spacing=spacing)
    assert not (tmp_path / "cohort").exists()
