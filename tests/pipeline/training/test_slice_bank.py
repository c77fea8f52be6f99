"""The slice bank: each scan once, never stale, and bad scans named."""

import errno
import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import ball, phantom_head, save_scan
from monai.transforms import Compose

from pipeline.cohorts import Entry
from pipeline.errors import UsageError
from pipeline.model.configuration import load_configuration, training_configuration
from pipeline.scans import BrainExtraction
from pipeline.scans.brain_tools import BrainTool
from pipeline.training.slice_bank import SliceBank
from pipeline.training.slices import BatchLoader, Slices
from transforms import HEAD, STRIPPED


@pytest.fixture
def transform(tmp_path: Path) -> Compose:
    file = tmp_path / "train.yaml"
    file.write_text(training_configuration())
    parser = load_configuration(file)
    return Compose([parser.get_parsed_content("preprocessing"), parser.get_parsed_content("slice_selection")])


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    return [Entry((str(save_scan(tmp_path / f"{i}.nii.gz", ball(seed=i))),)) for i in range(3)]


def test_slices_are_the_transforms_own(tmp_path: Path, transform: Compose, entries: list[Entry]) -> None:
    bank = SliceBank(entries, transform, tmp_path / "bank")
    expected = torch.cat([transform(entry.item())["image"].as_tensor() for entry in entries])
    assert {stack.dtype for stack in bank.stacks} == {np.dtype(np.float16)}
    torch.testing.assert_close(bank[np.arange(len(bank))]["image"], expected, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(bank[len(bank) - 1]["image"], bank[[0, len(bank) - 1]]["image"][1])


def test_a_second_bank_preprocesses_nothing(tmp_path: Path, transform: Compose, entries: list[Entry]) -> None:
    first = SliceBank(entries, transform, tmp_path / "bank")
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "bank").iterdir()}
    second = SliceBank(entries, transform, tmp_path / "bank")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "bank").iterdir()} == written
    assert torch.equal(*(bank[np.arange(len(bank))]["image"] for bank in (first, second)))


def test_a_changed_scan_is_preprocessed_again(tmp_path: Path, transform: Compose, entries: list[Entry]) -> None:
    first = SliceBank(entries, transform, tmp_path / "bank")
    save_scan(Path(entries[0].images[0]), ball(seed=99))
    second = SliceBank(entries, transform, tmp_path / "bank")
    assert len(list((tmp_path / "bank").glob("*.npy"))) == 4
    assert not torch.equal(*(bank[[10]]["image"] for bank in (first, second)))


def test_another_preprocessing_has_files_of_its_own(tmp_path: Path, transform: Compose, entries: list[Entry]) -> None:
    SliceBank(entries, transform, tmp_path / "bank")
    transform.transforms[0].transforms[-1].resample.field_of_view = 150
    SliceBank(entries, transform, tmp_path / "bank")
    assert len(list((tmp_path / "bank").glob("*.npy"))) == 6


def test_a_bad_scan_is_named_and_left_out(
    tmp_path: Path, transform: Compose, entries: list[Entry], caplog: pytest.LogCaptureFixture
) -> None:
    good = len(SliceBank(entries, transform, tmp_path / "bank"))
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan at all")
    empty = save_scan(tmp_path / "zero.nii.gz", np.zeros((20, 20, 20), np.int16))
    bank = SliceBank([*entries, Entry((str(bad),)), Entry((str(empty),))], transform, tmp_path / "bank")
    assert len(bank) == good
    assert set(bank.failed) == {str(bad), str(empty)}
    assert "bad.nii.gz: not a readable NIfTI file" in caplog.text
    assert "zero.nii.gz: all voxels have the same value" in caplog.text


def test_a_cohort_without_a_usable_slice_is_an_error(tmp_path: Path, transform: Compose) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan at all")
    with pytest.raises(UsageError, match=r"no slice to learn from in the 1 training scans.*not a readable NIfTI"):
        SliceBank([Entry((str(bad),))], transform, tmp_path / "bank", title="training")


def test_annotated_slices_are_not_learned_from(tmp_path: Path, transform: Compose, entries: list[Entry]) -> None:
    healthy = len(SliceBank(entries[:1], transform, tmp_path / "bank"))
    label = np.zeros((40, 48, 36), np.uint8)
    label[20, 24, 17:20] = 1
    save_scan(tmp_path / "label.nii.gz", label)
    labelled = SliceBank([replace(entries[0], label=str(tmp_path / "label.nii.gz"))], transform, tmp_path / "bank")
    assert len(labelled) == healthy - 3


