"""The installation: one line tells how to install what is missing, and usage names the program as it was called."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import installation
from pipeline.command_line import main

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("missing", ["torch", "monai", "nibabel", "yaml"])
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(missing: str, tmp_path: Path) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nfrom pipeline.command_line import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, "predict", "--model", "m", "--input", "i", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the package {missing} is not installed; install it by: {sys.executable} -m")
    assert done.stderr.endswith(f"pip install -r {PROJECT / 'requirements.txt'}\n")
    assert done.stderr.count("\n") == 1


def test_a_module_of_its_own_that_is_missing_is_a_defect_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.cohorts", None)
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.cohorts"):
        main(["phantom", "--output", "p", "--healthy", "1", "--lesioned", "1"])


def test_without_a_checkout_the_packages_of_the_wheel_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_REQUIREMENTS", Path("gone.txt"))
    monkeypatch.setattr(installation.importlib.metadata, "requires", lambda name: ["torch==1", "monai==2"])
    assert installation.install_command() == f"{sys.executable} -m pip install torch==1 monai==2"


@pytest.mark.parametrize(
    ("called", "shown"), [("/opt/bin/cevae", "cevae"), ("/opt/pipeline/__main__.py", "python -m pipeline")]
)
def test_usage_shows_the_program_as_it_was_called(
    called: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    for arguments in (["--help"], ["predict", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert capsys.readouterr().out.startswith(f"usage: {shown} {'[' if len(arguments) == 1 else 'predict '}")
