"""`--layout bids`: the folder of the outputs is a BIDS derivative dataset at any time; all else is as without it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helpers import ball, save_scan

from pipeline.command_line import main
from pipeline.errors import UsageError
from pipeline.model import Run, build
from pipeline.prediction import bids
from pipeline.prediction.evaluator import ScanEvaluator
from pipeline.prediction.predicting import predict
from pipeline.scans import find_cases

MAPS = ("combined", "rec", "kl", "recommended", "surprise")
VALIDATOR = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A BIDS dataset with two sequences of a subject, and sessions of another one."""
    folder = tmp_path / "my study"
    for i, name in enumerate(
        ("sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_FLAIR", "sub-02/ses-1/anat/sub-02_ses-1_T1w")
    ):
        file = folder / f"{name}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_scan(file, ball(seed=i))
    description = {"Name": "study", "BIDSVersion": "1.8.0", "DatasetDOI": "doi:10.18112/openneuro.ds0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


def scan(folder: Path, name: str, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    return save_scan(folder / f"{name}.nii.gz", ball(seed=seed))


def files_of(output: Path) -> list[str]:
    """Return the files of the subjects in the dataset; BIDS ignores hidden ones, such as what a killed process left."""
    files = [file for file in output.glob("sub-*/**/*") if file.is_file() and not file.name.startswith(".")]
    return sorted(file.relative_to(output).as_posix() for file in files)


def table(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", keep_default_na=False, quoting=3, dtype=str)


def check_whole(output: Path) -> None:
    """Check that the dataset has the maps of each case with a folder, beside their sidecars, and no others."""
    cases = table(output / "cases.tsv")
    expected = set()
    for row in cases[cases["folder"] != "n/a"].itertuples():
        sequence = "" if row.sequence == "n/a" else row.sequence
        start = f"{row.folder}/{row.start}"
        names = {name: f"{start}_desc-{name}{sequence}_statmap" for name in MAPS} | {
            "brain": f"{start}_label-brain_desc-cevae{sequence}_mask",
            "anomalies": f"{start}_label-lesion_desc-cevae{sequence}_mask",
            "clusters": f"{start}_desc-cevae{sequence}_dseg",
        }
        for name, stem in names.items():
            image = output / f"{stem}.nii.gz"
            assert image.samefile(output / "cases" / row.case / f"{row.case}_{name}.nii.gz")
            sidecar = json.loads((output / f"{stem}.json").read_text())
            assert sidecar["Sources"] == [row.source]
            expected |= {f"{stem}.nii.gz", f"{stem}.json"}
        expected.add(f"{names['clusters']}.tsv")
    assert set(files_of(output)) == expected
    summary = pd.read_csv(output / "summary.csv")
    assert set(summary["case"]) == set(cases["case"])


def errors_of_the_validator(dataset: Path) -> list[tuple[str, str]]:
    if VALIDATOR is None:
        pytest.skip("bids-validator-deno is not installed")
    said = subprocess.run([VALIDATOR, str(dataset), "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(said.stdout)["issues"]["issues"]
    return [(issue["code"], issue["location"]) for issue in issues if issue["severity"] == "error"]


def test_maps_have_their_bids_names_and_say_what_they_are(run: Path, study: Path) -> None:
    output = study / "derivatives" / "cevae"
    others = scan(study.parent / "others", "head #1").parent
    results = predict(run, [study, others], output, device="cpu", layout="bids")
    assert [result.status for result in results] == ["done"] * 4
    check_whole(output)
    cases = table(output / "cases.tsv").set_index("case")
    assert cases["participant_id"].to_dict() == {
        "sub-01_T1w": "sub-01", "sub-01_FLAIR": "sub-01", "sub-02_ses-1_T1w": "sub-02", "head #1": "sub-head1",
    }  # fmt: skip
    assert (output / "sub-02/ses-1/anat/sub-02_ses-1_label-lesion_desc-cevaeT1w_mask.nii.gz").exists()
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "brain-mri-cevae"
    assert "Looks for" in description["GeneratedBy"][0]["Description"]
    assert description["DatasetLinks"] == {"my-study": "../.."}
    assert description["SourceDatasets"] == [{"DOI": "doi:10.18112/openneuro.ds0"}]
    mask = json.loads((output / "sub-01/anat/sub-01_label-lesion_desc-cevaeT1w_mask.json").read_text())
    assert mask["Sources"] == ["bids:my-study:sub-01/anat/sub-01_T1w.nii.gz"]
    assert (mask["Type"], mask["SpatialReference"], mask["FalsePositiveRate"]) == ("Lesion", "orig", 0.003)
    threshold = json.loads((output / "run.json").read_text())["threshold"]
    assert mask["Threshold"] == pytest.approx(threshold, rel=1e-5)
    assert mask["Warnings"] == list(results[1].warnings)
    surprise = json.loads((output / "sub-01/anat/sub-01_desc-surpriseT1w_statmap.json").read_text())
    assert surprise["SkullStripped"] is True
    assert surprise["Units"]
    brain = json.loads((output / "sub-head1/anat/sub-head1_label-brain_desc-cevae_mask.json").read_text())
    assert (brain["Type"], brain["MaskOrigin"]) == ("Brain", "stripped")
    assert brain["Sources"] == ["bids::cases/head%20%231/head%20%231_image.nii.gz"]
    for file in (*output.glob("*.json"), *output.glob("*.tsv"), *output.glob("sub-*/**/*.json")):
        if file.name != "run.json":
            assert str(study.parent) not in file.read_text(), file


def test_each_table_describes_its_columns(run: Path, cohort: Path, tmp_path: Path) -> None:
    lesioned = cohort.parent / json.loads(cohort.read_text())["test"][0]["image"]
    shutil.copyfile(lesioned, tmp_path / "sub-01_T2w.nii.gz")
    output = tmp_path / "out"
    predict(run, [tmp_path / "sub-01_T2w.nii.gz"], output, device="cpu", layout="bids", fpr=0.05)
    clusters = output / "sub-01/anat/sub-01_desc-cevae_dseg.tsv"
    rows, words = table(clusters), json.loads(clusters.with_suffix(".json").read_text())
    assert rows.columns[:2].tolist() == ["index", "name"]
    assert set(rows.columns[2:]) <= words.keys()
    numbers = np.unique(np.asarray(nib.nifti1.Nifti1Image.from_filename(clusters.with_suffix(".nii.gz")).dataobj))
    assert rows["index"].astype(int).tolist() == numbers[numbers > 0].tolist()
    assert len(rows)
    ours = pd.read_csv(output / "cases/sub-01_T2w/sub-01_T2w_clusters.csv")
    assert rows["volume_ml"].astype(float).tolist() == ours["volume_ml"].tolist()
    assert set(table(output / "cases.tsv").columns) == json.loads((output / "cases.json").read_text()).keys()
    used = {re.search(r"_(desc-[^_]+)_", file)[1] for file in files_of(output)}  # type: ignore[index]
    assert set(table(output / "descriptions.tsv")["desc_id"]) == used


def test_the_validator_finds_no_error(run: Path, study: Path) -> None:
    for name in ("sub-03_ses-1_acq-x_ce-gd_rec-n_run-1_echo-2_part-mag_space-MNI152NLin6Asym_chunk-1_T1w", "sub-4_dwi"):
        scan(study.parent / "others", name)
    bad = study.parent / "others" / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    predict(run, [study, bad.parent], study.parent / "out", device="cpu", layout="bids", fpr=0.02)
    assert errors_of_the_validator(study.parent / "out") == []


def test_the_validator_sees_a_name_in_the_wrong_order(run: Path, tmp_path: Path) -> None:
    predict(run, [scan(tmp_path, "sub-1_T1w")], tmp_path / "out", device="cpu", layout="bids")
    for file in tmp_path.glob("out/sub-1/anat/*label-lesion*"):
        file.rename(file.with_name(file.name.replace("label-lesion_desc-cevae", "desc-cevae_label-lesion")))
    assert "FILENAME_MISMATCH" in {code for code, _ in errors_of_the_validator(tmp_path / "out")}


def test_report_and_pages_find_each_other(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    page = (output / "report.html").read_text()
    links = {link for link in re.findall(r'href="([^"#]+)"', page) if not link.startswith("http")}
    assert any(link.endswith("_viewer.html") for link in links)
    assert all((output / link).exists() for link in links)
    case = output / "cases" / "sub-01_T1w"
    page = (case / "sub-01_T1w_viewer.html").read_text()
    for link in re.findall(r'(?:href|src)="([^"#:]+)"', page):
        assert (case / link).exists(), link
    assert 'href="../report.html"' in (output / "cases" / "report.html").read_text()


def test_missing_files_of_done_cases_are_made_again_and_nothing_is_computed_anew(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    before = {file: file.stat().st_mtime_ns for file in output.glob("cases/*/case.json")}
    shutil.rmtree(output / "sub-02")
    for name in ("label-lesion_desc-cevaeT1w_mask.nii.gz", "desc-cevaeT1w_dseg.tsv", "desc-klFLAIR_statmap.json"):
        (output / "sub-01" / "anat" / f"sub-01_{name}").unlink()
    (output / "cases.tsv").unlink()
    predict(run, [study / "sub-02"], output, device="cpu", layout="bids")
    check_whole(output)
    assert before == {file: file.stat().st_mtime_ns for file in output.glob("cases/*/case.json")}


def test_a_second_sequence_comes_into_the_names_of_all(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study / "sub-02"], output, device="cpu", layout="bids")
    start = "sub-02/ses-1/anat/sub-02_ses-1_label-lesion_desc-cevae"
    assert (output / f"{start}_mask.nii.gz").exists()
    predict(run, [study / "sub-01"], output, device="cpu", layout="bids")
    check_whole(output)
    assert (output / f"{start}T1w_mask.nii.gz").exists()
    assert not (output / f"{start}_mask.nii.gz").exists()


def test_overwritten_cases_take_their_maps_along(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    mask = output / "sub-01/anat/sub-01_label-lesion_desc-cevaeT1w_mask"
    predict(run, [study / "sub-01"], output, device="cpu", layout="bids", fpr=0.05, overwrite=True)
    check_whole(output)
    assert json.loads(mask.with_suffix(".json").read_text())["FalsePositiveRate"] == 0.05
    other = output / "sub-02/ses-1/anat/sub-02_ses-1_label-lesion_desc-cevaeT1w_mask.json"
    assert json.loads(other.read_text())["FalsePositiveRate"] == 0.003


def test_a_scan_that_fails_keeps_the_files_of_its_results(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    before = files_of(output)
    results = predict(run, [study], output, device="cpu", layout="bids", fpr=0.05)
    assert all("holds results of other settings" in result.reason for result in results)
    assert files_of(output) == before
    (study / "sub-01/anat/sub-01_FLAIR.nii.gz").write_bytes(b"no scan")
    results = predict(run, [study], output, device="cpu", layout="bids", overwrite=True)
    assert [result.status for result in results] == ["failed", "done", "done"]
    check_whole(output)
    assert files_of(output) == before
    cases = table(output / "cases.tsv").set_index("case")
    assert cases["status"].to_dict() == {"sub-01_FLAIR": "failed", "sub-01_T1w": "done", "sub-02_ses-1_T1w": "done"}
    assert cases.loc["sub-01_FLAIR", "folder"] == "sub-01/anat"
    assert pd.read_csv(output / "summary.csv")["case"].is_unique


def test_a_case_whose_folder_is_gone_leaves_none_of_its_files_and_all_of_others(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    corrected = output / "sub-02/ses-1/anat/sub-02_ses-1_label-lesion_desc-rater_mask.nii.gz"
    corrected.write_bytes(b"of a person")
    shutil.rmtree(output / "cases" / "sub-02_ses-1_T1w")
    predict(run, [scan(study.parent / "others", "new")], output, device="cpu", layout="bids")
    assert [file for file in files_of(output) if "sub-02" in file] == [corrected.relative_to(output).as_posix()]
    assert any("FLAIR" in file for file in files_of(output))


def test_after_kill_the_same_command_goes_on(run: Path, tmp_path: Path) -> None:
    for i in range(8):
        scan(tmp_path / "scans", f"sub-{i}_T1w", i)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "pipeline", "predict", "--model", str(run), "--input", str(tmp_path / "scans")]
    command += ["--output", str(output), "--device", "cpu", "--layout", "bids"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(output.glob("sub-*/anat/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert 0 < len(list(output.glob("cases/*/case.json"))) < 8
    for image in output.glob("sub-*/anat/sub-*.nii.gz"):  # a map that is there is whole, and says what it is
        nib.nifti1.Nifti1Image.from_filename(image).get_fdata()
        assert json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert all(r.status == "done" for r in predict(run, [tmp_path / "scans"], output, device="cpu", layout="bids"))
    check_whole(output)


def test_results_without_the_layout_are_taken_over(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu")
    before = {file.parent.name: file.stat().st_mtime_ns for file in output.glob("*/case.json")}
    predict(run, [study], output, device="cpu", layout="bids")
    check_whole(output)
    assert before == {file.parent.name: file.stat().st_mtime_ns for file in output.glob("cases/*/case.json")}
    assert {file.name for file in output.iterdir() if file.is_dir()} == {"cases", "sub-01", "sub-02"}


def test_the_other_layout_and_foreign_datasets_are_left_alone(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    with pytest.raises(UsageError, match="holds results of --layout bids"):
        predict(run, [study], output, device="cpu")
    with pytest.raises(UsageError, match=r"not made by predict; give another --output, such as .*derivatives"):
        predict(run, [study / "sub-01"], study, device="cpu", layout="bids")
    assert json.loads((study / "dataset_description.json").read_text())["Name"] == "study"
    with pytest.raises(UsageError, match="layout `bid` is unknown; give case or bids"):
        predict(run, [study], study.parent / "new", device="cpu", layout="bid")


def test_what_a_person_added_to_the_dataset_stays(run: Path, study: Path) -> None:
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    file = output / "dataset_description.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"Name": "Trial 7", "Authors": ["A", "B"]}))
    for name in ("README.md", ".bidsignore"):
        with (output / name).open("a") as stream:
            stream.write("extra\n")
    predict(run, [study], output, device="cpu", layout="bids")
    description = json.loads(file.read_text())
    assert (description["Name"], description["Authors"]) == ("Trial 7", ["A", "B"])
    assert (output / "README.md").read_text().endswith("extra\n")
    assert (output / ".bidsignore").read_text().count("extra\n") == 1
    assert (output / ".bidsignore").read_text().count("/cases\n") == 1


def test_without_hard_links_the_maps_are_copies_and_the_user_knows(
    run: Path, study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(bids.os, "link", refused)
    output = study.parent / "out"
    predict(run, [study], output, device="cpu", layout="bids")
    image = output / "sub-01/anat/sub-01_desc-surpriseT1w_statmap.nii.gz"
    map_file = output / "cases/sub-01_T1w/sub-01_T1w_surprise.nii.gz"
    assert image.read_bytes() == map_file.read_bytes()
    assert not image.samefile(map_file)
    assert sum("no hard links" in record.message for record in caplog.records) == 1
    inode = image.stat().st_ino
    predict(run, [study], output, device="cpu", layout="bids")
    assert image.stat().st_ino == inode  # not copied again
    predict(run, [study / "sub-01"], output, device="cpu", layout="bids", fpr=0.05, overwrite=True)
    assert image.stat().st_mtime_ns == map_file.stat().st_mtime_ns


def test_without_calibration_there_are_no_lesion_mask_and_no_segmentation(run: Path, study: Path) -> None:
    plain = study.parent / "plain"
    shutil.copytree(run, plain, ignore=shutil.ignore_patterns("slice_bank", "checkpoints"))
    (plain / "models" / "calibration.json").unlink()
    predict(plain, [study], study.parent / "out", device="cpu", layout="bids")
    files = files_of(study.parent / "out")
    assert any("_label-brain_" in file for file in files)
    assert not any("lesion" in file or "dseg" in file or "surprise" in file for file in files)


def test_a_dataset_far_away_is_not_named(run: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the two had nothing but the root of the disk in common.
    monkeypatch.setattr("os.path.commonpath", lambda _: os.path.abspath(os.sep))
    predict(run, [study / "sub-02"], study.parent / "out", device="cpu", layout="bids")
    description = json.loads((study.parent / "out" / "dataset_description.json").read_text())
    assert "DatasetLinks" not in description
    source = table(study.parent / "out" / "cases.tsv")["source"][0]
    assert source == "bids::cases/sub-02_ses-1_T1w/sub-02_ses-1_T1w_image.nii.gz"
    assert (study.parent / "out" / source.removeprefix("bids::")).exists()


def test_the_command_and_the_configuration_know_the_layout(run: Path, study: Path) -> None:
    given = ["--model", str(run), "--input", str(study), "--device", "cpu", "--layout", "bids"]
    assert main(["predict", *given, "--output", str(study.parent / "a")]) == 0
    check_whole(study.parent / "a")
    parser = Run(run).load_inference("cpu", output_dir=str(study.parent / "b"), dataset_dir=str(study), layout="bids")
    evaluator: ScanEvaluator = build(parser, "evaluator")
    evaluator.run()
    check_whole(study.parent / "b")


def test_a_configuration_without_the_key_still_serves(run: Path, study: Path) -> None:
    former = study.parent / "former"
    shutil.copytree(run, former, ignore=shutil.ignore_patterns("slice_bank", "checkpoints"))
    file = former / "configs" / "inference.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.strip().startswith("layout:")]
    file.write_text("\n".join(lines))
    predict(former, [study], study.parent / "bids", device="cpu", layout="bids")
    check_whole(study.parent / "bids")
    predict(former, [study], study.parent / "case", device="cpu")
    assert (study.parent / "case" / "sub-01_T1w" / "case.json").exists()


def test_a_dataset_of_results_inside_a_folder_of_scans_is_no_scan(run: Path, tmp_path: Path) -> None:
    scan(tmp_path / "scans", "one")
    predict(run, [tmp_path / "scans"], tmp_path / "scans" / "out", device="cpu", layout="bids")
    assert [case.name for case in find_cases([tmp_path / "scans"])] == ["one"]
