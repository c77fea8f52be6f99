"""DICOM of a case: each voxel of the SEG lies where its cluster lies, and nothing but what is named is taken over.

The SEG is read back by pydicom and by SimpleITK (GDCM), and placed by its own tags; dcmtk looks at the syntax.
"""

import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_series import OBLIQUE, PATIENT, write_multiframe, write_series
from PIL import Image
from pydicom.dataelem import RawDataElement

from pipeline.nifti import on_grid_of, write
from pipeline.prediction.case_folder import write_clusters
from pipeline.prediction.dicom_export import MOST_SEGMENTS, DicomExport
from pipeline.prediction.results import Hashes
from pipeline.scans.dicom_series import find_series
from pipeline.scoring import Cluster

SHAPE = (18, 16, 9)
"""A slice has a multiple of 8 pixels: GDCM leaves the last pixels of a SEG unset if they do not fill a byte."""
VOXELS = np.random.default_rng(0).integers(-50, 900, SHAPE).astype(np.int16)
EXPORT = DicomExport("my model", "ab" * 32)
HASHES = Hashes(("image",), None, "model", "calibration", "settings")
AXIAL = np.eye(3)
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
CORONAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
STUDY = "1.2.826.0.1.3680043"


def clusters_map(number: int = 3) -> np.ndarray:
    """Return clusters of one voxel and more, one of them at a corner of the scan, so that no two axes are alike."""
    numbers = np.zeros(SHAPE, np.uint16)
    numbers[2:9, 3:5, 4:7] = 1
    numbers[0, 0, [0, 4]] = 2
    numbers[-1, 6, -1] = 3
    return np.where(numbers > number, 0, numbers).astype(np.uint16)


def export(folder: Path, dicom: Path, numbers: np.ndarray, export: DicomExport = EXPORT) -> tuple[str, ...]:
    """Write the DICOM files of a case with these clusters on the grid of the series in a folder."""
    folder.mkdir(exist_ok=True)
    (series,) = find_series(dicom)
    image, slices = series.read_volume()
    write(on_grid_of(image, numbers), folder / "case_clusters.nii.gz")
    many = [
        Cluster(number, 3.0 / number, (0, 0, 0), (0, 0, 0), "left", 5.0, 4.0, 4.0, (0, 0), False)
        for number in range(1, int(numbers.max()) + 1)
    ]
    write_clusters(many, folder / "case_clusters.csv")
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "case_preview.png")
    return export.write(folder, "case", slices, HASHES)


def segmentation(folder: Path) -> pydicom.Dataset:
    return pydicom.dcmread(folder / "case_seg.dcm")


def frames(seg: pydicom.Dataset) -> Iterator[tuple[int, np.ndarray, pydicom.Dataset]]:
    """Yield the segment's number, the position in LPS, and the groups of each frame."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        groups = frame if "SegmentIdentificationSequence" in frame else shared
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        yield number, np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float), frame


def placed(seg: pydicom.Dataset, pixels: np.ndarray, on: nib.nifti1.Nifti1Image) -> np.ndarray:
    """Return the segments' numbers on the grid of a NIfTI image: each pixel where the SEG's own tags place it."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    numbers = np.zeros(on.shape, np.uint16)
    for (number, position, _), plane in zip(frames(seg), pixels, strict=True):
        row, column = np.nonzero(plane)
        assert len(row)  # no frame is empty
        lps = position + np.outer(column * columns, cosines[:3]) + np.outer(row * rows, cosines[3:])
        index = nib.affines.apply_affine(np.linalg.inv(on.affine), lps * [-1, -1, 1])
        assert np.abs(index - np.rint(index)).max() < 1e-3
        at = tuple(np.rint(index).astype(int).T)
        assert not numbers[at].any()
        numbers[at] = number
    return numbers


def assert_the_seg_lies_on_the_clusters(folder: Path, numbers: np.ndarray) -> None:
    on = nib.nifti1.Nifti1Image.from_filename(folder / "case_clusters.nii.gz")
    seg = segmentation(folder)
    by_simpleitk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "case_seg.dcm")))
    for pixels in (seg.pixel_array, by_simpleitk):
        assert np.array_equal(placed(seg, pixels.reshape(-1, seg.Rows, seg.Columns), on), numbers)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_the_seg_lies_on_the_clusters_in_any_orientation(tmp_path: Path, direction: np.ndarray, down: bool) -> None:
    direction = direction @ np.diag([1, 1, -1 if down else 1])  # the files' names run against the slices' order
    write_series(tmp_path / "dicom", VOXELS, direction=direction)
    assert export(tmp_path / "case", tmp_path / "dicom", clusters_map()) == ()
    assert_the_seg_lies_on_the_clusters(tmp_path / "case", clusters_map())


