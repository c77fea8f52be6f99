"""Models that ship: a packed folder with a name, the same voxels as its run, and each kind of damage named."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from helpers import SMALL, ball, save_scan
from monai.bundle import ConfigWorkflow, ckpt_export, load, verify_metadata, verify_net_in_out

from pipeline.command_line import main
from pipeline.errors import UsageError
from pipeline.model import Run, load_model, open_model, pack
from pipeline.model.integrity import SUMS
from pipeline.model.shipped import shipped_folders, shipped_models
from pipeline.prediction import AnomalyDetector
from pipeline.scoring import open_predictor
from pipeline.training import train

PROJECT = Path(__file__).parents[3]
CARD = """---
name: Small T2 model
cevae_scans: 4 phantoms
cevae_finds: bright balls
cevae_misses: all else
---
## What it is for

Tests. ![good](good.png)
"""


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was packed as `bundles/small_t2_cevae`, with a card, a picture and the licence of its scans."""
    source = tmp_path_factory.mktemp("card")
    (source / "card.md").write_text(CARD)
    (source / "good.png").write_bytes(b"a picture")
    (source / "license.txt").write_text("CC0, of nobody")
    output = tmp_path_factory.mktemp("project") / "bundles" / "small_t2_cevae"
    return pack(run, output, card=source / "card.md", data_license=source / "license.txt")


