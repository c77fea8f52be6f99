"""Contents: copies of a scan are found whatever they are called, and the splits of a cohort share none."""

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from helpers import ball, save_scan
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cohorts import Entry, read_datalist
from pipeline.errors import UsageError
from pipeline.scans.contents import (
    content_of,
    contents_of,
    fingerprint_of_cohort,
    read_training_cohort,
    refuse_shared_scans,
    without_copies,
)


def write(folder: Path, splits: dict[str, Any]) -> Path:
    file = folder / "datalist.json"
    file.write_text(json.dumps(splits))
    return file


def copies_of(voxels: np.ndarray, folder: Path) -> list[Path]:
    """Return one scan under several names, in several formats and types."""
    first = save_scan(folder / "first.nii.gz", voxels)
    image = nib.load(first)
    nib.save(image, folder / "unpacked.nii")
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), image.affine), folder / "as float.nii.gz")
    nib.save(nib.freesurfer.MGHImage(voxels, image.affine), folder / "freesurfer.mgz")
    nib.save(image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), folder / "other order.nii.gz")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(first)), str(folder / "slicer.nrrd"))
    names = ("first.nii.gz", "unpacked.nii", "as float.nii.gz", "freesurfer.mgz", "other order.nii.gz", "slicer.nrrd")
    return [folder / name for name in names]


def test_a_copy_in_any_format_has_the_content_of_its_scan_and_another_scan_has_not(tmp_path: Path) -> None:
    copies = copies_of(ball(seed=1), tmp_path)
    other = save_scan(tmp_path / "other.nii.gz", ball(seed=2))
    contents = contents_of(map(str, [*copies, other]))
    assert len({contents[str(file)] for file in copies}) == 1
    assert contents[str(other)] != contents[str(copies[0])]


@given(axes=st.sampled_from(list(permutations(range(3)))), flips=st.sampled_from(list(product((1, -1), repeat=3))))
def test_the_order_of_storage_does_not_change_the_content(axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert content_of(image.as_reoriented(np.stack([axes, flips], axis=1))) == content_of(image)


def test_one_voxel_more_is_another_content() -> None:
    voxels = ball()
    other = voxels.copy()
    other[20, 20, 20] += 1
    assert content_of(nib.Nifti1Image(voxels, np.eye(4))) != content_of(nib.Nifti1Image(other, np.eye(4)))


def test_damaged_and_missing_files_have_contents_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"no scan " + name.encode())
    assert len(set(contents_of(str(tmp_path / f"{name}.nii.gz") for name in "abcd").values())) == 4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_training_scan_in_another_split_is_refused_by_name_whatever_its_name(tmp_path: Path, split: str) -> None:
    copies = copies_of(ball(seed=1), tmp_path)
    save_scan(tmp_path / "other.nii.gz", ball(seed=2))
    for copy in copies[1:]:
        others = [{"image": "other.nii.gz"}, {"image": copy.name}]
        file = write(tmp_path, {"training": [{"image": "first.nii.gz"}], split: others})
        with pytest.raises(UsageError, match=rf"1 scan is in `training` and in `{split}`: .*first.nii.gz") as caught:
            read_training_cohort(file)
        assert copy.name in str(caught.value)
        with pytest.raises(UsageError, match=r"first\.nii\.gz"):
            refuse_shared_scans("training", split, read_datalist(file), file)


def test_one_shared_channel_is_enough(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        save_scan(tmp_path / f"{name}.nii.gz", ball(seed=seed))
    training, test = [{"image": ["a.nii.gz", "b.nii.gz"]}], [{"image": ["c.nii.gz", "b.nii.gz"]}]
    with pytest.raises(UsageError, match=r"b\.nii\.gz"):
        read_training_cohort(write(tmp_path, {"training": training, "test": test}))


def test_copies_within_a_split_are_left_out_on_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copies = copies_of(ball(seed=1), tmp_path)
    save_scan(tmp_path / "other.nii.gz", ball(seed=2))
    entries = [Entry((str(file),)) for file in [*copies, tmp_path / "other.nii.gz", copies[0]]]
    assert without_copies("training", entries) == [entries[0], entries[-2]]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("6 of 8 entries of `training` are left out")
    assert "unpacked.nii (as first.nii.gz)" in line


def test_copies_are_not_held_out_from_themselves(tmp_path: Path) -> None:
    save_scan(tmp_path / "a.nii.gz", ball(seed=1))
    save_scan(tmp_path / "b.nii.gz", ball(seed=2))
    names = ["a.nii.gz", "b.nii.gz"] * 10
    for seed in range(5):
        cohort = read_training_cohort(write(tmp_path, {"training": names}), seed)
        assert [len(entries) for entries in cohort.values()] == [1, 1]


def test_the_fingerprint_of_a_cohort_is_that_of_its_contents(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        save_scan(tmp_path / folder / f"{folder}.nii.gz", ball(seed=1))
    save_scan(tmp_path / "other.nii.gz", ball(seed=2))
    here, there, other = (str(tmp_path / name) for name in ("here/here.nii.gz", "there/there.nii.gz", "other.nii.gz"))
    fingerprint = fingerprint_of_cohort([Entry((here,))])
    assert fingerprint_of_cohort([Entry((there,))]) == fingerprint
    different = [[Entry((other,))], [Entry((here,), mask=other)], [Entry((here,), label=other)], [Entry((here,))] * 2]
    assert len({fingerprint, *map(fingerprint_of_cohort, different)}) == 5


def test_without_validation_a_seeded_tenth_is_held_out(tmp_path: Path) -> None:
    names = [f"{i:02d}.nii.gz" for i in range(30)]
    for seed, name in enumerate(names):
        (tmp_path / name).write_text(str(seed))
    file = write(tmp_path, {"training": [{"image": name} for name in names]})
    cohort = read_training_cohort(file, seed=3)
    found = {split: [Path(entry.images[0]).name for entry in entries] for split, entries in cohort.items()}
    assert len(found["validation"]) == 3
    assert sorted(found["training"] + found["validation"]) == names
    assert read_training_cohort(file, seed=3) == cohort
    assert read_training_cohort(file, seed=4) != cohort


def test_a_given_validation_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_text(name)
    file = write(tmp_path, {"training": [{"image": "a.nii.gz"}], "validation": [{"image": "b.nii.gz"}]})
    cohort = read_training_cohort(file)
    assert [len(entries) for entries in cohort.values()] == [1, 1]


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(UsageError, match="no scans under `training`"):
        read_training_cohort(write(tmp_path, {"test": [{"image": "a.nii.gz"}]}))