def test_frames_refer_to_the_slices_at_their_places(tmp_path: Path) -> None:
    files = write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    slices = {file.SOPInstanceUID: file for file in map(pydicom.dcmread, files)}
    seg = segmentation(tmp_path / "case")
    for _, position, frame in frames(seg):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        slice_ = slices[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == slice_.SOPClassUID
        assert np.allclose(position, np.array(slice_.ImagePositionPatient, float), atol=1e-6)
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == next(iter(slices.values())).SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} == set(slices)


def with_tags(file: Path, **tags: str) -> None:
    dataset = pydicom.dcmread(file)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)


@pytest.mark.parametrize("cut", [(0, 9), (0, 4, 9)])
def test_the_seg_of_multi_frame_files_refers_to_their_frames(tmp_path: Path, cut: tuple[int, ...]) -> None:
    (tmp_path / "dicom").mkdir()
    order = np.random.default_rng(3).permutation(9)  # frames may come in any order
    for start, end in pairwise(cut):
        numbers = order[start:end]
        file = tmp_path / "dicom" / f"{start}.dcm"
        write_multiframe(file, VOXELS[:, :, numbers], [(5, 7, 3 * z) for z in numbers])
        with_tags(file, StudyInstanceUID=STUDY, SOPInstanceUID=f"1.2.3.4.5{start}")
    assert export(tmp_path / "case", tmp_path / "dicom", clusters_map()) == ()
    assert_the_seg_lies_on_the_clusters(tmp_path / "case", clusters_map())
    for _, position, frame in frames(segmentation(tmp_path / "case")):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        (file,) = tmp_path.glob(f"dicom/{source.ReferencedSOPInstanceUID[9:]}.dcm")
        groups = pydicom.dcmread(file).PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == position.tolist()


def test_slices_of_a_series_each_are_referred_to_by_their_own(tmp_path: Path) -> None:
    for number, file in enumerate(write_series(tmp_path / "dicom", VOXELS)):
        with_tags(file, SeriesInstanceUID=f"1.2.3.{number}", FrameOfReferenceUID=f"1.2.4.{number}")
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    assert_the_seg_lies_on_the_clusters(tmp_path / "case", clusters_map())
    seg = segmentation(tmp_path / "case")
    assert [one.SeriesInstanceUID for one in seg.ReferencedSeriesSequence] == [f"1.2.3.{i}" for i in range(9)]
    assert seg.FrameOfReferenceUID.startswith("2.25.")  # the slices name none in common


