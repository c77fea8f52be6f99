"""Scans in other formats than NIfTI: the same voxels, the same place and the same maps."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from helpers import ball
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import LoadImage

from pipeline import AnomalyDetector
from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.prediction.predicting import predict
from pipeline.scans.checks import check_scan, header_warnings, read_header
from pipeline.scans.formats import as_nifti
from pipeline.scans.labels import read_label
from pipeline.training.slice_bank import SliceBank

FORMATS = ("mgz", "mgh", "nrrd", "mha")


def oblique(angles: tuple[float, float, float] = (0.2, -0.15, 0.4), flips: tuple[int, ...] = (1, -1, 1)) -> np.ndarray:
    """Return an affine of 4 x 3.5 x 4.5 mm with turned and flipped axes."""
    a, b, c = angles
    turn = np.eye(3)
    for i, j, angle in ((0, 1, a), (0, 2, b), (1, 2, c)):
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([4, 3.5, 4.5]) * flips
    affine[:3, 3] = (-70.25, 80.5, -60.125)
    return affine


def save_as(file: Path, voxels: np.ndarray, affine: np.ndarray, compressed: bool = True) -> Path:
    """Write a volume in the format that the name tells; the other programs' own conventions are written by hand."""
    if file.suffix in (".mgz", ".mgh"):
        nib.save(nib.freesurfer.mghformat.MGHImage(voxels, affine.astype(np.float32)), file)
    elif file.suffix in (".nrrd", ".mha"):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
        lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
        spacing = np.linalg.norm(lps[:, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:, 3].tolist())
        SimpleITK.WriteImage(image, str(file), compressed)
    else:
        image = nib.nifti1.Nifti1Image(voxels, None)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        image.header.set_xyzt_units("mm")
        nib.save(image, file)
    return file


