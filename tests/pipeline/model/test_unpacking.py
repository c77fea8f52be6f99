"""A packed bundle as a model: the voxels of its run, no code of its own, and nothing that was tampered with."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import ball, save_scan

from pipeline.command_line import main
from pipeline.errors import UsageError
from pipeline.model.integrity import SUMS
from pipeline.model.packing import pack
from pipeline.model.plain_values import FORMER_INFERER
from pipeline.model.run import Run
from pipeline.model.unpacking import open_model
from pipeline.nifti import nib
from pipeline.prediction.predicting import predict

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(run, tmp_path_factory.mktemp("packed") / "model.zip")


def changed(packed: Path, file: Path, change: Change, sums: bool = False) -> Path:
    """Write a changed zip; with `sums` its checksums are those of the changed files."""
    with zipfile.ZipFile(packed) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    if sums:
        del content[SUMS]
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items()]
        content[SUMS] = "".join(lines).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def assert_same_voxels(folder: Path, other: Path) -> None:
    """Check that the maps in two cases' folders have the same voxels."""
    files = list(other.glob("*.nii.gz"))
    assert len(files) == 9
    for file in files:
        np.testing.assert_array_equal(*(np.asanyarray(nib.load(f / file.name).dataobj) for f in (folder, other)))


def test_a_zip_predicts_the_voxels_of_its_run(run: Path, packed: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    status = main(["predict", "--model", str(packed), "--input", str(scan), "--output", str(tmp_path / "zip")])
    assert status == 0
    predict(run, [scan], tmp_path / "run")
    assert_same_voxels(tmp_path / "zip" / "scan", tmp_path / "run" / "scan")
    # The run goes on where the zip stopped: for both it is the same model.
    (again,) = predict(run, [scan], tmp_path / "zip")
    assert again.status == "done"


def test_a_zip_is_evaluated_as_its_run(run: Path, packed: Path, cohort: Path, tmp_path: Path) -> None:
    given = ["--data", str(cohort), "--output"]
    assert main(["evaluate", "--model", str(packed), *given, str(tmp_path / "zip")]) == 0
    assert main(["evaluate", "--model", str(run), *given, str(tmp_path / "run")]) == 0
    assert (tmp_path / "zip" / "metrics.json").read_text() == (tmp_path / "run" / "metrics.json").read_text()


def with_one_transform(settings: dict[str, Any]) -> None:
    """Make the keys of an inference configuration those from before `preprocessing` was a list."""
    (settings["preprocessing"],) = settings["preprocessing"]
    settings["predictor"]["read"] = "@preprocessing"
    del settings["postprocessing"]


def test_a_folder_whose_preprocessing_is_one_transform_predicts_the_same_voxels(run: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(run, tmp_path / "old_run", ignore=shutil.ignore_patterns("slice_bank")))
    configuration = old / "configs" / "inference.yaml"
    settings = yaml.safe_load(configuration.read_bytes())
    with_one_transform(settings)
    configuration.write_text(yaml.safe_dump(settings, sort_keys=False))
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    predict(old, [scan], tmp_path / "old", device="cpu")
    predict(run, [scan], tmp_path / "run", device="cpu")
    assert_same_voxels(tmp_path / "old" / "scan", tmp_path / "run" / "scan")


def former(inference: bytes) -> bytes:
    """Return an inference configuration as the version of format 1 wrote it."""
    settings = yaml.safe_load(inference)
    with_one_transform(settings)
    settings["inferer"] = FORMER_INFERER
    settings["preprocessing"]["_target_"] = "pipeline.reading.ReadCase"
    settings["batch_size"] = 32
    return yaml.safe_dump(settings, sort_keys=False).encode()


def test_a_zip_of_the_former_format_predicts_the_same_voxels(run: Path, packed: Path, tmp_path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        content["configs/inference.yaml"] = former(content["configs/inference.yaml"])
        replace("configs/metadata.json", b'"cevae_format": 2', b'"cevae_format": 1')(content)

    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    old = changed(packed, tmp_path / "old.zip", change, sums=True)
    predict(old, [scan], tmp_path / "old", device="cpu")
    predict(run, [scan], tmp_path / "run", device="cpu")
    assert_same_voxels(tmp_path / "old" / "scan", tmp_path / "run" / "scan")


def without_bias_correction(content: dict[str, bytes], value: str | None = None) -> None:
    """Take the step out of the preprocessing, and the setting, or set it to a value."""
    settings = yaml.safe_load(content["configs/train.yaml"])
    steps = settings["preprocessing"]["transforms"]
    settings["preprocessing"]["transforms"] = [step for step in steps if "BiasField" not in step["_target_"]]
    del settings["bias_correction"]
    settings |= {} if value is None else {"bias_correction": value}
    content["configs/train.yaml"] = yaml.safe_dump(settings, sort_keys=False).encode()


def test_a_zip_from_before_bias_correction_predicts_the_same_voxels(run: Path, packed: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    old = changed(packed, tmp_path / "old.zip", without_bias_correction, sums=True)
    predict(old, [scan], tmp_path / "old", device="cpu")
    predict(run, [scan], tmp_path / "run", device="cpu")
    assert_same_voxels(tmp_path / "old" / "scan", tmp_path / "run" / "scan")


def test_a_zip_that_asks_for_a_bias_correction_that_it_lacks_is_refused(packed: Path, tmp_path: Path) -> None:
    other = changed(packed, tmp_path / "o.zip", lambda content: without_bias_correction(content, "n4"), sums=True)
    with pytest.raises(UsageError, match="its `preprocessing` is not this program's"), open_model(other):
        pass


def test_a_folder_of_a_former_version_predicts_the_same_voxels_and_says_so(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = Path(shutil.copytree(run, tmp_path / "old_run", ignore=shutil.ignore_patterns("slice_bank")))
    configuration = old / "configs" / "inference.yaml"
    configuration.write_bytes(former(configuration.read_bytes()))
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    predict(old, [scan], tmp_path / "old", device="cpu")
    assert "a former version wrote it" in caplog.text
    predict(run, [scan], tmp_path / "run", device="cpu")
    assert_same_voxels(tmp_path / "old" / "scan", tmp_path / "run" / "scan")
    assert Run(old).load_inference("cpu")["batch_size"] == 32
    with pytest.raises(UsageError, match="pack it with that one"):
        pack(old, tmp_path / "old.zip")


def test_a_folder_that_names_code_that_is_no_longer_there_is_refused(run: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(run, tmp_path / "old_run", ignore=shutil.ignore_patterns("slice_bank")))
    configuration = old / "configs" / "inference.yaml"
    configuration.write_text(configuration.read_text().replace("pipeline.scans.ReadCase", "pipeline.reading.ReadCase"))
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    with pytest.raises(UsageError, match=r"pipeline.reading.ReadCase.*take that file from a new run"):
        predict(old, [scan], tmp_path / "out", device="cpu")


def test_settings_of_the_zip_are_kept(run: Path, packed: Path) -> None:
    with open_model(packed) as unpacked:
        assert "features: [4, 4, 8, 8]" in (unpacked / "configs" / "train.yaml").read_text()
        assert (unpacked / "models" / "model.pt").read_bytes() == (run / "models" / "model.pt").read_bytes()
    assert not unpacked.exists()


def test_a_directory_is_opened_as_it_is(run: Path) -> None:
    with open_model(run) as same:
        assert same == run


def add(name: str, data: bytes = b"x") -> Change:
    return lambda content: content.update({name: data})


def remove(name: str) -> Change:
    return lambda content: content.pop(name) and None


def replace(name: str, old: bytes, new: bytes) -> Change:
    def change(content: dict[str, bytes]) -> None:
        assert old in content[name]
        content[name] = content[name].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace("configs/train.yaml", b"polarity: bright", b"polarity: dark"), "configs/train.yaml was changed"),
        (replace("pipeline/demo.py", b"import", b"import  "), "pipeline/demo.py was changed"),
        (remove("models/model.pt"), "models/model.pt is missing"),
        (add("more.py"), "more.py was added"),
        (add("../outside"), "leads elsewhere"),
        (add("/etc/outside"), "leads elsewhere"),
        (add("a\\..\\outside"), "leads elsewhere"),
        (remove(SUMS), "no SHA256SUMS"),
    ],
)
def test_what_was_tampered_with_is_refused_and_named(packed: Path, tmp_path: Path, change: Change, reason: str) -> None:
    file = changed(packed, tmp_path / "bad.zip", change)
    with pytest.raises(UsageError, match=reason), open_model(file):
        pass


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace("configs/metadata.json", b'"cevae_format": 2', b'"cevae_format": 3'), "newer version"),
        (remove("configs/metadata.json"), "not a bundle that `pack` wrote"),
        (replace("configs/train.yaml", b"size: 64", b"size: \"$__import__('os').abort()\""), "plain value"),
        (replace("configs/train.yaml", b"transforms.BrainMaskd", b"theirs.Transform"), "preprocessing"),
        (replace("configs/train.yaml", b"_target_: networks.CEVAE\n", b"_target_: os.abort\n"), "network_def"),
        (replace("configs/train.yaml", b"size: 64", b"size: [1]"), "must be a whole number"),
        (replace("configs/inference.yaml", b"batch_size: 64", b'batch_size: "@evil"'), "plain value"),
        (replace("configs/train.yaml", b"size: 64", b"size: !!python/object:os.abort"), "not a bundle|damaged"),
    ],
)
def test_no_code_of_a_zip_is_run_even_where_its_sums_agree(
    packed: Path, tmp_path: Path, change: Change, reason: str
) -> None:
    file = changed(packed, tmp_path / "bad.zip", change, sums=True)
    with pytest.raises(UsageError, match=reason), open_model(file):
        pass


