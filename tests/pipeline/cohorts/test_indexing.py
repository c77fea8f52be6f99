"""Layouts: cohorts as they are downloaded become datalists, and what they lack is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.cohorts.datalist import read_datalist
from pipeline.cohorts.indexing import index_cohort
from pipeline.cohorts.layouts import LAYOUTS
from pipeline.errors import UsageError


def plant(root: Path, *files: str) -> Path:
    """Make empty files, for only names count."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_files_that_are_not_read_are_named_and_other_formats_are_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(tmp_path, "a.nii.gz", "b.mgz", "c/d.NRRD", "e.mha", "f.img", "g/h.nii.bz2", "d/1.dcm", "a_mask.mgz", "e.mgz")
    plant(tmp_path, *(f"m/{n}.mnc" for n in range(9)), "e.nii", "notes.txt")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "gone")
    (entries,) = index_cohort(tmp_path, "folder", tmp_path / "d.json").values()
    assert [entry["image"] for entry in entries] == ["a.nii.gz", "b.mgz", "c/d.NRRD", "e.nii"]
    assert entries[0]["mask"] == "a_mask.mgz"
    for text in (
        "f.img is not read", "g/h.nii.bz2 is not read", "d/1.dcm is not read: DICOM", "9 .mnc files such as m/0",
        "link.nii.gz is not read: a dangling link", "e.mgz and e.mha are left out: another file differs only",
    ):  # fmt: skip
        assert sum(text in message for message in caplog.messages) == 1, text
    assert not any("notes" in message for message in caplog.messages)


def test_masks_and_labels_beside_scans_are_not_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *(f"{name}.nii.gz" for name in ("a", "a-seg", "b", "b-label", "c", "c_roi", "d", "d_dseg")))
    (entries,) = index_cohort(tmp_path, "folder", tmp_path / "d.json").values()
    assert [entry["image"] for entry in entries] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert [entry.get("label") for entry in entries] == ["a-seg.nii.gz", "b-label.nii.gz", None, None]
    assert any("c_roi.nii.gz and d_dseg.nii.gz are left out, because the name" in text for text in caplog.messages)


BRATS = [
    f"{grade}/{case}/{case}_{end}.nii.gz"
    for grade, case in (("HGG", "Brats17_A"), ("LGG", "Brats17_B"))
    for end in ("t1", "t1ce", "t2", "flair", "seg")
]
B = "LGG/Brats17_B/Brats17_B"


def siss(case: int, sequence: str, suffix: str = ".nii") -> str:
    name = f"VSD.Brain.XX.O.{sequence}.{7000 + case}"
    return f"{case}/{name}/{name}{suffix}"


def msd(root: Path, *cases: str, volumes: int = 4) -> Path:
    """Make 4D files whose voxels tell the volume, on an oblique grid with form codes 2 and 4."""
    affine = np.array([[1, 0.1, 0, -9], [-0.1, 1, 0, 7], [0, 0, 2, 3], [0, 0, 0, 1.0]])
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for case in cases:
        voxels = np.arange(volumes, dtype=np.int16) * 100 + np.arange(64, dtype=np.int16).reshape(4, 4, 4, 1)
        image = nib.nifti1.Nifti1Image(voxels, affine)
        image.set_qform(affine, 2)
        image.set_sform(affine, 4)
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, root / "imagesTr" / f"{case}.nii.gz")
    return plant(root, "imagesTr/._BRATS_001.nii.gz", *(f"labelsTr/{case}.nii.gz" for case in cases))


