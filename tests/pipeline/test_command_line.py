"""The command line: statuses, messages, and no tracebacks for what people get wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SMALL, ball, save_scan, write_datalist

from pipeline import __version__
from pipeline.cohorts.datalist import Entry, read_datalist
from pipeline.command_line import main


def test_the_whole_way_by_commands(tmp_path: Path, cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["train", "--data", str(cohort), "--output", str(run), "--set", *SMALL, "--device", "cpu"]) == 0
    images = [str(cohort.parent / "images" / f"lesioned_{i:03d}.nii.gz") for i in range(3)]
    masks = str(cohort.parent / "masks")
    predict = ["predict", "--model", str(run), "--input", *images, "--mask", masks, "--output", str(out)]
    assert main([*predict, "--device", "cpu"]) == 0
    assert (out / "lesioned_002" / "lesioned_002_combined.nii.gz").is_file()
    evaluate = ["evaluate", "--model", str(run), "--data", str(cohort), "--output", str(tmp_path / "metrics")]
    assert main([*evaluate, "--device", "cpu"]) == 0
    assert "intensity (no model)" in capsys.readouterr().out


def test_a_failed_scan_gives_status_1(run: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "good.nii.gz", ball())
    (tmp_path / "bad.nii.gz").touch()
    assert main(["predict", "--model", str(run), "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "gone.json", "--output", "{}/run"], "gone.json: the datalist cannot be read"),
        (["train", "--data", "{cohort}", "--output", "{}/run", "--set", "epoch=3"], "nearest known one is `epochs`"),
        (["train", "--data", "{cohort}", "--output", "{}/run", "--device", "cuda:77"], "no such device"),
        (["predict", "--model", "{}", "--input", "{}", "--output", "{}/out"], "not a model"),
        (["phantom", "--output", "{}/p", "--healthy", "-1", "--lesioned", "0"], "negative"),
    ],
)
def test_wrong_usage_gives_status_2_and_one_line(
    arguments: list[str], message: str, tmp_path: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [a.replace("{cohort}", str(cohort)).replace("{}", str(tmp_path)) for a in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    for arguments in (["--devise", "cpu"], ["--dev", "cpu"]):
        with pytest.raises(SystemExit) as stop:
            main(["predict", "--model", "m", "--input", "i", "--output", "o", *arguments])
        assert stop.value.code == 2


@pytest.mark.parametrize("share", ["0/4", "5/4", "4", "1/0", "-1/4", "a/b", "1/2/3"])
def test_a_share_that_is_none_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--model", "m", "--input", "i", "--output", "o", f"--share={share}"])
    assert stop.value.code == 2
    assert "is no share; write 1/16" in capsys.readouterr().err


def test_a_rate_in_per_cent_is_told_how_to_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--model", "m", "--input", "i", "--output", "o", "--fpr", "0.3%"])
    assert stop.value.code == 2
    assert "write 0.003 for 0.3 %" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom pipeline.command_line import main\ntry:\n main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'monai', 'pandas', 'matplotlib', 'nibabel'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_an_existing_folder_is_not_used_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["demo", "--output", str(tmp_path)]) == 2


def test_training_that_left_scans_out_gives_status_1(cohort: Path, run: Path, tmp_path: Path) -> None:
    splits = read_datalist(cohort)
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    splits["training"].append(Entry((str(tmp_path / "bad.nii.gz"),)))
    write_datalist(tmp_path / "datalist.json", splits)
    command = ["train", "--data", str(tmp_path / "datalist.json"), "--output", str(tmp_path / "run"), "--set", *SMALL]
    assert main([*command, "--device", "cpu"]) == 1
    assert "bad.nii.gz" in (tmp_path / "run" / "left_out.json").read_text()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict", "utf-8", "cp437"])
def test_a_name_that_the_console_cannot_print_fails_no_command(encoding: str, cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "Łódź 影像 μ" / "d.json"
    command = [sys.executable, "-m", "pipeline", "index", str(cohort.parent), "--layout", "folder"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*command, "--output", str(output)], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"8 test" in done.stdout
    assert b"Traceback" not in done.stderr
    assert output.is_file()


def test_prediction_into_a_folder_that_the_console_cannot_print(run: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "Łukasz.nii.gz", ball())
    command = [sys.executable, "-m", "pipeline", "predict", "--model", str(run), "--device", "cpu"]
    paths = ["--input", str(tmp_path / "Łukasz.nii.gz"), "--output", str(tmp_path / "Łódź")]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([*command, *paths], env=environment, capture_output=True)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"1 of 1 scans done" in done.stdout
    assert (tmp_path / "Łódź" / "report.html").is_file()


def test_index_lists_a_folder(cohort: Path, tmp_path: Path) -> None:
    assert main(["index", str(cohort.parent), "--layout", "folder", "--output", str(tmp_path / "d.json")]) == 0
    assert len(read_datalist(tmp_path / "d.json")["test"]) == 8