def test_code_added_to_the_configurations_of_a_zip_is_not_run(packed: Path, tmp_path: Path) -> None:
    evil = b'\nrun: "$open(\'ran\', \'w\')"\nimports: ["$import theirs"]\ninitialize: ["$theirs.run()"]\n'

    def change(content: dict[str, bytes]) -> None:
        for name in ("configs/train.yaml", "configs/inference.yaml"):
            content[name] = content[name].split(b"\ninitialize:")[0] + evil

    file = changed(packed, tmp_path / "bad.zip", change, sums=True)
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    (result,) = predict(file, [scan], tmp_path / "out", device="cpu")
    assert result.status == "done"
    assert not Path("ran").exists()


def test_two_files_of_one_name_are_refused(packed: Path, tmp_path: Path) -> None:
    file = changed(packed, tmp_path / "bad.zip", lambda content: None)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("models/model.pt", b"another")
    with pytest.raises(UsageError, match="two files of one name"), open_model(file):
        pass


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.model.unpacking.LARGEST", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("models/model.pt", bytes(2 << 20))
    with pytest.raises(UsageError, match="too large"), open_model(tmp_path / "bomb.zip"):
        pass


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04cut short"])
def test_what_is_no_zip_is_named(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.zip").write_bytes(data)
    arguments = ["--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["predict", "--model", str(tmp_path / "model.zip"), *arguments]) == 2
    assert "no whole zip file" in capsys.readouterr().err


def test_a_zip_cut_short_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(UsageError, match="no whole zip"), open_model(tmp_path / "cut.zip"):
        pass


def test_weights_of_another_network_are_refused(packed: Path, tmp_path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        import torch

        stream = io.BytesIO()
        torch.save({"other": torch.zeros(1)}, stream)
        content["models/model.pt"] = stream.getvalue()
        content["models/model.json"] = json.dumps({}).encode()
        del content["models/calibration.json"]

    file = changed(packed, tmp_path / "bad.zip", change, sums=True)
    with pytest.raises(UsageError, match="not the weights of this model"):
        predict(file, [save_scan(tmp_path / "scan.nii.gz", ball())], tmp_path / "out", device="cpu")


def test_settings_too_large_for_any_memory_are_refused(packed: Path, tmp_path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        features = "features: [1000000000, 1000000000, 1000000000, 1000000000]"
        configuration = content["configs/train.yaml"].decode()
        content["configs/train.yaml"] = re.sub(r"(?m)^features:.*$", features, configuration).encode()

    file = changed(packed, tmp_path / "bad.zip", change, sums=True)
    with pytest.raises(UsageError, match="no model can be made of it"):
        predict(file, [save_scan(tmp_path / "scan.nii.gz", ball())], tmp_path / "out", device="cpu")
