"""What docs/how-to-data-scientists.md says about extending, run as it is written there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SMALL, ball, save_scan

from pipeline import AnomalyDetector
from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE
from pipeline.model.packing import pack
from pipeline.model.unpacking import open_model
from pipeline.prediction.predicting import predict

PROJECT = Path(__file__).parents[3]
GUIDE = (PROJECT / "docs" / "how-to-data-scientists.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """Return the indented lines of the guide below the line that names a file."""
    lines = iter(GUIDE.split(f"`{name}`:\n\n", 1)[1].splitlines())
    taken = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        taken.append(line[4:])
    return "\n".join(taken) + "\n"


def run_pipeline(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(path)])}
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=path, timeout=300)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the user's own, outside of this project, with a configuration that names it."""
    folder = tmp_path / "theirs"
    (folder / "our_lab").mkdir(parents=True)
    (folder / "our_lab" / "__init__.py").write_text(example("our_lab/__init__.py"))
    preprocessing = (BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8")
    block = preprocessing[preprocessing.index("preprocessing:\n") : preprocessing.index("# --- training alone")]
    assert "    - _target_: transforms.BrainMaskd\n" in block
    ours = block.replace(
        "    - _target_: transforms.NormalizeInMaskd\n",
        example("ours.yaml") + "    - _target_: transforms.NormalizeInMaskd\n",
    )
    (folder / "ours.yaml").write_text(ours)
    return folder


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" if line else "\n" for line in text.splitlines())


def test_a_transform_of_the_users_own_package_is_trained_predicted_and_packed_with(
    cohort: Path, package: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    trained = run_pipeline(
        *("train", "--data", str(cohort), "--output", str(run), "--config", "ours.yaml", "--device", "cpu"),
        *("--set", *SMALL),
        path=package,
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    save_scan(tmp_path / "scan.nii.gz", ball())
    predicted = run_pipeline(
        *("predict", "--model", str(run), "--input", str(tmp_path / "scan.nii.gz"), "--output", str(out)), path=package
    )
    assert predicted.returncode == 0, predicted.stderr[-2000:]
    packed = run_pipeline("pack", "--model", str(run), "--output", str(tmp_path / "model.zip"), path=package)
    assert packed.returncode == 0, packed.stderr[-2000:]
    with pytest.raises(UsageError, match=r"preprocessing.*trust"), open_model(tmp_path / "model.zip"):
        pass


def test_another_network_and_size(cohort: Path, tmp_path: Path) -> None:
    done = run_pipeline(
        *("train", "--data", str(cohort), "--output", str(tmp_path / "run"), "--device", "cpu"),
        *("--set", *SMALL, "size=192", "epochs=1", "features=[2,2,4,4]", "latent_channels=4"),
        path=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    save_scan(tmp_path / "scan.nii.gz", ball())
    maps = AnomalyDetector(pack(tmp_path / "run", tmp_path / "model.zip"), device="cpu")(tmp_path / "scan.nii.gz")
    assert maps["recommended"].get_fdata().any()


def test_two_channels(tmp_path: Path) -> None:
    entries = []
    for i in range(4):
        files = [tmp_path / f"{i}_{name}.nii.gz" for name in ("flair", "t2")]
        for j, file in enumerate(files):
            save_scan(file, ball(seed=10 * i + j))
        entries.append({"image": [file.name for file in files]})
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries}))
    done = run_pipeline(
        *("train", "--data", "datalist.json", "--output", "run", "--device", "cpu", "--set", *SMALL), path=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    images = [nib.load(tmp_path / name) for name in entries[0]["image"]]
    maps = AnomalyDetector(pack(tmp_path / "run", tmp_path / "model.zip"), device="cpu")(images)
    assert maps["rec"].shape == images[0].shape


def test_a_score_of_ones_own(run: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii.gz", ball())
    names: dict[str, object] = {"RUN": str(run), "SCAN": str(tmp_path / "scan.nii.gz")}
    exec(example("a score of your own"), names)
    score = names["score"]
    assert isinstance(score, np.ndarray)
    assert score.shape == ball().shape
    maps = AnomalyDetector(run, device="cpu")(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(score, np.sqrt(maps["rec"].get_fdata() * maps["recommended"].get_fdata()), rtol=1e-4)


def test_the_results_are_a_pandas_table(run: Path, tmp_path: Path) -> None:
    for i in range(2):
        save_scan(tmp_path / f"scan_{i}.nii.gz", ball(seed=i))
    predict(run, [tmp_path / "scan_0.nii.gz", tmp_path / "scan_1.nii.gz"], tmp_path / "RESULTS", device="cpu")
    names: dict[str, object] = {}
    exec(example("the results as a table").replace('"RESULTS', f'"{tmp_path}/RESULTS'), names)
    slices = names["slices"]
    assert isinstance(slices, pd.DataFrame)
    assert slices.groupby("case").size().gt(1).all()


def test_the_bundle_in_python(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = pack(run, tmp_path / "BUNDLES" / "NAME")
    (tmp_path / "SCANS").mkdir()
    save_scan(tmp_path / "SCANS" / "scan.nii.gz", ball())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example("the bundle in Python"), names)
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in names["network"].state_dict().items())
    assert (tmp_path / "OUT" / "scan" / "case.json").is_file()


def test_five_lines_of_python(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(pack(run, tmp_path / "packed.zip"), tmp_path / "NAME.zip")
    save_scan(tmp_path / "scan.nii.gz", ball())
    monkeypatch.chdir(tmp_path)
    exec(example("five lines"), {})
    assert nib.load(tmp_path / "recommended.nii.gz").shape == ball().shape