def test_segments_are_named_and_coded(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    seg = segmentation(tmp_path / "case")
    assert (seg.SegmentationType, seg.Modality, seg.SegmentsOverlap) == ("BINARY", "SEG", "NO")
    assert [one.SegmentLabel for one in seg.SegmentSequence] == [
        "cluster 1, 3 ml, left", "cluster 2, 1.5 ml, left", "cluster 3, 1 ml, left",
    ]  # fmt: skip
    for one in seg.SegmentSequence:
        codes = (one.SegmentedPropertyCategoryCodeSequence[0], one.SegmentedPropertyTypeCodeSequence[0])
        assert [code.CodeValue for code in codes] == ["49755003", "52988006"]
        assert [code.CodingSchemeDesignator for code in codes] == ["SCT", "SCT"]
        assert one.AnatomicRegionSequence[0].CodeMeaning == "Brain"
        assert one.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == one.SegmentAlgorithmName == "ceVAE model my model"
        assert "weights abababab" in algorithm.AlgorithmVersion


def test_both_stand_in_the_study_beside_their_scan(tmp_path: Path) -> None:
    source = pydicom.dcmread(write_series(tmp_path / "dicom", VOXELS, number=7)[0])
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    seg, preview = (pydicom.dcmread(tmp_path / "case" / f"case_{name}.dcm") for name in ("seg", "preview"))
    for made, number in ((seg, 7001), (preview, 7002)):
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.PatientID == source.PatientID
        assert (made.SeriesNumber, made.InstanceNumber) == (number, 1)
        assert "research, not for diagnosis" in made.SeriesDescription
        assert made.BurnedInAnnotation == "NO"
        assert made.Manufacturer == "brain-mri-cevae"
    assert len({seg.SeriesInstanceUID, preview.SeriesInstanceUID, source.SeriesInstanceUID}) == 3
    assert preview.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    with Image.open(tmp_path / "case" / "case_preview.png") as picture:
        assert np.array_equal(preview.pixel_array, np.asarray(picture))


TIMES = {"InstanceCreationTime", "ContentTime", "TimeOfSecondaryCapture"}
TIMES |= {"InstanceCreationDate", "ContentDate", "DateOfSecondaryCapture"}


def test_made_again_they_differ_in_their_times_only(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    made = []
    for name in ("first", "second"):
        export(tmp_path / name, tmp_path / "dicom", clusters_map())
        datasets = [pydicom.dcmread(tmp_path / name / f"case_{kind}.dcm") for kind in ("seg", "preview")]
        for dataset in datasets:
            for keyword in TIMES & set(dataset.dir()):
                del dataset[keyword]
        made.append(datasets)
    assert made[0] == made[1]
    other = Hashes(("image",), None, "model", "calibration", "other settings")
    (series,) = find_series(tmp_path / "dicom")
    EXPORT.write(tmp_path / "second", "case", series.read_volume().slices, other)
    series_uids = [segmentation(tmp_path / name).SeriesInstanceUID for name in ("first", "second")]
    assert series_uids[0] != series_uids[1]  # another result is no replacement


IDENTIFYING = {
    "PatientName": PATIENT["0010|0010"], "PatientBirthDate": PATIENT["0010|0030"], "OtherPatientIDs": "SSN-11",
    "PatientAddress": "Street 12", "PatientTelephoneNumbers": "555-1234", "AccessionNumber": "ACC-9",
    "InstitutionName": "St. Elsewhere", "ReferringPhysicianName": "House^Gregory", "StudyID": "STUDY-3",
    "StudyDescription": "memory clinic", "PatientComments": "has a twin", "StationName": "MR-EAST",
    "DeviceSerialNumber": "SN-42", "EthnicGroup": "group-x", "PatientMotherBirthName": "Maiden", "PatientSex": "F",
    "Manufacturer": "ACME scanners", "ProtocolName": "for Mustermann", "PatientAge": "056Y",
}  # fmt: skip
"""Tags of a scan that must not reach its DICOM objects."""


def test_nothing_else_of_the_scan_is_taken_over(tmp_path: Path) -> None:
    for file in write_series(tmp_path / "Erika", VOXELS, tags={"0020|0052": "1.2.9"}):
        with_tags(file, **IDENTIFYING)
    export(tmp_path / "case", tmp_path / "Erika", clusters_map())
    for name in ("seg", "preview"):
        content = (tmp_path / "case" / f"case_{name}.dcm").read_bytes()
        for value in {*IDENTIFYING.values(), "Erika"} - {"F"}:
            assert value.encode() not in content
        made = pydicom.dcmread(tmp_path / "case" / f"case_{name}.dcm")
        assert all(not made[keyword].value for keyword in ("PatientName", "PatientBirthDate", "PatientSex"))
        assert not any(element.tag.is_private for element in made.iterall())
    assert segmentation(tmp_path / "case").FrameOfReferenceUID == "1.2.9"


HOSTILE: dict[str, tuple[dict[str, bytes], bool]] = {
    "an id too long": ({"0010|0020": b"X" * 200}, True),
    "an id in no known encoding": ({"0010|0020": b"M\xfcller\xff", "0008|0005": b"ISO_IR 192"}, True),
    "an unknown character set": ({"0010|0020": b"M\xfcller", "0008|0005": b"NONE <script>"}, True),
    "an id of two values": ({"0010|0020": b"A\\B"}, True),
    "HTML": ({"0010|0020": b"<script>x</script>", "0008|103e": b"<b>&", "0020|0010": b"'; DROP"}, False),
    "no date and no time": ({"0008|0020": b"20209999", "0008|0030": b"99:99"}, False),
    "a number that is none": ({"0020|0011": b"7e99 <"}, False),
    "a large number": ({"0020|0011": b"2147483647"}, False),
    "very long texts": ({"0008|103e": b"long" * 900, "0010|0010": b"name" * 900, "0008|0090": b"who" * 999}, False),
}


def write_raw(file: Path, tags: dict[str, bytes]) -> None:
    """Put bytes into the tags of a file as they are: pydicom would encode them anew."""
    dataset = pydicom.dcmread(file)
    padded = {tag: value + b" " * (len(value) % 2) for tag, value in tags.items()}
    for tag, value in padded.items():
        number = pydicom.tag.Tag(*(int(half, 16) for half in tag.split("|")))
        kind = dataset[number].VR if number in dataset else "LO"
        value = value if value.isascii() else b"#" * len(value)
        dataset._dict[number] = RawDataElement(number, kind, len(value), value, 0, False, True)
    dataset.save_as(file)
    for value in padded.values():
        if not value.isascii():
            file.write_bytes(file.read_bytes().replace(b"#" * len(value), value, 1))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tags_break_nothing(tmp_path: Path, kind: str) -> None:
    tags, warned = HOSTILE[kind]
    for file in write_series(tmp_path / "dicom", VOXELS):
        write_raw(file, tags)
    warnings = export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    assert len(warnings) == warned
    assert "ller" not in " ".join(warnings)
    assert_the_seg_lies_on_the_clusters(tmp_path / "case", clusters_map())
    seg = segmentation(tmp_path / "case")
    assert bool(seg.PatientID) != warned
    if kind == "HTML":
        assert seg.PatientID == "<script>x</script>"
    if "number" in kind:
        assert seg.SeriesNumber == 9001


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyInstanceUID", ""), ("StudyInstanceUID", "of Erika"), ("SOPInstanceUID", "1." * 40 + "1")],
)
def test_without_valid_uids_nothing_is_made_and_it_is_told(tmp_path: Path, keyword: str, value: str) -> None:
    for file in write_series(tmp_path / "dicom", VOXELS):
        with_tags(file, **{keyword: value})
    (warning,) = export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    assert "there are no CASE_seg.dcm and CASE_preview.dcm: its files" in warning
    assert "Erika" not in warning
    assert not list((tmp_path / "case").glob("*.dcm"))
    assert not list((tmp_path / "case").glob(".partial*"))


def test_without_clusters_there_is_a_preview_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    assert export(tmp_path / "case", tmp_path / "dicom", clusters_map(0)) == ()
    assert [file.name for file in (tmp_path / "case").glob("*.dcm")] == ["case_preview.dcm"]


def test_of_many_clusters_the_largest_are_segments(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    numbers = np.zeros(SHAPE, np.uint16)
    numbers[::2, ::2, ::2] = np.arange(1, 9 * 8 * 5 + 1).reshape(9, 8, 5)
    export(tmp_path / "case", tmp_path / "dicom", numbers)
    seg = segmentation(tmp_path / "case")
    assert [one.SegmentNumber for one in seg.SegmentSequence] == [*range(1, MOST_SEGMENTS + 1)]
    assert seg.ContentDescription.startswith("100 largest of 360 clusters")
    assert_the_seg_lies_on_the_clusters(tmp_path / "case", np.where(numbers > MOST_SEGMENTS, 0, numbers))


def test_a_model_may_have_any_name(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map(), DicomExport("ä\\b\n<" + "x" * 99, "ab" * 32))
    name = segmentation(tmp_path / "case").ManufacturerModelName
    assert name.startswith("ceVAE model ä/b?<xxx")
    assert len(name.encode()) == 64


def dcmtk(tool: str, *arguments: str | Path) -> str:
    """Return what a tool of dcmtk prints, if it has nothing to complain of."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} of dcmtk is not installed (apt-get install dcmtk)")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_dcmtk_reads_both(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    seg, preview = (tmp_path / "case" / f"case_{name}.dcm" for name in ("seg", "preview"))
    said = dcmtk("dcmdump", "--search", "SegmentLabel", seg)
    assert said.count("cluster ") == 3
    dcmtk("dcm2pnm", "--write-png", preview, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as read, Image.open(tmp_path / "case" / "case_preview.png") as drawn:
        assert np.array_equal(np.asarray(read.convert("RGB")), np.asarray(drawn))
    dcmtk("dcm2pnm", "--write-png", "--all-frames", seg, tmp_path / "frame")
    written = sorted(tmp_path.glob("frame.*.png"), key=lambda file: int(file.name.split(".")[1]))
    planes = [np.asarray(Image.open(file).convert("L")) > 0 for file in written]
    assert np.array_equal(planes, segmentation(tmp_path / "case").pixel_array > 0)


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (apt-get install dicom3tools)")
    write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    for name in ("seg", "preview"):
        done = subprocess.run(["dciodvfy", tmp_path / "case" / f"case_{name}.dcm"], capture_output=True, text=True)
        assert "Error" not in done.stdout + done.stderr


def test_dicom_of_ours_is_not_taken_for_a_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", VOXELS)
    export(tmp_path / "case", tmp_path / "dicom", clusters_map())
    for name in ("seg", "preview"):
        shutil.copy(tmp_path / "case" / f"case_{name}.dcm", tmp_path / "dicom")
    (series,) = find_series(tmp_path / "dicom")
    assert len(series.files) == SHAPE[2]
