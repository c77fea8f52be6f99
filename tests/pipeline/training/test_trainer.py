"""Training: repeatable, resumable, and what it leaves behind."""

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import SMALL, write_datalist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from networks import CEVAE
from pipeline.cohorts.datalist import read_datalist
from pipeline.errors import UsageError
from pipeline.model.configuration import BUNDLE
from pipeline.training import trainer as trainer_module
from pipeline.training.run import train


def weights(run: Path, name: str = "model.pt") -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(run / "models" / name, weights_only=True)
    return loaded


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def bank(run: Path) -> Path:
    """The slices of the shared run, so that they are made once."""
    return run / "slice_bank"


def test_same_seed_same_weights_bit_for_bit(cohort: Path, run: Path, bank: Path, tmp_path: Path) -> None:
    again = train(cohort, tmp_path / "again", settings=SMALL, seed=1, device="cpu", bank=bank)
    other = train(cohort, tmp_path / "other", settings=SMALL, seed=2, device="cpu", bank=bank)
    assert same(weights(run), weights(again))
    assert (run / "models" / "model.pt").read_bytes() == (again / "models" / "model.pt").read_bytes()
    assert not same(weights(run), weights(other))


def test_a_run_is_a_bundle_with_its_settings(run: Path) -> None:
    for name in ("train.yaml", "inference.yaml", "evaluate.yaml", "metadata.json", "logging.conf"):
        assert (run / "configs" / name).is_file(), name
    assert (run / "LICENSE").is_file()
    assert "epochs: 2" in (run / "configs" / "train.yaml").read_text()
    assert list((run / "tensorboard").iterdir())


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def test_tensorboard_keeps_training_apart_from_validation(run: Path) -> None:
    table = pd.read_csv(run / "metrics.csv")
    assert not list((run / "tensorboard").glob("events*"))  # no curve of both
    for name, column in (("training", "loss"), ("validation", "validation_loss")):
        events = events_of(run / "tensorboard" / name).Scalars("loss")
        assert [event.step for event in events] == [1, 2]
        assert [event.value for event in events] == pytest.approx(table[column].tolist(), rel=1e-5)


@pytest.mark.parametrize(("interval", "epochs"), [(1, [1, 2]), (2, [2]), (0, [])])
def test_pictures_are_shown_every_few_epochs_and_change_nothing(
    cohort: Path, run: Path, bank: Path, tmp_path: Path, interval: int, epochs: list[int]
) -> None:
    settings = [*SMALL, f"picture_interval={interval}"]
    shown = train(cohort, tmp_path / "run", settings=settings, seed=1, device="cpu", bank=bank)
    assert same(weights(run), weights(shown))
    folder = shown / "tensorboard" / "pictures"
    assert folder.exists() == bool(epochs)
    if epochs:
        images = events_of(folder).Images("x, x~, g")
        assert [image.step for image in images] == epochs
        assert {(image.width, image.height) for image in images} == {(3 * 64, 4 * 64)}


def test_metrics_have_a_row_an_epoch_and_the_loss_is_equation_1(run: Path) -> None:
    table = pd.read_csv(run / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2]
    loss = 0.5 * (table["kl"] + table["rec_vae"]) + 0.5 * table["rec_ce"]
    assert loss.to_numpy() == pytest.approx(table["loss"].to_numpy(), rel=1e-5)
    assert table["validation_loss"].notna().all()


def kill_at(epoch: int, monkeypatch: pytest.MonkeyPatch) -> type[BaseException]:
    """Have training killed at the start of an epoch, and return with what."""

    class Killed(BaseException):
        pass

    def kill(self: trainer_module.CEVAETrainer, engine: trainer_module.Engine) -> None:
        if engine.state.epoch == epoch:
            raise Killed
        original(self, engine)

    original = trainer_module.CEVAETrainer._start_epoch
    monkeypatch.setattr(trainer_module.CEVAETrainer, "_start_epoch", kill)
    return Killed