def test_warnings_are_told_by_the_first_bank_and_by_every_later_one(
    tmp_path: Path, transform: Compose, entries: list[Entry], caplog: pytest.LogCaptureFixture
) -> None:
    shell = np.linalg.norm(np.indices((40, 48, 36)) - np.array([19.5, 23.5, 17.5])[:, None, None, None], axis=0)
    for name, scalp in (("head", 700), ("other", 650)):
        voxels = np.where(shell > 12, np.random.default_rng(0).uniform(1, 20, shell.shape), ball().astype(np.float32))
        voxels[(shell > 15) & (shell < 17)] = scalp
        entries.append(Entry((str(save_scan(tmp_path / f"{name}.nii.gz", voxels)),)))
    entries.append(Entry((str(save_scan(tmp_path / "wide.nii.gz", ball((72, 72, 20), 34))),)))
    said = []
    for _ in range(2):
        caplog.clear()
        SliceBank(entries, transform, tmp_path / "bank")
        said.append([message for message in caplog.messages if message.startswith("warning: ")])
    assert said[0] == said[1]
    assert [line.partition(": the")[0] for line in said[0][:1]] == ["warning: 2 scans (head.nii.gz, other.nii.gz)"]
    assert any("wide.nii.gz: " in line and "outside the model's field of view" in line for line in said[0])
    assert len(list((tmp_path / "bank").glob("*.npy"))) == len(list((tmp_path / "bank").glob("*.json")))


def test_a_full_disk_is_named(
    tmp_path: Path, transform: Compose, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, stack: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UsageError, match=r"bank: the slices cannot be written there.*disk is full"):
        SliceBank(entries, transform, tmp_path / "bank")
    assert not list((tmp_path / "bank").glob("*.npy"))


def test_disk_use_is_announced_after_the_first_scan(
    tmp_path: Path, transform: Compose, entries: list[Entry], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        bank = SliceBank(entries, transform, tmp_path / "bank")
    first, *_, last = caplog.messages
    written = sum(file.stat().st_size for file in (tmp_path / "bank").iterdir()) / 1e6
    assert first.startswith(f"cohort: {len(entries)} scans will take about {written:.0f} MB")
    assert f"{len(bank)} slices" in last


def test_a_disk_too_small_is_warned_of_early(
    tmp_path: Path, transform: Compose, entries: list[Entry], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.training.slice_bank.disk_usage", lambda _: SimpleNamespace(free=1000))
        SliceBank(entries, transform, tmp_path / "bank")
    assert "where 0 MB are free" in next(record for record in caplog.records if record.levelname == "WARNING").message


def test_the_slices_are_mapped_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 2, 8, 8), np.float16))
    (stack,) = Slices([tmp_path / "a.npy"]).stacks
    assert isinstance(stack.base, np.memmap)


class Numbers(Slices):
    """A bank whose slices are their own numbers."""

    def __init__(self, n: int) -> None:
        parts = np.array_split(np.arange(n, dtype=np.float16)[:, None, None, None].repeat(2, axis=1), 3)
        self.stacks, self.resident = parts, None
        self.starts = np.cumsum([0, *map(len, parts)])


def numbers_of(loader: BatchLoader) -> list[list[int]]:
    return [batch["image"].flatten().int().tolist() for batch in loader]


def test_an_epoch_sees_each_slice_once() -> None:
    batches = numbers_of(BatchLoader(Numbers(10), 4, shuffle=True, seed=1))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(chain(*batches)) == list(range(10))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    loader, same, other = (BatchLoader(Numbers(50), 8, shuffle=True, seed=seed) for seed in (1, 1, 2))
    first = numbers_of(loader)
    assert numbers_of(same) == first
    assert numbers_of(other) != first
    loader.set_epoch(3)
    assert numbers_of(loader) != first
    same.set_epoch(3)
    assert numbers_of(same) == numbers_of(loader)


def test_without_shuffling_the_order_is_the_banks() -> None:
    assert list(chain(*numbers_of(BatchLoader(Numbers(5), 2)))) == [0, 1, 2, 3, 4]


def test_the_brains_of_heads_are_extracted(tmp_path: Path, transform: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEVAE_CACHE", str(tmp_path / "cache"))
    head, brain = phantom_head()
    nib.save(head, tmp_path / "head.nii.gz")
    nib.save(nib.nifti1.Nifti1Image(np.where(brain, head.get_fdata(), 0), head.affine), tmp_path / "brain.nii.gz")
    noise = np.random.default_rng(0).uniform(1, 20, (40, 40, 40))
    save_scan(tmp_path / "noise.nii.gz", noise)
    entries = [Entry((str(tmp_path / f"{name}.nii.gz"),)) for name in ("head", "brain", "noise")]

    def find(image: nib.nifti1.Nifti1Image, device: torch.device) -> np.ndarray:
        return brain if image.shape == brain.shape else np.zeros(image.shape)

    tool = BrainTool("tool", "numpy", "numpy", find)
    bank = SliceBank(entries, transform, tmp_path / "bank", brain_extraction=BrainExtraction(tool))
    assert bank.brain_masks == {tool.version: 1, STRIPPED: 1}
    assert list(bank.failed) == [entries[2].images[0]]
    assert "found no brain at all" in bank.failed[entries[2].images[0]]
    whole = SliceBank(entries[:1], transform, tmp_path / "bank")
    assert whole.brain_masks == {HEAD: 1}
    assert len(whole) > len(bank.stacks[0])