def ras_nrrd(file: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write a NRRD in RAS axes, as other programs than ITK do."""
    columns = " ".join(f"({','.join(repr(float(value)) for value in axis)})" for axis in affine[:3, :3].T)
    origin = ",".join(repr(float(value)) for value in affine[:3, 3])
    header = (
        "NRRD0004\ntype: int16\ndimension: 3\nspace: right-anterior-superior\n"
        f"sizes: {' '.join(map(str, voxels.shape))}\n"
        f"space directions: {columns}\n"
        f"kinds: domain domain domain\nendian: little\nencoding: gzip\nspace origin: ({origin})\n\n"
    )
    file.write_bytes(header.encode() + gzip.compress(voxels.astype("<i2").tobytes("F")))
    return file


def test_the_maps_are_those_of_the_same_scan_in_nifti(run: Path, tmp_path: Path) -> None:
    voxels, affine = ball(), oblique()
    folder = tmp_path / "scans"
    folder.mkdir()
    for ending in ("nii.gz", *FORMATS):
        save_as(folder / f"{ending[:3]}.{ending}", voxels, affine)
    ras_nrrd(folder / "ras.nrrd", voxels, affine)
    results = predict(run, [folder], tmp_path / "out", device="cpu")
    assert [result.status for result in results] == ["done"] * 6
    for case in ("mgz", "mgh", "nrr", "mha", "ras"):
        for name in ("image", "recommended", "rec", "surprise", "anomalies"):
            plain = nib.nifti1.load(tmp_path / "out" / "nii" / f"nii_{name}.nii.gz")
            other = nib.nifti1.load(tmp_path / "out" / case / f"{case}_{name}.nii.gz")
            np.testing.assert_allclose(other.affine, plain.affine, atol=1e-4)
            assert other.get_data_dtype() == plain.get_data_dtype()
            np.testing.assert_allclose(other.get_fdata(), plain.get_fdata(), rtol=1e-3, atol=1e-3)
    assert len({result.warnings for result in results}) == 1


@given(
    st.sampled_from(FORMATS),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.sampled_from([np.uint8, np.int16, np.int32, np.float32]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_axes_and_type_are_those_of_nifti(
    tmp_path: Path, ending: str, angles: tuple[float, float, float], flips: tuple[int, ...], dtype: type, packed: bool
) -> None:
    voxels, affine = (np.arange(9 * 10 * 11).reshape(9, 10, 11) % 251).astype(dtype), oblique(angles, flips)
    image = read_header(save_as(tmp_path / f"a.{ending}", voxels, affine, packed))
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), voxels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-2)  # float32 loses digits near half a turn
    assert image.get_data_dtype() == dtype
    assert header_warnings(image) == []
    with as_nifti(Entry((str(tmp_path / f"a.{ending}"),))) as entry:
        assert Path(entry.images[0]).name == "a.nii"
        again = nib.nifti1.load(entry.images[0])
        np.testing.assert_array_equal(np.asanyarray(again.dataobj), voxels)
        np.testing.assert_allclose(again.affine, affine, atol=1e-4)
    assert not Path(entry.images[0]).exists()


@pytest.mark.parametrize("ending", FORMATS)
def test_masks_and_labels_of_any_format_fit_a_scan_of_any_other(ending: str, run: Path, tmp_path: Path) -> None:
    voxels, affine = ball(), oblique()
    scan = save_as(tmp_path / "a.nii.gz", voxels, affine)
    mask = save_as(tmp_path / f"m.{ending}", (voxels > 0).astype(np.uint8), affine)
    label = np.zeros(voxels.shape, np.uint8)
    label[18:22, 20:26, 15:20] = 1
    entry = Entry((str(scan),), str(mask), str(save_as(tmp_path / f"l.{ending}", label, affine)))
    check_scan(entry)
    np.testing.assert_array_equal(read_label(entry).voxels, label > 0)
    detector = AnomalyDetector(run, "cpu")
    plain = detector(scan, save_as(tmp_path / "m.nii.gz", (voxels > 0).astype(np.uint8), affine))
    np.testing.assert_array_equal(detector(scan, mask)["recommended"].get_fdata(), plain["recommended"].get_fdata())
    mask = save_as(tmp_path / f"n.{ending}", (voxels > 0).astype(np.uint8), oblique((0.3, 0, 0)))
    with pytest.raises(ScanError, match="another grid"):
        check_scan(replace(entry, mask=str(mask)))


@pytest.mark.parametrize("ending", FORMATS)
def test_they_give_the_same_slices_to_train_on(ending: str, tmp_path: Path) -> None:
    voxels, affine = ball(), oblique()
    files = [save_as(tmp_path / f"a.{end}", voxels, affine) for end in ("nii", ending)]
    banks = [SliceBank([Entry((str(file),))], to_slices, tmp_path / file.suffix) for file in files]
    np.testing.assert_array_equal(banks[0][range(3)]["image"], banks[1][range(3)]["image"])


def to_slices(item: dict) -> dict:
    image = MetaTensor(np.asanyarray(nib.nifti1.load(item["image"]).dataobj).astype(np.float32))
    return {"image": image[:, None], "mask": (image > 0).float()[:, None]}


def without_line(*starts: bytes) -> Callable[[bytes], bytes]:
    return lambda data: b"\n".join(line for line in data.split(b"\n") if not line.startswith(starts))


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return change


def damaged(data: bytes) -> bytes:
    return data[:-3000] + bytes(1000) + data[-2000:]


WRONG: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "nrrd without a space": (
        "nrrd",
        without_line(b"space:", b"space directions", b"space origin"),
        "where left and right are",
    ),
    "nrrd of another space": ("nrrd", replaced(b"left-posterior-superior", b"scanner-xyz"), "where left and right are"),
    "mha without axes": ("mha", without_line(b"TransformMatrix", b"AnatomicalOrientation"), "where left and right are"),
    "mgh without axes": ("mgh", lambda data: data[:28] + bytes(2) + data[30:], "where left and right are"),
    "nrrd, voxels elsewhere": ("nrrd", replaced(b"encoding:", b"data file: a.raw\nencoding:"), "another file"),
    "mha, voxels elsewhere": ("mha", replaced(b"= LOCAL", b"= a.raw"), "another file"),
    **{f"{end} cut short": (end, lambda data: data[: len(data) // 2], "damaged or cut short") for end in FORMATS},
    **{f"{end} damaged": (end, damaged, "damaged or cut short") for end in ("mgz", "nrrd", "mha")},
    **{f"{end} of nothing": (end, lambda _: b"", "empty") for end in FORMATS},
    **{f"{end} of text": (end, lambda _: b"no scan at all\n" * 100, end) for end in FORMATS},
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_used_is_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    ending, change, reason = WRONG[kind]
    file = save_as(
        tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 999, (20, 20, 20), np.int16), oblique()
    )
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ScanError, match=reason):
        check_scan(Entry((str(file),)))


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_colours_series_and_slices_are_refused(ending: str, tmp_path: Path) -> None:
    volume = np.zeros((12, 12, 12), np.int16)
    for image, reason in (
        (SimpleITK.GetImageFromArray(np.stack([volume] * 3, -1), isVector=True), "3 values for each voxel"),
        (SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(volume)] * 2), "2 volumes"),
        (SimpleITK.GetImageFromArray(volume[0]), "not a volume"),
    ):
        file = tmp_path / f"a.{ending}"
        SimpleITK.WriteImage(image, str(file))
        with pytest.raises(ScanError, match=reason):
            check_scan(Entry((str(file),)))


def test_the_checksum_of_a_gzip_nrrd_is_the_one_that_gzip_wrote(tmp_path: Path) -> None:
    file = ras_nrrd(tmp_path / "a.nrrd", ball(), oblique())
    check_scan(Entry((str(file),)))
    data = bytearray(file.read_bytes())
    data[-8:-4] = zlib.crc32(b"other").to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(ScanError, match="damaged"):
        check_scan(Entry((str(file),)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a.img", "Analyze"), ("a.nii.bz2", "only gzip"), ("a.mnc", "mnc2nii"), ("a.zip", "unpack"), ("a.txt", "format")],
)
def test_a_file_of_another_format_that_is_given_itself_is_refused_with_what_to_do(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"PK or anything else")
    with pytest.raises(ScanError, match=reason):
        check_scan(Entry((str(tmp_path / name),)))


@pytest.mark.parametrize("qform_code", [0, 1])
@pytest.mark.parametrize("kind", [np.int16, np.int64, np.float32])
def test_the_sform_places_a_scan_whose_pixdim_contradicts_it(qform_code: int, kind: type, tmp_path: Path) -> None:
    voxels = np.arange(12 * 11 * 10, dtype=kind).reshape(12, 11, 10)
    image = nib.nifti1.Nifti1Image(voxels, np.eye(4), dtype=kind)
    image.set_qform(np.eye(4), qform_code)
    image.set_sform(oblique(), 1)
    nib.save(image, tmp_path / "a.nii.gz")
    with as_nifti(Entry((str(tmp_path / "a.nii.gz"),), mask=str(tmp_path / "a.nii.gz"))) as entry:
        for file in (*entry.images, entry.mask):
            read = LoadImage(image_only=True)(file)
            assert np.allclose(read.affine, oblique(), atol=1e-5)
            assert np.array_equal(read.numpy(), voxels)
