"""DICOM slices: geometry and voxels against known truth, and all that is no volume refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from dicom_series import OBLIQUE, element, without_preamble, write_multiframe, write_series
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.errors import ScanError
from pipeline.scans.cases import find_cases
from pipeline.scans.dicom_series import Series, find_series

VOXELS = np.random.default_rng(0).integers(-50, 900, (18, 14, 9)).astype(np.int16)
ORIGIN, SPACING = (-80.5, -60.25, 20.0), (0.9, 1.1, 3.0)


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def voxels(image: nib.nifti1.Nifti1Image) -> np.ndarray:
    return np.asanyarray(image.dataobj)


def refused(folder: Path, words: str) -> str:
    with pytest.raises(ScanError, match=words) as error:
        only(folder).read()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_oblique_series_is_where_it_was_written(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, SPACING, ORIGIN)
    image = only(tmp_path).read()
    assert voxels(image).dtype == np.int16
    assert np.array_equal(voxels(image), VOXELS)
    index = np.array([11, 3, 7])
    lps = np.array(ORIGIN) + OBLIQUE @ (index * SPACING)
    assert image.affine @ [*index, 1] == pytest.approx([-lps[0], -lps[1], lps[2], 1], abs=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        assert np.allclose(form, image.affine, atol=1e-4)


def test_simpleitk_reads_the_same_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    series = only(tmp_path / "dicom")
    reader = SimpleITK.ImageSeriesReader()
    files = reader.GetGDCMSeriesFileNames(str(tmp_path / "dicom"))
    assert tuple(map(str, series.files)) == files
    reader.SetFileNames(files)
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "peer.nii"))
    peer = nib.nifti1.Nifti1Image.from_filename(tmp_path / "peer.nii")
    image = series.read()
    assert np.allclose(image.affine, peer.affine, atol=1e-4)
    assert np.array_equal(voxels(image), voxels(peer))


def test_slices_are_put_in_order_whatever_their_files_are_called(tmp_path: Path) -> None:
    files = write_series(tmp_path, VOXELS)
    for file, name in zip(files, np.random.default_rng(1).permutation(len(files)), strict=True):
        file.rename(tmp_path / f"{name}.IMA")
    assert np.array_equal(voxels(only(tmp_path).read()), VOXELS)


def test_a_rescaled_series_is_in_its_true_units(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, slope=1.5, intercept=-3)
    image = only(tmp_path).read()
    assert voxels(image).dtype == np.float32
    assert np.array_equal(voxels(image), VOXELS * 1.5 - 3)


def test_slices_may_be_rescaled_differently(tmp_path: Path) -> None:
    uid = "1.2.3.4"
    write_series(tmp_path / "a", VOXELS, uid=uid)
    (fifth,) = (file for file in write_series(tmp_path / "b", VOXELS, uid=uid, slope=0.25) if "0005" in file.name)
    shutil.copy(fifth, tmp_path / "a")
    expected = VOXELS.astype(np.float32)
    expected[:, :, 4] *= 0.25
    assert np.array_equal(voxels(only(tmp_path / "a").read()), expected)


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressed_series_are_read(tmp_path: Path, compressor: str) -> None:
    write_series(tmp_path, VOXELS, compressor=compressor)
    assert np.array_equal(voxels(only(tmp_path).read()), VOXELS)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("meta", "slope", "kind"), [(True, 1.0, np.int16), (False, 1.0, np.int16), (False, 1.5, np.float32)]
)
def test_files_without_a_preamble_are_read(tmp_path: Path, syntax: str, meta: bool, slope: float, kind: type) -> None:
    files = write_series(tmp_path, VOXELS, suffix="", slope=slope)
    affine = only(tmp_path).read().affine
    for file in files:
        without_preamble(file, syntax, meta)
    image = only(tmp_path).read()
    assert voxels(image).dtype == kind
    assert np.array_equal(voxels(image), VOXELS * slope)
    assert np.array_equal(image.affine, affine)
    (case,) = find_cases([files[3]])
    assert case.series == only(tmp_path)


def test_a_multiframe_file_without_a_preamble_is_read(tmp_path: Path) -> None:
    file = write_multiframe(tmp_path / "enhanced", VOXELS, [(-10, -20, 3.0 * place) for place in range(9)])
    file.write_bytes(file.read_bytes()[132:])
    assert np.array_equal(voxels(only(tmp_path).read()), VOXELS)


@pytest.mark.parametrize("order", [range(9), range(8, -1, -1), (0, 5, 1, 6, 2, 7, 3, 8, 4)])
def test_a_multiframe_file_is_read_by_the_places_of_its_frames(tmp_path: Path, order: list[int]) -> None:
    frames = VOXELS[:, :, list(order)]
    write_multiframe(tmp_path / "enhanced.dcm", frames, [(-10, -20, 3.0 * place) for place in order], (1.0, 1.2))
    image = only(tmp_path).read()
    assert np.array_equal(voxels(image), VOXELS)
    assert image.affine == pytest.approx(np.array([[-1, 0, 0, 10], [0, -1.2, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]]))


def private(*elements: bytes) -> bytes:
    """Return elements in a private sequence, as Philips writes them into each frame."""
    return element("2005|0014", "LO", "Philips MR Imaging DD 005") + element("2005|140f", "SQ", [b"".join(elements)])


def misleading() -> bytes:
    """Return the elements of a second geometry and a second scale."""
    place = element("0020|0032", "DS", "1\\2\\3") + element("0020|0037", "DS", "0\\1\\0\\0\\0\\1")
    scale = element("0028|1052", "DS", "5") + element("0028|1053", "DS", "5")
    return place + element("0028|0030", "DS", "7\\7") + scale


@pytest.mark.parametrize(
    ("of_frame", "of_file"),
    [
        (private(misleading()), b""),
        (b"", element("0029|0010", "LO", "OURS") + element("0029|1010", "OW", misleading())),
        (b"", element("0029|0010", "LO", "OURS") + element("0029|1010", "OW", b"\x00\x52\x30\x92SQ" + misleading())),
    ],
)
def test_private_elements_do_not_place_frames(tmp_path: Path, of_frame: bytes, of_file: bytes) -> None:
    positions = [(-10, -20, 3.0 * place) for place in range(9)]
    write_multiframe(tmp_path / "plain" / "enhanced.dcm", VOXELS, positions)
    write_multiframe(tmp_path / "private" / "enhanced.dcm", VOXELS, positions, of_frame=of_frame, of_file=of_file)
    expected, image = (only(tmp_path / name).read() for name in ("plain", "private"))
    assert np.array_equal(image.affine, expected.affine)
    assert np.array_equal(voxels(image), VOXELS)


@pytest.mark.parametrize(
    ("places", "slopes", "words"),
    [
        ([], None, "where its slices lie"),
        ([0, 1, 2, 3, 4, 6, 7, 8, 9], None, "1 of its slices is missing"),
        ([0, 1, 2] * 3, None, "holds 3 volumes"),
        (range(9), [1.0, 2.0] * 4 + [1.0], "scales its frames differently"),
    ],
)
def test_a_multiframe_file_that_is_no_volume_is_refused(
    tmp_path: Path, places: list[int], slopes: list[float] | None, words: str
) -> None:
    positions = [(-10, -20, 3.0 * place) for place in places]
    write_multiframe(tmp_path / "enhanced.dcm", VOXELS, positions, slopes=slopes)
    refused(tmp_path, words)


@pytest.mark.parametrize(
    ("missing", "words"),
    [([4], r"1 of its slices is missing, around .* mm"), ([2, 3, 6], "3 of its slices are missing")],
)
def test_missing_slices_are_counted_and_placed(tmp_path: Path, missing: list[int], words: str) -> None:
    files = write_series(tmp_path, VOXELS, origin=(0, 0, 0), direction=np.eye(3))
    for index in missing:
        files[index].unlink()
    refused(tmp_path, words)


def test_several_volumes_are_counted(tmp_path: Path) -> None:
    for echo in range(3):
        files = write_series(tmp_path, VOXELS + echo, uid="1.2.3", start=f"E{echo}")
    refused(tmp_path, "holds 3 volumes")
    files[0].unlink()
    refused(tmp_path, "more than one volume")


def moved(files: list[Path], folder: Path, offset: np.ndarray) -> None:
    write_series(folder / "other", VOXELS, origin=tuple(np.array(ORIGIN) + offset), uid="1.2.3")
    (folder / "other" / files[4].name).replace(files[4])
    shutil.rmtree(folder / "other")


@pytest.mark.parametrize(
    ("offset", "words"), [(OBLIQUE[:, 2] * 0.8, "2.20 to 3.80 mm apart"), (OBLIQUE[:, 0] * 4, "shifted")]
)
def test_slices_that_do_not_stack_are_refused(tmp_path: Path, offset: np.ndarray, words: str) -> None:
    moved(write_series(tmp_path, VOXELS, uid="1.2.3"), tmp_path, offset)
    refused(tmp_path, words)


def mixed_sizes(folder: Path) -> None:
    write_series(folder, VOXELS, uid="1.2.3", start="A")
    write_series(folder, VOXELS[:12], uid="1.2.3", start="B", origin=(0, 0, 90))


def mixed_orientations(folder: Path) -> None:
    write_series(folder, VOXELS, uid="1.2.3", start="A")
    write_series(folder, VOXELS, uid="1.2.3", start="B", direction=np.eye(3))


def one_slice(folder: Path) -> None:
    write_series(folder, VOXELS[:, :, :1])


def another_modality(folder: Path) -> None:
    write_series(folder, VOXELS, tags={"0008|0060": "CT"})


def no_position(folder: Path) -> None:
    for file in write_series(folder, VOXELS):
        content = file.read_bytes()
        file.write_bytes(content.replace(b"\x20\0\x32\0", b"\x20\0\x33\0"))


def damaged_end(folder: Path) -> None:
    file = write_series(folder, VOXELS)[-1]
    file.write_bytes(file.read_bytes()[:-100])


def damaged_head(folder: Path) -> None:
    file = write_series(folder, VOXELS)[-1]
    content = file.read_bytes()
    file.write_bytes(content[: content.find(b"\x20\0\x0e\0") + 20])  # inside the UID of its series


def damaged_without_preamble(folder: Path) -> None:
    for file in write_series(folder, VOXELS, suffix=""):
        without_preamble(file, ExplicitVRLittleEndian, False)
    file.write_bytes(file.read_bytes()[:-100])


def lone_start_of_a_data_set(folder: Path) -> None:
    folder.mkdir()
    (folder / "lost").write_bytes(element("0008|0005", "CS", "ISO_IR 100") + b"\x08\0\x08\0CS")


def empty_file(folder: Path) -> None:
    write_series(folder, VOXELS)[-1].write_bytes(b"")


def lone_damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / "lost.dcm").write_bytes(bytes(4000))


def unknown_compression(folder: Path) -> None:
    for file in write_series(folder, VOXELS, compressor="JPEG2000"):
        known = b"1.2.840.10008.1.2.4.90"
        assert known in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(known, b"1.2.840.10008.1.2.4.99"))


def colour(folder: Path) -> None:
    for file in write_series(folder, VOXELS):
        image = SimpleITK.ReadImage(str(file))
        red = SimpleITK.Cast(image, SimpleITK.sitkUInt8)
        picture = SimpleITK.Compose(red, red, red)
        for tag in ("0008|0016", "0008|0060", "0020|000e", "0020|0032", "0020|0037"):
            picture.SetMetaData(tag, image.GetMetaData(tag))
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(file))
        writer.Execute(picture)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (mixed_sizes, "several sizes"),
        (mixed_orientations, "several orientations"),
        (one_slice, "single 2D slice"),
        (another_modality, "modality CT"),
        (no_position, "where its slices lie"),
        (damaged_end, r"its file IM0009.dcm is damaged or cut short"),
        (damaged_head, r"its file IM0009.dcm is damaged or cut short"),
        (damaged_without_preamble, r"its file IM0009 is damaged or cut short"),
        (lone_start_of_a_data_set, r"its file lost is damaged or cut short"),
        (empty_file, r"its file IM0009.dcm is damaged or cut short"),
        (lone_damaged, "is damaged"),
        (unknown_compression, "compression"),
        (colour, "colour"),
    ],
)
def test_what_is_no_volume_is_refused_in_silence(
    spoil: Callable[[Path], None], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path / "export")
    capfd.readouterr()
    refused(tmp_path / "export", words)
    assert capfd.readouterr() == ("", "")
