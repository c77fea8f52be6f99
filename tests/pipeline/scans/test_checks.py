"""Checks of a scan's files: what is refused (see test_bad_inputs too), what is odd but works, what is warned of."""

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from helpers import ball, save_scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cohorts import Entry
from pipeline.errors import ScanError
from pipeline.model.trained import load_model
from pipeline.scans.checks import check_scan, header_warnings, problem_of, read_header

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def image_of(voxels: np.ndarray, affine: np.ndarray | None = AFFINE) -> nib.nifti1.Nifti1Image:
    return nib.nifti1.Nifti1Image(voxels, affine)


def test_a_good_scan_passes_and_so_does_a_single_slice(tmp_path: Path) -> None:
    for voxels in (ball(), ball()[:, :, 17:18]):
        file = save_scan(tmp_path / "a.nii.gz", voxels)
        check_scan(Entry((str(file),), str(file), str(file)), channels=1)
        assert header_warnings(read_header(file)) == []


def big_endian(file: Path) -> None:
    nib.save(nib.nifti1.Nifti1Image(ball(), AFFINE, nib.nifti1.Nifti1Header(endianness=">")), file)
    assert nib.nifti1.Nifti1Image.from_filename(file).header.endianness == ">"


def scaled(file: Path) -> None:
    image = image_of(ball().astype(np.float64) * 0.01 + 3 * (ball() > 0))
    image.header.set_data_dtype(np.int16)
    nib.save(image, file)
    assert nib.nifti1.Nifti1Image.from_filename(file).dataobj.slope != 1


def normalised(file: Path) -> None:
    voxels = ball().astype(np.float32)
    inside = voxels > 0
    nib.save(image_of(np.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), 0)), file)


