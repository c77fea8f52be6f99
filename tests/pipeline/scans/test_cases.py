"""Scans as people give them: what is found, what is passed over, and what is named as a problem."""

import json
import os
from pathlib import Path

import pytest
from dicom_series import write_series
from helpers import ball, save_scan

from pipeline.errors import UsageError
from pipeline.scans.cases import find_cases


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names(*inputs: Path, **options: Path) -> list[str]:
    return [case.name for case in find_cases(inputs, **options)]


def problems(*inputs: Path) -> dict[str, str]:
    return {case.name: case.problem for case in find_cases(inputs)}


def test_folders_are_searched_recursively_in_either_case(tmp_path: Path) -> None:
    touch(tmp_path / "Müller scan.nii.gz", tmp_path / "x" / "y" / "b.NII", tmp_path / "notes.txt", tmp_path / "c.gz")
    assert names(tmp_path) == ["Müller scan", "b"]


def test_scans_of_one_name_get_their_parent_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x" / "t1.nii.gz", tmp_path / "b" / "x" / "t1.nii.gz", tmp_path / "flair.nii.gz")
    assert set(names(tmp_path)) == {"a_x_t1", "b_x_t1", "flair"}


def test_shares_are_disjoint_and_complete_and_keep_the_names(tmp_path: Path) -> None:
    for folder in "abcde":
        (tmp_path / folder).mkdir()
        save_scan(tmp_path / folder / "T1.nii.gz", ball())
    everything = find_cases([tmp_path])
    shares = [find_cases([tmp_path], share=(number, 3)) for number in (1, 2, 3)]
    assert sorted(case.name for share in shares for case in share) == [f"{folder}_T1" for folder in "abcde"]
    assert {case for share in shares for case in share} == set(everything)
    assert [share.share for share in (everything, *shares)] == ["", "1/3", "2/3", "3/3"]
    assert len(find_cases([tmp_path], share=(6, 6))) == 0


def test_a_scan_given_twice_is_one_case_and_two_scans_of_a_name_are_two(tmp_path: Path) -> None:
    touch(tmp_path / "s.nii", tmp_path / "s.nii.gz")
    assert len(names(tmp_path / "s.nii", tmp_path / "s.nii")) == 1
    assert len(set(names(tmp_path, tmp_path / "s.nii"))) == 2


def test_relative_paths_and_links_keep_the_names_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "store" / "MD5-1234.nii.gz", tmp_path / "work" / "notes.txt")
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "store" / "MD5-1234.nii.gz")
    monkeypatch.chdir(tmp_path / "work")
    (case,) = find_cases(["../scan.nii.gz"])
    assert (case.name, case.described) == ("scan", str(tmp_path / "scan.nii.gz"))


def test_hidden_files_and_what_prediction_writes_are_passed_over(tmp_path: Path) -> None:
    touch(
        tmp_path / "a.nii.gz",
        tmp_path / "._a.nii.gz",
        tmp_path / ".cache" / "b.nii.gz",
        tmp_path / ".c.partial" / "c_rec.nii.gz",
        tmp_path / "earlier" / "case.json",
        tmp_path / "earlier" / "earlier_rec.nii.gz",
        tmp_path / "out" / "half" / "half_rec.nii.gz",
    )
    assert names(tmp_path, output=tmp_path / "out") == ["a"]


def test_an_input_inside_the_output_folder_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "a.nii.gz")
    assert names(tmp_path / "one", output=tmp_path) == ["a"]


def test_the_output_folder_is_no_input_folder(tmp_path: Path) -> None:
    touch(tmp_path / "d" / "a.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    for output in (tmp_path / "d", tmp_path / "d" / ".." / "d", tmp_path / "link"):
        with pytest.raises(UsageError, match="output folder is the input folder"):
            find_cases([tmp_path / "d"], output=output)


def test_linked_folders_are_searched_once_even_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "a.nii.gz", tmp_path / "study" / "b.nii.gz")
    (tmp_path / "study" / "p1").symlink_to(tmp_path / "store")
    (tmp_path / "study" / "again").symlink_to(tmp_path / "study")
    assert set(names(tmp_path / "study")) == {"a", "b"}