TREES: dict[str, tuple[list[str], dict[str, dict[str, str]]]] = {
    "folder": (
        ["a/T2.nii.gz", "a/T2_mask.nii.gz", "a/T2_lesion.nii", "b/T2.nii.gz", "c.nii", "c_brain_mask.nii", "notes.txt"],
        {
            "a/T2.nii.gz": {"mask": "a/T2_mask.nii.gz", "label": "a/T2_lesion.nii"},
            "b/T2.nii.gz": {},
            "c.nii": {"mask": "c_brain_mask.nii"},
        },
    ),
    "bids": (
        [
            "sub-01/anat/sub-01_T2w.nii.gz",
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/dwi/sub-01_dwi.nii.gz",
            "sub-02/ses-1/anat/sub-02_ses-1_acq-tse_T2w.nii.gz",
            "sub-02/ses-2/anat/sub-02_ses-2_T2w.nii.gz",
            "derivatives/brains/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
            "derivatives/brains/sub-01/anat/sub-01_desc-preproc_T2w.nii.gz",
            "derivatives/brains/sub-02/ses-1/anat/sub-02_ses-1_acq-tse_desc-brain_mask.nii.gz",
            "derivatives/brains/sub-02/ses-2/anat/sub-02_ses-2_desc-brain_mask.nii.gz",
            "derivatives/lesions/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
            "derivatives/lesions/sub-02/ses-1/anat/sub-02_ses-1_desc-lesion_mask.nii.gz",
            "derivatives/lesions/sub-02/ses-2/dwi/sub-02_ses-2_space-T2w_desc-lesionAcute_mask.nii.gz",
            ".git/annex/objects/sub-03/anat/sub-03_T2w.nii.gz",
        ],
        {
            "sub-01/anat/sub-01_T2w.nii.gz": {
                "mask": "derivatives/brains/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
                "label": "derivatives/lesions/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
            },
            "sub-02/ses-1/anat/sub-02_ses-1_acq-tse_T2w.nii.gz": {
                "mask": "derivatives/brains/sub-02/ses-1/anat/sub-02_ses-1_acq-tse_desc-brain_mask.nii.gz",
                "label": "derivatives/lesions/sub-02/ses-1/anat/sub-02_ses-1_desc-lesion_mask.nii.gz",
            },
            "sub-02/ses-2/anat/sub-02_ses-2_T2w.nii.gz": {
                "mask": "derivatives/brains/sub-02/ses-2/anat/sub-02_ses-2_desc-brain_mask.nii.gz",
                "label": "derivatives/lesions/sub-02/ses-2/dwi/sub-02_ses-2_space-T2w_desc-lesionAcute_mask.nii.gz",
            },
        },
    ),
    "brats2017": (
        BRATS,
        {
            "HGG/Brats17_A/Brats17_A_t2.nii.gz": {"label": "HGG/Brats17_A/Brats17_A_seg.nii.gz"},
            "LGG/Brats17_B/Brats17_B_t2.nii.gz": {"label": "LGG/Brats17_B/Brats17_B_seg.nii.gz"},
        },
    ),
    "isles2015": (
        [siss(case, s) for case in (1, 2) for s in ("MR_T2", "MR_T1", "MR_Flair", "MR_DWI", "OT")]
        + [siss(3, "MR_T2", ".nii.gz"), siss(3, "OT", ".nii.gz")],
        {
            siss(1, "MR_T2"): {"label": siss(1, "OT")},
            siss(2, "MR_T2"): {"label": siss(2, "OT")},
            siss(3, "MR_T2", ".nii.gz"): {"label": siss(3, "OT", ".nii.gz")},
        },
    ),
    "hcp": (
        [
            f"{subject}/T1w/{name}.nii.gz"
            for subject in (100206, 100307)
            for name in (
                "T2w_acpc_dc_restore_brain",
                "T1w_acpc_dc_restore_brain",
                "T2w_acpc_dc_restore",
                "brainmask_fs",
            )
        ],
        {
            f"{subject}/T1w/T2w_acpc_dc_restore_brain.nii.gz": {"mask": f"{subject}/T1w/brainmask_fs.nii.gz"}
            for subject in (100206, 100307)
        },
    ),
    "ixi": (
        [
            "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
            "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
            "IXI-T2/IXI012-HH-1211-T2.nii.gz",
            "IXI-T2/IXI012-HH-1211-T2_brain.nii.gz",
            "IXI-T2/IXI013-HH-1212-T2.nii.gz",
            "brains/IXI002-Guys-0828-T2_bet.nii.gz",
            "masks/IXI013-HH-1212-T2.nii.gz",
        ],
        {
            "IXI-T2/IXI002-Guys-0828-T2.nii.gz": {"mask": "brains/IXI002-Guys-0828-T2_bet.nii.gz"},
            "IXI-T2/IXI012-HH-1211-T2.nii.gz": {"mask": "IXI-T2/IXI012-HH-1211-T2_brain.nii.gz"},
            "IXI-T2/IXI013-HH-1212-T2.nii.gz": {"mask": "masks/IXI013-HH-1212-T2.nii.gz"},
        },
    ),
}


