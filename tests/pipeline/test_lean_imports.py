"""Lean imports: what a prediction does not use is hidden from MONAI, and from nobody else."""

import subprocess
import sys
from pathlib import Path

from helpers import ball, save_scan


def run_python(code: str) -> str:
    """Run code in a new Python, and return the last line that it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_prediction_imports_only_what_it_needs(run: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    arguments = ["cevae", "predict", "--model", str(run), "--input", str(scan), "--output", str(tmp_path / "out")]
    code = f"import sys\nsys.argv = {arguments!r}\nfrom pipeline.command_line import main\nassert main() == 0\n"
    code += "print({'ignite', 'matplotlib', 'sklearn', 'tensorboard', 'highdicom'} & set(sys.modules))"
    assert run_python(code) == "set()"
    assert (tmp_path / "out" / "scan" / "case.json").is_file()


def test_afterwards_the_hidden_packages_can_be_imported() -> None:
    code = (
        "from pipeline.lean_imports import unused_packages_hidden\nwith unused_packages_hidden():\n    import monai\n"
    )
    code += "import matplotlib.pyplot, ignite.engine, torch.utils.tensorboard\nprint('imported')"
    assert run_python(code) == "imported"


def test_a_program_that_calls_main_keeps_all_of_monai(tmp_path: Path) -> None:
    arguments = ["predict", "--model", "gone", "--input", "gone", "--output", str(tmp_path / "out")]
    code = f"from pipeline.command_line import main\nassert main({arguments!r}) == 2\n"
    code += "from monai.engines import Trainer\nfrom ignite.engine import Engine\nprint(issubclass(Trainer, Engine))"
    assert run_python(code) == "True"