def test_dangling_links_folders_and_pipes_are_named_as_problems(tmp_path: Path) -> None:
    touch(tmp_path / "good.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    os.mkfifo(tmp_path / "pipe.nii")
    found = problems(tmp_path)
    assert found["good"] == ""
    assert "dangling link" in found["link"]
    assert "a folder, not a file" in found["folder"]
    assert "pipe" in found["pipe"]


def test_an_unpacked_folder_that_is_named_as_a_scan_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / "scan.nii.gz" / "scan.nii")
    assert problems(tmp_path) == problems(tmp_path / "scan.nii.gz") == {"scan": ""}


def test_of_a_bids_dataset_the_anatomical_images_are_taken(tmp_path: Path) -> None:
    touch(
        tmp_path / "dataset_description.json",
        tmp_path / "sub-1" / "ses-a" / "anat" / "sub-1_ses-a_T1w.nii.gz",
        tmp_path / "sub-1" / "ses-a" / "anat" / "sub-1_ses-a_label-lesion_mask.nii.gz",
        tmp_path / "sub-1" / "ses-a" / "func" / "sub-1_ses-a_task-rest_bold.nii.gz",
        tmp_path / "sub-1" / "ses-a" / "dwi" / "sub-1_ses-a_dwi.nii.gz",
        tmp_path / "sub-1" / "ses-a" / "fmap" / "sub-1_ses-a_magnitude1.nii.gz",
        tmp_path / "sub-2" / "anat" / "sub-2_acq-3d_FLAIR.nii",
        tmp_path / "derivatives" / "x" / "sub-1" / "anat" / "sub-1_T1w.nii.gz",
        tmp_path / "sourcedata" / "sub-1" / "anat" / "sub-1_T2w.nii.gz",
    )
    assert names(tmp_path) == ["sub-1_ses-a_T1w", "sub-2_acq-3d_FLAIR"]
    assert names(tmp_path / "sub-1") == names(tmp_path / "sub-1" / "ses-a") == ["sub-1_ses-a_T1w"]
    assert names(tmp_path / "derivatives" / "x") == ["sub-1_T1w"]


def test_dicom_series_are_cases_and_one_of_their_files_means_the_series(tmp_path: Path) -> None:
    files = write_series(tmp_path / "export" / "Mustermann", ball((20, 20, 12), 8), number=3)
    write_series(tmp_path / "export" / "Mustermann", ball((20, 20, 12), 8), number=4, start="B")
    write_series(tmp_path / "export" / "out", ball((20, 20, 12), 8), number=5)
    touch(tmp_path / "export" / "a.nii.gz")
    cases = find_cases([tmp_path / "export"], output=tmp_path / "export" / "out")
    assert [case.series is None for case in cases] == [True, False, False]
    assert len({case.name for case in cases}) == 3
    assert not any("ustermann" in case.name for case in cases)
    (case,) = find_cases([files[2]])
    assert case.series is not None
    assert files[2] in case.series.files
    assert case.name in {case.name for case in cases}
    assert case.described == case.series.described