@pytest.fixture
def shipped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model small-t2, which a test may damage."""
    copy = Path(shutil.copytree(folder, tmp_path / "bundles" / folder.name))
    monkeypatch.setattr("pipeline.model.shipped.BUNDLES", copy.parent)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return copy


def with_new_sums(folder: Path) -> None:
    """Write the sums anew, as one does who changes a bundle on purpose."""
    names = [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(sums))


def test_the_folder_has_the_model_and_no_code(run: Path, folder: Path) -> None:
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {SUMS, "LICENSE", "docs/README.md", "docs/data_license.txt", "docs/good.png", "models/model.pt"} <= names
    assert not [name for name in names if name.endswith((".py", ".j2"))]
    assert (folder / "models" / "model.pt").read_bytes() == (run / "models" / "model.pt").read_bytes()
    card = (folder / "docs" / "README.md").read_text()
    assert card.startswith("# Model Overview")
    assert card.index("Tests. ![good]") < card.index("## Data")
    assert "docs/data_license.txt" in card
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["name"] == "Small T2 model"
    assert metadata["cevae_finds"] == "bright balls"


def test_its_name_predicts_the_voxels_of_its_run(run: Path, shipped: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    by_name, by_run = (AnomalyDetector(model, device="cpu")(scan) for model in ("small-t2", run))
    assert by_name.keys() == by_run.keys()
    for name, image in by_run.items():
        np.testing.assert_array_equal(by_name[name].get_fdata(), image.get_fdata(), err_msg=name)


def test_the_commands_take_its_name(shipped: Path, cohort: Path, tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz", ball())
    out, model = tmp_path / "out", ["--model", "small-t2"]
    assert main(["predict", *model, "--input", str(scan), "--output", str(out / "predictions")]) == 0
    assert json.loads((out / "predictions" / "run.json").read_text())["model"] == "small_t2_cevae"
    assert main(["evaluate", *model, "--data", str(cohort), "--output", str(out / "evaluation")]) == 0
    assert (
        main(["calibrate", *model, "--data", str(cohort), "--split", "validation", "--output", str(out / "run")]) == 0
    )
    assert main(["pack", *model, "--output", str(out / "model.zip")]) == 0
    for made in (out / "run", out / "model.zip"):
        with open_model(made) as run:
            assert (run / "docs" / "data_license.txt").read_text() == "CC0, of nobody"
            load_model(run, "cpu")


def test_a_folder_of_its_name_comes_first_and_that_is_said(
    run: Path, shipped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_model("small-t2") as opened:
        assert opened == shipped
    assert not caplog.text
    shutil.copytree(run, "small-t2", ignore=shutil.ignore_patterns("slice_bank"))
    with open_model("small-t2") as opened:
        assert opened == Path("small-t2")
    assert "not the model of this name that ships" in caplog.text


def test_an_unknown_name_is_refused_with_the_known_ones(shipped: Path) -> None:
    with pytest.raises(UsageError, match=r"ixi-t9: not a model.* that ships: small-t2"), open_model("ixi-t9"):
        pass


def test_models_lists_what_ships(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    for text in ("small-t2", "4 phantoms", "bright balls", "all else", "--model small-t2"):
        assert text in listed
    shutil.rmtree(shipped)
    assert main(["models"]) == 0
    assert "no model ships" in capsys.readouterr().out


Damage = Callable[[Path], object]


def other_calibration(folder: Path) -> None:
    file = folder / "models" / "calibration.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model": "0" * 64}))


def other_calibration_with_sums(folder: Path) -> None:
    other_calibration(folder)
    with_new_sums(folder)


def newer(folder: Path) -> None:
    file = folder / "configs" / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"cevae_format": 99, "version": "9.9.9"}))
    with_new_sums(folder)


def weights(change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "models" / "model.pt"
        file.write_bytes(change(file.read_bytes()))

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (weights(lambda data: data[:-1] + bytes([data[-1] ^ 1])), "models/model.pt was changed"),
        (weights(lambda data: data[:1000]), "models/model.pt was changed after it was packed, or not copied whole"),
        (weights(lambda data: b"version https://git-lfs.github.com/spec/v1\n"), "not downloaded yet.*lfs pull"),
        (lambda folder: (folder / "models" / "model.pt").unlink(), "models/model.pt is missing"),
        (lambda folder: (folder / "configs" / "more.yaml").touch(), "configs/more.yaml was added"),
        (other_calibration, "calibration of another model"),
        (other_calibration_with_sums, "calibration of another model"),
        (newer, r"newer version \(9.9.9\)"),
        (lambda folder: (folder / SUMS).write_text("no sums\n"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / SUMS).write_text("0  ../more\n"), "names files elsewhere"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_refused_by_one_line_that_says_why(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage, reason: str
) -> None:
    damage(shipped)
    with pytest.raises(UsageError, match=reason), open_model("small-t2"):
        pass
    given = ["--input", str(save_scan(tmp_path / "scan.nii.gz", ball())), "--output", str(tmp_path / "out")]
    assert main(["predict", "--model", "small-t2", *given]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["models"]) == 1
    assert "cannot be used" in capsys.readouterr().out


def test_what_systems_leave_in_folders_is_no_damage(shipped: Path) -> None:
    (shipped / "configs" / ".DS_Store").touch()
    (shipped / "configs" / "__pycache__").mkdir()
    (shipped / "eval").mkdir()
    (shipped / "eval" / "out.txt").touch()
    with open_model("small-t2") as opened:
        assert opened == shipped


def test_it_passes_the_checks_of_monais_model_zoo(folder: Path, tmp_path: Path) -> None:
    metadata, config = folder / "configs" / "metadata.json", folder / "configs" / "inference.yaml"
    verify_metadata(meta_file=str(metadata), filepath=str(PROJECT / "bundles" / "metadata_schema.json"))
    names = ("network_def", str(metadata), str(config))
    verify_net_in_out(*names, device="cpu", bundle_root=str(folder))
    exported = {"filepath": str(tmp_path / "model.ts"), "ckpt_file": str(folder / "models" / "model.pt")}
    given = {"meta_file": str(metadata), "config_file": str(config), "bundle_root": str(folder)}
    ckpt_export("network_def", **exported, **given)
    assert (tmp_path / "model.ts").is_file()


def test_monai_loads_it_from_its_folder_alone(folder: Path, tmp_path: Path) -> None:
    configs, scan = folder / "configs", save_scan(tmp_path / "scan.nii.gz", ball())
    workflow = ConfigWorkflow(
        str(configs / "inference.yaml"), str(configs / "metadata.json"), workflow_type="infer",
        **{"bundle_root": str(folder), "dataset_dir": str(scan), "output_dir": str(tmp_path / "out")},
    )  # fmt: skip
    workflow.initialize()
    assert not workflow.check_properties()
    workflow.run()
    assert (tmp_path / "out" / "scan" / "case.json").is_file()
    loaded = load(folder.name, bundle_dir=str(folder.parent), device="cpu")
    for key, value in load_model(folder, "cpu").network.state_dict().items():
        np.testing.assert_array_equal(loaded[key].numpy(), value.numpy(), err_msg=key)
        np.testing.assert_array_equal(workflow.network_def.state_dict()[key].cpu().numpy(), value.numpy())


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("no head", "head of YAML"),
        ("---\ncevae_find: x\n---\n", "nearest known one is `cevae_finds`"),
        ("---\nname: 3\n---\n", "`name` must be text"),
        ("---\nname: x\n---\nFinds ??? of 9.\n", "line 4: a figure is not filled in"),
        ("---\nname: x\n---\n![bad](gone.png)\n", "gone.png: it cannot be read"),
    ],
)
def test_a_wrong_card_is_named(run: Path, tmp_path: Path, card: str, reason: str) -> None:
    (tmp_path / "card.md").write_text(card)
    with pytest.raises(UsageError, match=reason):
        pack(run, tmp_path / "made", card=tmp_path / "card.md")
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_not_empty_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").touch()
    with pytest.raises(UsageError, match="no empty folder"):
        pack(run, tmp_path / "made")
    assert [file.name for file in tmp_path.rglob("*")] == ["made", "mine"]


def test_weights_in_half_precision_are_packed_and_load(cohort: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "weight_precision=float16"]
    made = pack(train(cohort, tmp_path / "run", settings=settings, seed=1, device="cpu"), tmp_path / "half")
    with open_model(made) as opened:
        model = load_model(opened, "cpu")
        assert Run(opened).settings["weight_precision"] == "float16"
    assert all(str(value.dtype) == "torch.float32" for value in model.network.state_dict().values())


def test_the_models_of_this_project_are_whole_small_and_calibrated() -> None:
    assert [model.name for model in shipped_models()] == ["ixi-t1"]
    for name, folder in shipped_folders().items():
        with open_model(name) as run:
            predictor = open_predictor(run, "cpu")
        assert predictor.calibration is not None
        assert predictor.calibration.scans >= 20
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 10e6
        schema = json.loads((PROJECT / "bundles" / "metadata_schema.json").read_text())
        jsonschema.validate(json.loads((folder / "configs" / "metadata.json").read_text()), schema)


def test_the_models_of_this_project_have_its_cards_and_its_configuration() -> None:
    """A card or a configuration that changes is packed again."""
    for folder in shipped_folders().values():
        card = PROJECT / "docs" / "models" / f"{folder.name.removesuffix('_cevae')}.md"
        assert (folder / "docs" / "card.md").read_text() == card.read_text()
        own = PROJECT / "bundles" / "brain_mri_cevae" / "configs" / "inference.yaml"
        assert (folder / "configs" / "inference.yaml").read_text() == own.read_text()