@pytest.mark.parametrize("layout", TREES)
def test_each_layout_is_found(layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, scans = TREES[layout]
    plant(tmp_path / "cohort", *files)
    output = tmp_path / "lists" / "datalist.json"
    splits = index_cohort(tmp_path / "cohort", layout, output)
    start = "../cohort/"
    expected = [
        {"image": start + image, **{role: start + file for role, file in others.items()}}
        for image, others in scans.items()
    ]
    assert splits == json.loads(output.read_text()) == {"test": expected}
    assert len(read_datalist(output)["test"]) == len(scans)
    assert caplog.messages == (["b/T2 has no mask: no b/T2_mask.nii[.gz]"] if layout == "folder" else [])


def test_every_layout_is_tested() -> None:
    assert {*TREES, "msd"} == set(LAYOUTS)


@pytest.mark.parametrize("folder", [".", "HGG/.."])
def test_a_cohort_is_found_however_its_directory_and_the_output_are_given(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plant(tmp_path, *BRATS))
    index_cohort(Path(folder), "brats2017", Path("d.json"))
    assert json.loads(Path("d.json").read_text())["test"][0]["image"] == "HGG/Brats17_A/Brats17_A_t2.nii.gz"


def test_paths_hold_where_the_output_lies_behind_a_link(tmp_path: Path) -> None:
    plant(tmp_path / "cohort", *BRATS)
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    try:
        (tmp_path / "link").symlink_to(tmp_path / "deep" / "deeper", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    index_cohort(tmp_path / "cohort", "brats2017", tmp_path / "link" / "d.json")
    assert len(read_datalist(tmp_path / "link" / "d.json")["test"]) == 2


def test_paths_to_another_drive_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def relpath(path: Path, start: Path) -> str:
        raise ValueError("path is on another drive")

    plant(tmp_path, *BRATS)
    monkeypatch.setattr("pipeline.cohorts.indexing.os.path.relpath", relpath)
    entry = index_cohort(tmp_path, "brats2017", tmp_path / "d.json")["test"][1]
    assert entry["image"] == (tmp_path.resolve() / f"{B}_t2.nii.gz").as_posix()


def test_lesions_of_diffusion_images_go_with_an_own_pattern(tmp_path: Path) -> None:
    scan = "sub-7/dwi/sub-7_rec-TRACE_dwi.nii.gz"
    label = "derivatives/lesion_masks/sub-7/dwi/sub-7_space-TRACE_desc-lesionAcute_mask.nii.gz"
    plant(tmp_path, scan, label, "sub-7/anat/sub-7_FLAIR.nii.gz", "sub-70/dwi/sub-70_rec-ADC_dwi.nii.gz")
    splits = index_cohort(tmp_path, "bids", tmp_path / "d.json", image=["sub-*/**/{case}_rec-TRACE_dwi.nii.gz"])
    assert splits == {"test": [{"image": scan, "label": label}]}


def test_several_modalities_are_channels_in_their_order(tmp_path: Path) -> None:
    plant(tmp_path, *BRATS)
    splits = index_cohort(tmp_path, "brats2017", tmp_path / "d.json", ["FLAIR", "T1"])
    case = "LGG/Brats17_B/Brats17_B"
    assert splits["test"][1]["image"] == [f"{case}_flair.nii.gz", f"{case}_t1.nii.gz"]


def test_t2_and_t2w_are_the_same_modality(tmp_path: Path) -> None:
    plant(tmp_path, *TREES["hcp"][0])
    both = [index_cohort(tmp_path, "hcp", tmp_path / f"{name}.json", [name])["test"] for name in ("t1", "T1W")]
    assert both[0] == both[1]
    assert both[0][0]["image"] == "100206/T1w/T1w_acpc_dc_restore_brain.nii.gz"


def test_what_a_case_lacks_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *BRATS, *(f"HGG/Brats17_C/Brats17_C_{end}.nii.gz" for end in ("t1", "t2")))
    (tmp_path / "LGG/Brats17_B/Brats17_B_flair.nii.gz").unlink()
    (tmp_path / "HGG/Brats17_A/Brats17_A_seg.nii.gz").unlink()
    splits = index_cohort(tmp_path, "brats2017", tmp_path / "d.json", ["t2", "flair"])
    images = [f"HGG/Brats17_A/Brats17_A_{end}.nii.gz" for end in ("t2", "flair")]
    assert splits == {"test": [{"image": images}]}
    assert caplog.messages == [
        "Brats17_B is left out: no **/Brats17_B/Brats17_B_flair.nii[.gz]",
        "Brats17_C is left out: no **/Brats17_C/Brats17_C_flair.nii[.gz]",
        "Brats17_A has no label: no **/Brats17_A/Brats17_A_seg.nii[.gz]",
    ]


def test_a_case_without_the_only_channel_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *BRATS)
    (tmp_path / "LGG/Brats17_B/Brats17_B_t2.nii.gz").unlink()
    assert len(index_cohort(tmp_path, "brats2017", tmp_path / "d.json")["test"]) == 1
    assert caplog.messages == ["Brats17_B is left out: no **/Brats17_B/Brats17_B_t2.nii[.gz]"]


