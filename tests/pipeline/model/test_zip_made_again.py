"""A packed bundle that was unpacked and zipped again by Finder or Explorer, with their folders and files in it."""

import zipfile
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.model.packing import pack
from pipeline.model.unpacking import open_model


@pytest.fixture(scope="module")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(run, tmp_path_factory.mktemp("packed") / "model.zip")


LITTER = {
    "finder": [
        "__MACOSX/",
        "__MACOSX/._model",
        "__MACOSX/{top}/._LICENSE",
        "{top}/.DS_Store",
        "{top}/models/.DS_Store",
    ],
    "explorer": ["{top}/Thumbs.db", "{top}/configs/desktop.ini", "{top}/configs/"],
    "nothing": [],
}


@pytest.mark.parametrize("top", ["model", "my model (2)", "M\u00fcller/T2", "", "SHA256SUMS"])
@pytest.mark.parametrize("litter", LITTER)
def test_a_zip_made_again_is_the_model_that_was_packed(packed: Path, tmp_path: Path, litter: str, top: str) -> None:
    with zipfile.ZipFile(packed) as archive, zipfile.ZipFile(tmp_path / "again.zip", "w") as again:
        for name in archive.namelist():
            again.writestr(f"{top}/{name}".lstrip("/"), archive.read(name))
        for name in LITTER[litter]:
            again.writestr(name.format(top=top).lstrip("/"), b"" if name.endswith("/") else b"litter")
    with open_model(tmp_path / "again.zip") as unpacked, open_model(packed) as first:
        for name in ("models/model.pt", "models/calibration.json", "configs/train.yaml"):
            assert (unpacked / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model/more.py", "more.py was added"),
        ("other/more.py", "no SHA256SUMS"),
        ("more.py", "no SHA256SUMS"),
        ("model/models/model.pt", "model.pt was changed"),
        ("__MACOSX/../../outside", "leads elsewhere"),
    ],
)
def test_a_zip_made_again_is_refused_with_what_was_never_packed(
    packed: Path, tmp_path: Path, name: str, reason: str
) -> None:
    with zipfile.ZipFile(packed) as archive:
        content = {f"model/{name}": archive.read(name) for name in archive.namelist()}
    content[name] = b"theirs"
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as again:
        for path, data in content.items():
            again.writestr(path, data)
    with pytest.raises(UsageError, match=reason), open_model(tmp_path / "again.zip"):
        pass
