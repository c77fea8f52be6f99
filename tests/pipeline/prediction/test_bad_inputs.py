"""Bad inputs: each is named in one line that says what is wrong and what to do, and the good scans are done.

BAD    name: how it is made, what its message must say
"""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helpers import ball, save_scan

from pipeline.cohorts import Entry
from pipeline.errors import ScanError, reason_of
from pipeline.model.trained import load_model
from pipeline.prediction.predicting import predict
from pipeline.scans.cases import Case, find_cases
from pipeline.scans.reading import ReadCase

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SCAN = ball((24, 24, 16), 8)


def scan(voxels: np.ndarray, affine: np.ndarray | None = AFFINE) -> Callable[[Path], None]:
    return lambda file: nib.save(nib.nifti1.Nifti1Image(voxels, affine), file)


def content(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return how a good scan's file is changed."""

    def make(file: Path) -> None:
        nib.save(nib.nifti1.Nifti1Image(SCAN, AFFINE), file)
        file.write_bytes(change(file.read_bytes()))

    return make


def header(**fields: Any) -> Callable[[Path], None]:
    """Return how fields of a good scan's header are changed, its voxels left as they are."""

    def changed(compressed: bytes) -> bytes:
        plain = gzip.decompress(compressed)
        fields_of = nib.nifti1.Nifti1Header(plain[:348], check=False)
        for field, value in fields.items():
            fields_of[field] = value
        return gzip.compress(fields_of.binaryblock + plain[348:])

    return content(changed)


def masked(voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], dict[str, str]]:
    def make(file: Path) -> dict[str, str]:
        save_scan(file, SCAN)
        return {"mask": str(save_scan(file.with_name("m_" + file.name), voxels, affine))}

    return make


def missing_channel(file: Path) -> dict[str, list[str]]:
    save_scan(file, SCAN)
    return {"image": [str(file), str(file.with_name("gone.nii.gz"))]}


def with_value(value: float) -> Callable[[Path], None]:
    voxels = SCAN.astype(np.float64)
    voxels[12, 12, 8] = value
    return scan(voxels)


def flipped(compressed: bytes) -> bytes:
    middle = len(compressed) // 2
    return compressed[:middle] + bytes([compressed[middle] ^ 0xFF]) + compressed[middle + 1 :]


MASK = (SCAN > 0).astype(np.uint8)
RGB = np.zeros((24, 24, 16), [("R", "u1"), ("G", "u1"), ("B", "u1")])

BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty file": (lambda file: file.touch(), "the file is empty .* copy or convert it again"),
    "text": (lambda file: file.write_text("not a scan\n" * 50), "not a readable NIfTI file; convert it again"),
    "other gzip": (lambda file: file.write_bytes(gzip.compress(bytes(999))), "not a readable NIfTI file; convert"),
    "cut in the header": (content(lambda c: c[:60]), "not a readable NIfTI file; convert it again"),
    "cut in the middle": (content(lambda c: c[: len(c) // 2]), "damaged or cut short; copy or convert it again"),
    "cut at the end": (content(lambda c: c[:-4]), "damaged or cut short; copy or convert it again"),
    "one damaged byte": (content(flipped), "damaged or cut short; copy or convert it again"),
    "cut before it was compressed": (
        content(lambda c: gzip.compress(gzip.decompress(c)[:9000])),
        "damaged or cut short; copy or convert it again",
    ),
    "not compressed": (content(gzip.decompress), "not compressed, .* rename it to .nii"),
    "DICOM": (lambda file: file.write_bytes(bytes(128) + b"DICM" + bytes(500)), "a DICOM file, not NIfTI; give the"),
    "a folder": (lambda file: file.mkdir(), "a folder, not a file; give the scan in it"),
    "dangling link": (lambda file: file.symlink_to(file.with_name("gone")), "dangling link"),
    "NaN": (with_value(np.nan), "1 voxel is not finite .* write them as 0 first"),
    "infinity": (with_value(np.inf), "1 voxel is not finite .* write them as 0 first"),
    "beyond float32": (with_value(1e300), "1 voxel is not finite .* write them as 0 first"),
    "all zero": (scan(np.zeros_like(SCAN)), r"same value \(0\): the scan is empty; export or convert it again"),
    "constant": (scan(np.full_like(SCAN, 7)), r"same value \(7\): the scan is empty; export or convert it again"),
    "a mask for a scan": (scan(MASK), "only one grey level inside the brain mask: this file is probably a mask"),
    "2D": (scan(np.ones((24, 24), np.int16)), "its shape is 24 x 24, which is not a volume; give a 3D scan"),
    "several volumes": (scan(np.stack([SCAN] * 3, -1)), "holds 3 volumes .* give one of them, split off for example"),
    "five axes": (scan(SCAN[..., None, None]), "it has 5 axes .* give a 3D scan"),
    "RGB": (scan(RGB), "a colour image .* give the scan itself"),
    "complex": (scan(SCAN.astype(np.complex64)), "its voxels are complex values; give the magnitude"),
    "a line": (scan(SCAN[:, :1, :1]), "24 x 1 x 1, smaller than a slice of a head; give the whole scan"),
    "5000 voxels": (scan(np.ones((5000, 8, 8), np.uint8)), "5000 x 8 x 8 voxels, too many for a head; convert it"),
    "memory bomb": (header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "30000 x 30000 x 30000 voxels, too many for a"),
    "more than the file holds": (header(dim=[3, 700, 700, 700, 1, 1, 1, 1]), "damaged or cut short; copy or"),
    "singular affine": (header(srow_x=[0, 0, 0, 0]), "affine is singular, .* convert it again"),
    "NaN in the affine": (header(srow_x=[np.nan, 0, 0, 0]), "affine is singular, .* convert it again"),
    "missing affine": (header(sform_code=0, qform_code=0), "where left and right are .* convert it from DICOM again"),
    "in metres": (scan(SCAN, np.diag([0.004, 0.004, 0.004, 1])), "0.004 x 0.004 x 0.004 mm, .* with lengths in mm"),
    "in micrometres": (scan(SCAN, np.diag([1e3, 1e3, 1e3, 1])), r"1000 x 1000 x 1000 mm, .* with lengths in mm"),
    "mask of another shape": (masked(MASK[:-1]), "its mask m_.* has the shape 23 x 24 x 16, .* make it from this scan"),
    "mask on another grid": (masked(MASK, AFFINE * 1.1), "its mask m_.* lies on another grid; resample it"),
    "NaN in the mask": (masked(np.where(MASK, np.nan, 0)), "its brain mask m_.* not finite .* make it again, with 0"),
    "empty mask": (masked(0 * MASK), "its brain mask m_.* is empty; make it again from this scan"),
    "mask of one grey level": (masked(1 - MASK), "one grey level inside the brain mask: .* belongs to another scan"),
    "missing channel": (missing_channel, "gone.nii.gz: the file is not there .*check the path"),
}  # fmt: skip

JARGON = re.compile(r"Traceback|Error|Exception|nibabel|monai|torch|numpy|ndarray|dtype|tensor", re.IGNORECASE)


def make(bad: str, folder: Path) -> dict[str, Any]:
    """Make a bad input, and return it as a datalist lists it."""
    file = folder / f"{bad}.nii.gz"
    changed = BAD[bad][0](file)
    return {"image": str(file)} | (changed if isinstance(changed, dict) else {})


def good_line(reason: str, bad: str) -> bool:
    return bool(re.search(BAD[bad][1], reason)) and "\n" not in reason and not JARGON.search(reason)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_input_is_refused_with_what_is_wrong_and_what_to_do(run: Path, tmp_path: Path, bad: str) -> None:
    listed = make(bad, tmp_path)
    images = listed["image"] if isinstance(listed["image"], list) else [listed["image"]]
    read = ReadCase(load_model(run, "cpu").preprocessing, len(images))
    with pytest.raises((ScanError, ValueError, RuntimeError)) as raised:
        read(Case("bad", Entry(tuple(images), listed.get("mask"))))
    assert good_line(reason_of(raised.value), bad), reason_of(raised.value)


def test_all_bad_inputs_at_once_are_named_and_the_good_scans_are_done(run: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "others").mkdir()
    others = []
    for bad in BAD:
        entry = make(bad, tmp_path / "others")
        if entry.keys() == {"image"} and isinstance(entry["image"], str) and bad != "DICOM":
            Path(entry["image"]).rename(tmp_path / "scans" / f"{bad}.nii.gz")
        else:
            others.append(entry)
    (tmp_path / "others.json").write_text(json.dumps({"test": others}))
    good = [save_scan(tmp_path / "scans" / f"good{i}.nii.gz", ball(seed=i)) for i in (1, 2)]
    results = {
        r.case: r for r in predict(run, [tmp_path / "scans", tmp_path / "others.json"], tmp_path / "out", (), "cpu")
    }
    table = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False).set_index("case")
    assert {name for name, result in results.items() if result.status == "done"} == {"good1", "good2"}
    assert set(results) == set(table.index) == {"good1", "good2"} | set(BAD)
    for bad in BAD:
        assert good_line(results[bad].reason, bad), results[bad].reason
        assert (table.loc[bad, "status"], table.loc[bad, "reason"]) == ("failed", results[bad].reason)
        assert f"{bad}.nii.gz" in table.loc[bad, "input"]
    folders = {folder.name for folder in (tmp_path / "out").iterdir() if folder.is_dir()}
    assert folders == {"viewer_files", *(f.name[:5] for f in good)}


def test_a_scan_without_its_mask_is_not_done_without_one(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        save_scan(tmp_path / "scans" / f"{name}.nii.gz", SCAN)
    (tmp_path / "masks").mkdir()
    save_scan(tmp_path / "masks" / "a_bet.nii.gz", MASK)
    results = predict(run, [tmp_path / "scans"], tmp_path / "out", [tmp_path / "masks"], "cpu")
    assert [result.status for result in results] == ["done", "failed"]
    assert "no brain mask for b" in find_cases([tmp_path / "scans"], [tmp_path / "masks"])[1].problem