def test_a_mask_that_others_have_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *TREES["hcp"][0])
    (tmp_path / "100307/T1w/brainmask_fs.nii.gz").unlink()
    splits = index_cohort(tmp_path, "hcp", tmp_path / "d.json", healthy=True)
    assert ["mask" in entry for entry in splits["training"]] == [True, False]
    assert caplog.messages == ["100307 has no mask: no **/100307/T1w/brainmask_fs.nii[.gz]"]


def test_of_several_scans_of_a_case_the_plainest_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *(f"sub-1/anat/sub-1_{name}T2w.nii.gz" for name in ("acq-a_", "", "run-2_")))
    splits = index_cohort(tmp_path, "bids", tmp_path / "d.json")
    assert splits == {"test": [{"image": "sub-1/anat/sub-1_T2w.nii.gz"}]}
    assert caplog.messages == [
        "sub-1: several scans fit; sub-1/anat/sub-1_T2w is used, not sub-1/anat/sub-1_acq-a_T2w, "
        "sub-1/anat/sub-1_run-2_T2w"
    ]


def test_without_t2w_bids_takes_flair(tmp_path: Path) -> None:
    plant(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz")
    splits = index_cohort(tmp_path, "bids", tmp_path / "d.json")
    assert splits == {"test": [{"image": "sub-1/anat/sub-1_FLAIR.nii.gz"}]}


def test_folder_finds_masks_and_labels_in_folders_of_their_own(tmp_path: Path) -> None:
    plant(tmp_path, "images/IXI1-HH_T1.nii.gz", "masks/IXI1-HH_brain.nii.gz", "images/p7_T1.nii.gz")
    plant(tmp_path, "images/p7_T2.nii.gz", "labels/p7_lesion.nii.gz", "images/8.nii.gz", "labels/8.nii.gz")
    label = {"label": "labels/p7_lesion.nii.gz"}
    assert index_cohort(tmp_path, "folder", tmp_path / "d.json") == {
        "test": [
            {"image": "images/8.nii.gz", "label": "labels/8.nii.gz"},
            {"image": "images/IXI1-HH_T1.nii.gz", "mask": "masks/IXI1-HH_brain.nii.gz"},
            {"image": "images/p7_T1.nii.gz", **label},
            {"image": "images/p7_T2.nii.gz", **label},
        ]
    }
    only = index_cohort(tmp_path, "folder", tmp_path / "t2.json", ["t2"])
    assert only == {"test": [{"image": "images/p7_T2.nii.gz", **label}]}
    both = index_cohort(tmp_path, "folder", tmp_path / "both.json", ["T2", "T1"])
    assert both == {"test": [{"image": ["images/p7_T2.nii.gz", "images/p7_T1.nii.gz"], **label}]}


def test_healthy_scans_are_training_without_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(tmp_path, *BRATS)
    (tmp_path / "HGG/Brats17_A/Brats17_A_seg.nii.gz").unlink()
    splits = index_cohort(tmp_path, "brats2017", tmp_path / "d.json", healthy=True)
    assert splits == {"training": [{"image": f"{case}_t2.nii.gz"} for case in ("HGG/Brats17_A/Brats17_A", B)]}
    assert not caplog.messages


def test_other_splits_of_the_datalist_are_kept(tmp_path: Path) -> None:
    plant(tmp_path / "hcp", *TREES["hcp"][0])
    plant(tmp_path / "brats", *BRATS)
    output = tmp_path / "d.json"
    output.write_text(json.dumps({"name": "ours", "test": [{"image": "old.nii.gz"}]}))
    index_cohort(tmp_path / "hcp", "hcp", output, healthy=True)
    splits = index_cohort(tmp_path / "brats", "brats2017", output, split="test")
    assert [(name, len(entries)) for name, entries in splits.items()] == [("test", 2), ("training", 2)]
    assert json.loads(output.read_text()) == {"name": "ours", **splits}
    assert [(name, len(entries)) for name, entries in read_datalist(output).items()] == [("test", 2), ("training", 2)]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["d.json"]


def test_own_patterns_replace_those_of_the_layout(tmp_path: Path) -> None:
    plant(tmp_path, "P1/mr/P1_T2.nii.gz", "P1/mr/P1_T1.nii", "P1/roi/x_les.nii.gz", "bm/P1.nii.gz", "P2/mr/P1_T2.nii")
    splits = index_cohort(
        tmp_path,
        "folder",
        tmp_path / "d.json",
        image=["{case}/mr/{case}_T2.nii.gz", "{case}/**/*_T1.nii.gz"],
        label="{case}/roi/*les*",
        mask="bm/{case}.nii.gz",
    )
    scan = {"image": ["P1/mr/P1_T2.nii.gz", "P1/mr/P1_T1.nii"]}
    assert splits == {"test": [{**scan, "mask": "bm/P1.nii.gz", "label": "P1/roi/x_les.nii.gz"}]}


def test_an_own_pattern_for_one_role_leaves_the_others(tmp_path: Path) -> None:
    plant(tmp_path, *BRATS, "brains/Brats17_A.nii.gz", "brains/Brats17_B.nii.gz")
    splits = index_cohort(tmp_path, "brats2017", tmp_path / "d.json", mask="brains/{case}.nii.gz")
    others = {"mask": "brains/Brats17_B.nii.gz", "label": f"{B}_seg.nii.gz"}
    assert splits["test"][1] == {"image": f"{B}_t2.nii.gz", **others}


def test_volumes_of_msd_become_files_on_the_same_grid(tmp_path: Path) -> None:
    root = msd(tmp_path / "Task01_BrainTumour", "BRATS_001", "BRATS_002")
    output = tmp_path / "lists" / "d.json"
    splits = index_cohort(root, "msd", output)
    label = "../Task01_BrainTumour/labelsTr/BRATS_00{}.nii.gz"
    assert splits == {
        "test": [{"image": f"volumes/BRATS_00{i}_flair.nii.gz", "label": label.format(i)} for i in (1, 2)]
    }
    channels = index_cohort(root, "msd", output, ["t2", "FLAIR", "T1GD"])["test"][0]["image"]
    assert channels == [f"volumes/BRATS_001_{name}.nii.gz" for name in ("t2", "flair", "t1gd")]
    source = nib.load(root / "imagesTr" / "BRATS_001.nii.gz")
    for number, channel in zip((3, 0, 2), channels, strict=True):
        image = nib.load(output.parent / channel)
        np.testing.assert_array_equal(image.dataobj, np.asarray(source.dataobj)[..., number])
        assert image.get_data_dtype() == np.int16
        for form in ("get_qform", "get_sform"):
            (affine, code), (same, again) = (getattr(x, form)(coded=True) for x in (source, image))
            np.testing.assert_allclose(affine, same)
            assert code == again
        assert image.header.get_xyzt_units() == ("mm", "sec")
        np.testing.assert_allclose(image.header.get_zooms(), source.header.get_zooms()[:3])
    assert not list(tmp_path.rglob(".BRATS*"))


def test_volumes_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    root = msd(tmp_path / "task", "BRATS_001")
    volume = tmp_path / "volumes" / "BRATS_001_flair.nii.gz"
    index_cohort(root, "msd", tmp_path / "d.json")
    made = volume.stat().st_mtime_ns
    index_cohort(root, "msd", tmp_path / "d.json")
    assert volume.stat().st_mtime_ns == made


def test_files_of_msd_without_the_volume_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = msd(tmp_path / "task", "BRATS_001", "BRATS_002")
    shutil.copy(msd(tmp_path / "few", "x", volumes=2) / "imagesTr" / "x.nii.gz", root / "imagesTr" / "BRATS_003.nii.gz")
    (root / "imagesTr" / "BRATS_002.nii.gz").write_bytes(b"torn")
    splits = index_cohort(root, "msd", tmp_path / "d.json", ["T2"], healthy=True)
    assert splits == {"training": [{"image": "volumes/BRATS_001_t2.nii.gz"}]}
    assert caplog.messages[0].startswith("BRATS_002 is left out")
    assert "BRATS_003 is left out" in caplog.messages[1]
    assert "without a volume 4" in caplog.messages[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "brats"}, r"unknown layout `brats`; the nearest known one is `brats2017`"),
        ({"modalities": ["pd"]}, r"unknown modality `pd` of brats2017; it has t2, flair, t1, t1ce"),
        ({"layout": "hcp"}, r"no case of layout `hcp`.*\{case\}/T1w/T2w_acpc_dc_restore_brain.nii\[.gz\]"),
        ({"directory": "gone"}, "gone: there is no such folder"),
        ({"image": ["*_T2.nii.gz"]}, r"needs \{case\}"),
        ({"image": ["{case}_T2.nii.gz"]}, r"looked for \{case\}_T2.nii"),
        ({"image": ["{case}_t2.nii.gz"], "modalities": ["t2"]}, "does not go with --modality"),
        (
            {"label": "{case}_sgm.nii.gz"},
            r"--label \{case\}_sgm.nii.gz: no file fits this pattern for any of the 2 cases",
        ),
        ({"mask": "{case}_brain.nii.gz"}, "--mask .* no file fits this pattern"),
        ({"label": "{case}_seg.nii.gz", "healthy": True}, "--label does not go with --healthy"),
        ({"output": "HGG"}, "HGG: this file exists and is not a datalist"),
        ({"output": "notes.txt"}, "notes.txt: this file exists and is not a datalist"),
        ({"output": "notes.txt/d.json"}, "cannot be written"),
    ],
)
def test_wrong_usage_is_explained(
    arguments: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plant(tmp_path, *BRATS))
    Path("notes.txt").write_text("notes")
    defaults: dict[str, object] = {"directory": ".", "layout": "brats2017", "output": "d.json"}
    with pytest.raises(UsageError, match=message):
        index_cohort(**(defaults | arguments))  # type: ignore[arg-type]
    assert not Path("d.json").exists()


@pytest.mark.parametrize(
    ("cohort", "healthy", "modality"), [("ixi_t1", True, ()), ("ms_mni", False, ["FLAIR"]), ("soop_flair", False, ())]
)
def test_folder_indexes_the_real_cohorts(
    cohort: str, healthy: bool, modality: list[str], tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    datalist = real_data(cohort)
    listed = read_datalist(datalist)
    output = tmp_path / "d.json"
    index_cohort(datalist.parent, "folder", output, modality, healthy)
    entries = read_datalist(output)["training" if healthy else "test"]
    by_name = {Path(entry.images[0]).name: entry for entry in entries}
    splits = [name for name in listed if not modality or name == "test_flair"]
    expected = [entry for name in splits for entry in listed[name]]
    assert len(expected) == len(entries)
    for entry in expected:
        own = by_name[Path(entry.images[0]).name]
        for role in ("mask", "label"):
            if getattr(entry, role) is not None:
                assert Path(getattr(own, role)).name == Path(getattr(entry, role)).name