ODD: dict[str, Callable[[Path], None]] = {
    "a fourth axis of length 1": lambda file: nib.save(image_of(ball()[..., None]), file),
    "big-endian": big_endian,
    "scaled integers": scaled,
    "values around 0, stripped before": normalised,
    "huge values": lambda file: nib.save(image_of(ball().astype(np.float32) * 5e35), file),
    "huge values in float64": lambda file: nib.save(image_of(ball().astype(np.float64) * 5e35), file),
    "tiny values": lambda file: nib.save(image_of(ball().astype(np.float32) * 1e-33), file),
    "NIfTI-2": lambda file: nib.save(nib.nifti2.Nifti2Image(ball(), AFFINE), file),
    "unknown unit": lambda file: nib.save(image_of(ball()), file),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_but_holds_the_same_scan_is_preprocessed_to_the_same(run: Path, tmp_path: Path, odd: str) -> None:
    ODD[odd](tmp_path / "odd.nii.gz")
    plain = save_scan(tmp_path / "plain.nii.gz", ball())
    preprocessing = load_model(run, "cpu").preprocessing
    items = []
    for file in (tmp_path / "odd.nii.gz", plain):
        check_scan(Entry((str(file),)), channels=1)
        items.append(preprocessing({"image": str(file)}))
    assert items[0]["image"].shape == items[1]["image"].shape
    np.testing.assert_allclose(items[0]["image"], items[1]["image"], atol=0.02)
    assert np.array_equal(items[0]["scan_mask"], items[1]["scan_mask"])


def test_negative_values_work(run: Path, tmp_path: Path) -> None:
    file = save_scan(tmp_path / "a.nii.gz", -ball())
    plain = save_scan(tmp_path / "plain.nii.gz", ball())
    preprocessing = load_model(run, "cpu").preprocessing
    items = [preprocessing({"image": str(scan)}) for scan in (file, plain)]
    np.testing.assert_allclose(items[0]["image"], -items[1]["image"], atol=1e-4)


def test_a_mask_of_ones_everywhere_is_taken(run: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz", ball())
    mask = save_scan(tmp_path / "m.nii.gz", np.ones((40, 48, 36), np.uint8))
    check_scan(Entry((str(scan),), str(mask)))
    item = load_model(run, "cpu").preprocessing({"image": str(scan), "mask": str(mask)})
    assert item["scan_mask"].all()


def test_channels_on_different_grids_or_of_different_shapes_are_refused(tmp_path: Path) -> None:
    first = save_scan(tmp_path / "a.nii.gz", ball())
    second = save_scan(tmp_path / "b.nii.gz", ball(), np.diag([4.0, 4.0, 5.0, 1.0]))
    third = save_scan(tmp_path / "c.nii.gz", ball((40, 48, 30)))
    with pytest.raises(ScanError, match=r"its channel b.nii.gz lies on another grid"):
        check_scan(Entry((str(first), str(second))))
    with pytest.raises(
        ScanError, match=r"its channel c.nii.gz has the shape 40 x 48 x 30, not the scan's 40 x 48 x 36"
    ):
        check_scan(Entry((str(first), str(third))))
    with pytest.raises(ScanError, match="it has 1 channels, but the model needs 2"):
        check_scan(Entry((str(first),)), channels=2)


@pytest.mark.parametrize("role", ["mask", "label"])
def test_a_mirrored_mask_or_label_is_refused(tmp_path: Path, role: str) -> None:
    scan = save_scan(tmp_path / "a.nii.gz", ball())
    other = save_scan(tmp_path / "b.nii.gz", ball(), np.diag([-4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(ScanError, match=f"its {role} b.nii.gz lies on another grid"):
        check_scan(replace(Entry((str(scan),)), **{role: str(other)}))


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    """NiBabel reads on past most of them, and gives other voxels."""
    content = save_scan(tmp_path / "a.nii.gz", ball((24, 24, 16), 8)).read_bytes()
    file = tmp_path / "b.nii.gz"
    for position in range(20, len(content), len(content) // 50):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        with pytest.raises(ScanError):
            check_scan(Entry((str(file),)))


def test_a_sheared_or_oblique_affine_is_usable(tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turned[0, 2] = 0.4
    check_scan(Entry((str(save_scan(tmp_path / "a.nii.gz", ball(), turned @ AFFINE)),)))


def two_forms(qform: np.ndarray) -> nib.nifti1.Nifti1Image:
    image = image_of(ball())
    image.set_sform(AFFINE, 4)
    image.set_qform(qform, 1)
    return image


def test_sform_and_qform_that_disagree_are_warned_of() -> None:
    shifted = AFFINE.copy()
    shifted[:3, 3] = [3, 4, 0]
    assert header_warnings(two_forms(AFFINE)) == []
    (warning,) = header_warnings(two_forms(shifted))
    assert "disagree by up to 5 mm" in warning
    assert "left and right" not in warning
    (warning,) = header_warnings(two_forms(np.diag([-4.0, 4.0, 4.0, 1.0])))
    assert "check left and right" in warning


def test_a_damaged_qform_beside_a_good_sform_is_warned_of() -> None:
    image = two_forms(AFFINE)
    image.header["quatern_b"], image.header["quatern_c"] = 2, 2
    assert "qform is damaged" in header_warnings(image)[0]


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_lengths_of_another_unit_that_look_like_mm_are_warned_of(unit: str) -> None:
    image = image_of(ball())
    image.header.set_xyzt_units(unit, "sec")
    assert "taken as mm" in header_warnings(image)[0]


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_scan(tmp_path / "a.nii.gz", ball())
    file.chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def denied(name: str, *_: object) -> None:
            raise PermissionError(13, "Permission denied", str(name))

        monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(ScanError, match=r"^permission denied; ask for access"):
        check_scan(Entry((str(file),)))


def test_a_file_and_a_link_to_one_are_no_problem(tmp_path: Path) -> None:
    file = save_scan(tmp_path / "a.nii.gz", ball())
    (tmp_path / "b.nii.gz").symlink_to(file)
    assert problem_of(file) == problem_of(tmp_path / "b.nii.gz") == ""
    (tmp_path / "c.nii.gz").symlink_to(tmp_path / "c.nii.gz")
    assert "symbolic links" in problem_of(tmp_path / "c.nii.gz")


@pytest.mark.parametrize("offset", [0, 1, 4, 100, 348, 351])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_that_begin_inside_the_header_are_refused(offset: int, suffix: str, tmp_path: Path) -> None:
    data = bytearray(save_scan(tmp_path / "a.nii", ball()).read_bytes())
    data[108:112] = np.float32(offset).tobytes()
    file = tmp_path / f"b{suffix}"
    file.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)
    with pytest.raises(ScanError, match=r"vox_offset is below 352"):
        read_header(file)


def test_voxels_that_begin_later_are_read(tmp_path: Path) -> None:
    file = save_scan(tmp_path / "a.nii", ball())
    data = bytearray(file.read_bytes())
    data[108:112] = np.float32(416).tobytes()
    file.write_bytes(data[:352] + bytes(64) + data[352:])
    np.testing.assert_array_equal(np.asanyarray(read_header(file).dataobj), ball())


@given(
    st.one_of(st.just(0.0), st.floats(1e-6, 5e-5), st.floats(1.5e-4, 0.5)), st.permutations([0, 1, 2]),
    st.floats(0.5, 5), st.floats(-1, 1),
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sheared_sform_is_warned_of_if_itk_cannot_open_it(
    tmp_path: Path, shear: float, axes: list[int], side: float, turn: float
) -> None:
    affine = np.diag([side, 1.0, 2.0, 1.0])
    affine[axes[0], axes[1]] = shear * affine[axes[1], axes[1]]
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image = image_of(np.zeros((9, 10, 11), np.uint8), None)
    image.set_sform(rotation @ affine, 1)
    nib.save(image, tmp_path / "a.nii")
    try:
        SimpleITK.ReadImage(str(tmp_path / "a.nii"))
        opens = True
    except RuntimeError:
        opens = False
    warnings = header_warnings(read_header(tmp_path / "a.nii"))
    assert any("sheared" in warning for warning in warnings) is not opens
