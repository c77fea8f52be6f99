"""The wheel: all packages, the bundle with its files, the command, and one source of version and dependencies."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pipeline import __version__

PROJECT = Path(__file__).parents[1]
SOURCES = (
    "networks",
    "transforms",
    "pipeline",
    "bundles",
    "pyproject.toml",
    "requirements.txt",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the project, built without the net."""
    copy, output = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(PROJECT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(output), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=output)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(output.glob("*.whl")))


def test_it_holds_every_module_template_and_file_of_the_bundle(wheel: zipfile.ZipFile) -> None:
    expected = {
        file.relative_to(PROJECT).as_posix()
        for package in ("networks", "transforms", "pipeline")
        for file in (PROJECT / package).rglob("*")
        if file.suffix in (".py", ".j2")
    }
    bundle = PROJECT / "bundles" / "brain_mri_cevae"
    expected |= {
        file.relative_to(PROJECT).as_posix() for place in ("configs", "docs") for file in bundle.glob(f"{place}/*")
    }
    expected.add("bundles/brain_mri_cevae/LICENSE")
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert expected <= packed
    assert {name.split("/")[0] for name in packed} == {"networks", "transforms", "pipeline", "bundles"}


def test_version_and_dependencies_are_those_of_their_one_source(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == __version__
    assert metadata.get_all("Requires-Dist") == (PROJECT / "requirements.txt").read_text().split()


def test_it_gives_the_command_cevae(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert "cevae = pipeline.command_line:main" in wheel.read(name).decode()