def test_a_datalist_gives_all_its_splits_and_a_missing_file_is_its_cases_problem(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "c.nii.gz")
    (tmp_path / "d.json").write_text(
        json.dumps({"one": [{"image": ["a.nii.gz", "b.nii.gz"]}], "two": [{"image": "c.nii.gz"}]})
    )
    first, second = find_cases([tmp_path / "d.json"])
    assert (first.name, second.name, second.problem) == ("a", "c", "")
    assert first.entry.images == (str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"))
    assert first.problem.startswith("b.nii.gz: the file is not there")


def test_a_scans_sidecar_is_no_datalist(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text('{"ImageType": ["ORIGINAL", "PRIMARY"]}')
    assert names(tmp_path / "a.json", tmp_path / "a.nii.gz") == ["a"]


def test_nothing_found_is_wrong_usage_and_one_missing_among_others_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no scan found"):
        find_cases([tmp_path / "empty"])
    with pytest.raises(UsageError, match="no such file"):
        find_cases([tmp_path / "gone.nii.gz", tmp_path / "lost"])
    touch(tmp_path / "a.nii.gz")
    found = problems(tmp_path / "a.nii.gz", tmp_path / "gone.nii.gz", tmp_path / "empty")
    assert found["a"] == ""
    assert "not there" in found["gone"]
    assert "no scan found in it" in found["empty"]


def test_a_closed_folder_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "closed" / "b.nii.gz")
    scandir, access = os.scandir, os.access

    def denied(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and access(path, mode))
    assert "permission denied" in problems(tmp_path)["closed"]


def test_files_that_are_not_read_are_named_and_other_formats_are_cases(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(*(tmp_path / name for name in ("a.nii.gz", "b.mgz", "c.MGH", "d.nrrd", "x/e.mha", "f.img", "f.hdr", "i.txt")))
    touch(*(tmp_path / "many" / f"{n}.mnc" for n in range(12)))
    (tmp_path / "1.2.840.5").symlink_to(tmp_path / "gone")
    cases = find_cases([tmp_path])
    assert sorted(case.name for case in cases) == ["a", "b", "c", "d", "e"]
    text = "\n".join(cases.skipped)
    assert list(cases.skipped) == caplog.messages
    assert len(cases.skipped) == 3
    assert "f.hdr and f.img are not read" in text
    assert "12 .mnc files such as many/0.mnc are not read" in text
    assert "1.2.840.5 is not read: a dangling link" in text
    touch(tmp_path / "only" / "f.nii.xz")
    with pytest.raises(UsageError, match=r"no scan found.*f\.nii\.xz is not read.*compress it to \.nii\.gz"):
        find_cases([tmp_path / "only"])


def test_unread_anatomical_images_of_a_bids_dataset_are_named(tmp_path: Path) -> None:
    anat = tmp_path / "sub-1" / "anat"
    touch(tmp_path / "dataset_description.json", anat / "sub-1_T1w.mgz", anat / "sub-1_FLAIR.nii.bz2")
    touch(anat / "sub-1_T1w.json", tmp_path / "sub-1" / "func" / "sub-1_bold.img")
    cases = find_cases([tmp_path])
    assert [case.name for case in cases] == ["sub-1_T1w"]
    (line,) = cases.skipped
    assert "sub-1_FLAIR.nii.bz2 is not read" in line


LABELS = (
    "a-seg", "a_seg", "a-label", "a_label", "a_lesion", "a_mask", "A_MASK", "a.seg", "a_T1_brain_mask", "a_dseg", "seg",
    "mask", "a_labels", "a_segmentation", "a_brainmask",
)  # fmt: skip
"""Names of masks and labels."""


@pytest.mark.parametrize("stem", LABELS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_masks_and_labels_beside_scans_are_no_scans(stem: str, suffix: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "p" / f"{stem}{suffix}")
    cases = find_cases([tmp_path])
    assert [case.name for case in cases] == ["a"]
    (line,) = cases.skipped
    assert f"p/{stem}{suffix} is passed over" in line
    assert "mask or label" in line
    assert len(find_cases([tmp_path / "p" / f"{stem}{suffix}"])) == 1  # it was asked for
    assert len(find_cases([tmp_path / "p"])) == 1  # its name tells nothing where all are named so


@pytest.mark.parametrize(
    "stem", ["masked_1", "a_segmented", "a_relabelled", "gtx", "lesion_01", "a_bet", "brain", "a_lesion_T1"]
)
def test_other_names_stay_scans(stem: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / f"{stem}.nii.gz")
    assert sorted(names(tmp_path)) == sorted(["a", stem])


def test_of_a_freesurfer_subject_the_scans_are_taken(tmp_path: Path) -> None:
    scans = ("T1", "brain", "norm", "nu", "orig", "brainmask")
    others = ("aseg", "aparc+aseg", "aparc.DKTatlas+aseg", "wmparc", "lh.ribbon", "ribbon", "filled", "wm", "aseg.auto")
    touch(*(tmp_path / "mri" / f"{name}.mgz" for name in (*scans, *others)))
    cases = find_cases([tmp_path])
    assert {case.name for case in cases} == set(scans)
    assert "9 .mgz files such as" in cases.skipped[0]


@pytest.mark.parametrize("name", ["2024", "7", "1.5", "-3"])
def test_a_number_of_the_bundles_command_line_is_a_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / name / "a.nii.gz", tmp_path / "2023" / "a_bet.nii.gz")
    monkeypatch.chdir(tmp_path)
    number = float(name) if "." in name else int(name)
    (case,) = find_cases([number], [2023], 99)  # type: ignore[list-item, arg-type]
    assert Path(str(case.entry.mask)).name == "a_bet.nii.gz"


def test_masks_of_patients_folders_pair_by_folder(tmp_path: Path) -> None:
    for patient in ("A", "B", "C"):
        touch(tmp_path / "s" / patient / "T1.nii.gz", tmp_path / "m" / patient / "T1_bet.nii.gz")
    (tmp_path / "m" / "C" / "T1_bet.nii.gz").unlink()
    cases = find_cases([tmp_path / "s"], [tmp_path / "m"])
    masks = {case.image.parent.name: case.entry.mask for case in cases}
    assert masks == {**{p: str(tmp_path / "m" / p / "T1_bet.nii.gz") for p in ("A", "B")}, "C": None}
    assert "no brain mask" in cases[2].problem


def test_masks_pair_by_position(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.nii", "b.nii", "ma.nii", "mb.nii")))
    scans = [tmp_path / "a.nii", tmp_path / "b.nii"]
    cases = find_cases(scans, [tmp_path / "ma.nii", tmp_path / "gone.nii"])
    assert [Path(str(case.entry.mask)).name for case in cases] == ["ma.nii", "gone.nii"]
    assert [case.problem[:30] for case in cases] == ["", "gone.nii: the file is not ther"]
    with pytest.raises(UsageError, match="1 masks for 2 scans"):
        find_cases(scans, [tmp_path / "ma.nii"])
    with pytest.raises(UsageError, match="no such mask"):
        find_cases(scans, [tmp_path / "gone"])


def test_a_scan_without_its_mask_is_a_problem_and_can_never_be_read_without_one(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "a.nii.gz", tmp_path / "scans" / "b.nii.gz", tmp_path / "masks" / "b_bet.nii.gz")
    first, second = find_cases([tmp_path / "scans"], [tmp_path / "masks"])
    assert "no brain mask for a in the --mask folder" in first.problem
    assert first.problem
    assert (second.problem, Path(str(second.entry.mask)).name) == ("", "b_bet.nii.gz")


def test_a_folder_of_masks_that_fit_no_scan_is_wrong_usage(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "a.nii.gz", tmp_path / "masks" / "b.nii.gz")
    with pytest.raises(UsageError, match=r"no scan has a mask in this folder.* for a .*starts with a\)"):
        find_cases([tmp_path / "scans"], [tmp_path / "masks"])
    with pytest.raises(UsageError, match="folder of masks is the input folder"):
        find_cases([tmp_path / "scans"], [tmp_path / "scans"])


def test_masks_inside_the_scans_folder_are_no_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "w" / "a.nii.gz", tmp_path / "w" / "m" / "a_mask.nii.gz")
    assert names(tmp_path / "w", masks=[tmp_path / "w" / "m"]) == ["a"]  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    assert [case.name for case in find_cases(["w"], ["w/m"])] == ["a"]


def test_scans_below_the_folder_of_masks_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "a_mask.nii.gz", tmp_path / "scans" / "a.nii.gz")
    (case,) = find_cases([tmp_path / "scans"], [tmp_path])
    assert Path(str(case.entry.mask)).name == "a_mask.nii.gz"


def test_a_path_that_cannot_be_shown_is_described_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"M\xfcller\n<b>.nii")
    file.write_bytes(save_scan(tmp_path / "a.nii", ball()).read_bytes())
    (case,) = find_cases([file])
    case.described.encode()
    assert case.described.endswith("M?ller?<b>.nii")
    assert case.name == "M_ller__b_"
    assert case.image.exists()


@pytest.mark.parametrize("share", [(0, 2), (3, 2)])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: tuple[int, int]) -> None:
    save_scan(tmp_path / "a.nii.gz", ball())
    with pytest.raises(UsageError, match="there is no share"):
        find_cases([tmp_path], share=share)