def test_a_resumed_run_ends_like_an_uninterrupted_one(
    cohort: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*SMALL[1:], "epochs=4"]
    whole = train(cohort, tmp_path / "whole", settings=settings, seed=1, device="cpu", bank=bank)
    killed = kill_at(4, monkeypatch)
    with pytest.raises(killed):
        train(cohort, tmp_path / "parts", settings=settings, seed=1, device="cpu", bank=bank)
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "models" / "model.pt").exists()
    newest = max((tmp_path / "parts" / "checkpoints").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:1000])  # damaged: the one before is taken
    parts = train(cohort, tmp_path / "parts", settings=settings, resume=True, seed=1, device="cpu", bank=bank)
    assert same(weights(whole), weights(parts))
    assert pd.read_csv(parts / "metrics.csv")["epoch"].tolist() == [1, 2, 3, 4]


def test_an_existing_run_is_not_trained_over(cohort: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="--resume"):
        train(cohort, run, settings=SMALL, seed=1, device="cpu")


def test_resuming_with_other_settings_is_refused(cohort: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="other settings"):
        train(cohort, run, settings=[*SMALL, "learning_rate=0.1"], resume=True, seed=1, device="cpu")


def test_resuming_with_another_comment_is_not_refused(cohort: Path, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    configuration = copy / "configs" / "train.yaml"
    configuration.write_text(configuration.read_text().replace("# of Adam", "# of Adam, as in the paper"))
    before = weights(run)
    train(cohort, copy, settings=SMALL, resume=True, seed=1, device="cpu")
    assert same(before, weights(copy))


def test_resuming_a_finished_run_changes_nothing(cohort: Path, run: Path) -> None:
    before = weights(run)
    train(cohort, run, settings=SMALL, resume=True, seed=1, device="cpu")
    assert same(before, weights(run))


@pytest.mark.parametrize("noise", ["squares", "mixed"])
@pytest.mark.parametrize("weight", [0, 1])
def test_the_vae_and_the_context_encoder_train_too(
    cohort: Path, bank: Path, tmp_path: Path, weight: float, noise: str
) -> None:
    settings = [*SMALL, f"lambda={weight}", f"noise={noise}", "reconstruction=l1"]
    table = pd.read_csv(train(cohort, tmp_path / "run", settings=settings, device="cpu", bank=bank) / "metrics.csv")
    absent = ["rec_ce"] if weight == 0 else ["kl", "rec_vae"]
    assert (table[absent] == 0).all(axis=None)
    assert table["loss"].iloc[1] < table["loss"].iloc[0]


def test_the_best_weights_are_kept_only_when_asked_for(cohort: Path, run: Path, bank: Path, tmp_path: Path) -> None:
    kept = train(cohort, tmp_path / "run", settings=[*SMALL, "keep_best=true"], device="cpu", bank=bank)
    CEVAE(64, 1, [4, 4, 8, 8], 8).load_state_dict(weights(kept, "model_best.pt"))
    assert not (run / "models" / "model_best.pt").exists()


@pytest.mark.parametrize("steps", [1, 7])
def test_a_cohort_of_many_slices_is_trained_on_for_no_more_epochs_than_the_steps_make(
    cohort: Path, bank: Path, tmp_path: Path, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = [*SMALL[1:], "epochs=50", "batch_size=8", f"steps={steps}"]
    with caplog.at_level("INFO"):
        run = train(cohort, tmp_path / "run", settings=settings, device="cpu", bank=bank)
    slices = int(next(re.finditer(r"training: \d+ scans, (\d+) slices", caplog.text)).group(1))
    epochs = math.ceil(steps / math.ceil(slices / 8))
    assert len(pd.read_csv(run / "metrics.csv")) == epochs


def test_early_stopping_ends_a_run_that_does_not_improve(cohort: Path, bank: Path, tmp_path: Path) -> None:
    settings = [*SMALL[1:], "epochs=50", "early_stopping=2", "learning_rate=1.0e-30"]
    run = train(cohort, tmp_path / "run", settings=settings, device="cpu", bank=bank)
    assert len(pd.read_csv(run / "metrics.csv")) < 50
    assert (run / "models" / "model.pt").exists()


def test_a_resumed_run_has_the_patience_it_had(
    cohort: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*SMALL[1:], "epochs=50", "early_stopping=2", "learning_rate=1.0e-30"]
    with pytest.raises(kill_at(3, monkeypatch)):
        train(cohort, tmp_path / "run", settings=settings, device="cpu", bank=bank)
    monkeypatch.undo()
    run = train(cohort, tmp_path / "run", settings=settings, resume=True, device="cpu", bank=bank)
    assert len(pd.read_csv(run / "metrics.csv")) == 3  # one validation to compare with, then two without a better loss


def test_a_run_that_only_lacks_its_calibration_is_given_one(run: Path, cohort: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "models" / "calibration.json").unlink()
    before = (copy / "models" / "model.pt").stat().st_mtime_ns
    train(cohort, copy, settings=SMALL, resume=True, seed=1, device="cpu")
    assert (copy / "models" / "model.pt").stat().st_mtime_ns == before
    assert (copy / "models" / "calibration.json").read_text() == (run / "models" / "calibration.json").read_text()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("size=70", "multiple of 16"),
        ("noise=sqares", "known are coarse, lesions, mixed, squares"),
        ("slice_axis=oblique", "unknown slice axis"),
        ("normalisation=minmax", "unknown normalisation"),
        ("lambda=2", "between 0"),
        ("reconstruction=l3", "known are l1, l2"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_read(
    cohort: Path, tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(cohort, tmp_path / "run", settings=[*SMALL, setting], device="cpu")


def test_monais_own_command_trains_a_copy_of_the_bundle(cohort: Path, bank: Path, run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    shutil.copyfile(run / "configs" / "train.yaml", bundle / "configs" / "train.yaml")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "train.yaml")),
        *("--bundle_root", str(bundle), "--dataset_dir", str(cohort), "--bank_dir", str(bank)),
    ]
    subprocess.run(command, check=True, cwd=BUNDLE.parents[1], capture_output=True)
    assert same(weights(run), weights(bundle))


def test_a_refused_setting_leaves_no_run_behind(cohort: Path, tmp_path: Path) -> None:
    for setting in ("noise=foo", "polarity=brigth", "smoothing=-1", "symmetry=2", "reconstruction_share=2", "size=70"):
        with pytest.raises(UsageError):
            train(cohort, tmp_path / "run", settings=[*SMALL, setting], device="cpu")
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_scans_is_refused(cohort: Path, run: Path, tmp_path: Path) -> None:
    splits = read_datalist(cohort)
    write_datalist(tmp_path / "other.json", {**splits, "training": splits["training"][:-1]})
    with pytest.raises(UsageError, match="other scans"):
        train(tmp_path / "other.json", run, settings=SMALL, resume=True, seed=1, device="cpu")


def test_resuming_with_the_same_scans_at_another_path_goes_on(cohort: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort.parent, tmp_path / "moved")
    train(tmp_path / "moved" / cohort.name, run, settings=SMALL, resume=True, seed=1, device="cpu")


def test_a_package_that_is_missing_is_one_line(cohort: Path, tmp_path: Path) -> None:
    own = "network_def: {_target_: not_installed_here.Network}\n"
    (tmp_path / "own.yaml").write_text(own)
    with pytest.raises(UsageError, match=r"not_installed_here.*install its package"):
        train(cohort, tmp_path / "run", str(tmp_path / "own.yaml"), SMALL, device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_trained_again(cohort: Path, bank: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "checkpoint_interval=1000"]
    first = train(cohort, tmp_path / "run", settings=settings, device="cpu", bank=bank)
    written = (first / "models" / "model.pt").stat().st_mtime_ns
    train(cohort, tmp_path / "run", settings=settings, resume=True, device="cpu", bank=bank)
    assert (first / "models" / "model.pt").stat().st_mtime_ns == written
