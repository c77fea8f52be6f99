"""The slice bank: each scan once, never stale, and bad scans named."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ball, save_scan
from monai.transforms import Compose

from pipeline.configuration import parsed, training_configuration
from pipeline.errors import UsageError
from pipeline.slice_bank import BatchLoader, SliceBank


@pytest.fixture
def transform(tmp_path: Path) -> Compose:
    file = tmp_path / "train.yaml"
    file.write_text(training_configuration())
    parser = parsed(file)
    return Compose([parser.get_parsed_content("preprocessing"), parser.get_parsed_content("slice_selection")])


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    return [{"image": str(save_scan(tmp_path / f"{i}.nii.gz", ball(seed=i)))} for i in range(3)]


def test_slices_are_the_transforms_own(tmp_path: Path, transform: Compose, entries: list[dict[str, Any]]) -> None:
    bank = SliceBank(entries, transform, tmp_path / "bank")
    expected = torch.cat([transform(entry)["image"].as_tensor() for entry in entries])
    assert bank.slices.dtype == torch.float16
    torch.testing.assert_close(bank[torch.arange(len(bank))]["image"], expected, atol=2e-3, rtol=1e-3)


def test_a_second_bank_preprocesses_nothing(tmp_path: Path, transform: Compose, entries: list[dict[str, Any]]) -> None:
    first = SliceBank(entries, transform, tmp_path / "bank")
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "bank").iterdir()}
    second = SliceBank(entries, transform, tmp_path / "bank")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "bank").iterdir()} == written
    assert torch.equal(first.slices, second.slices)


def test_a_changed_scan_is_preprocessed_again(
    tmp_path: Path, transform: Compose, entries: list[dict[str, Any]]
) -> None:
    first = SliceBank(entries, transform, tmp_path / "bank")
    save_scan(Path(entries[0]["image"]), ball(seed=99))
    second = SliceBank(entries, transform, tmp_path / "bank")
    assert len(list((tmp_path / "bank").iterdir())) == 4
    assert not torch.equal(first.slices, second.slices)


def test_another_preprocessing_has_files_of_its_own(
    tmp_path: Path, transform: Compose, entries: list[dict[str, Any]]
) -> None:
    SliceBank(entries, transform, tmp_path / "bank")
    transform.transforms[0].transforms[-1].resample.field_of_view = 150
    SliceBank(entries, transform, tmp_path / "bank")
    assert len(list((tmp_path / "bank").iterdir())) == 6


def test_a_bad_scan_is_named_and_left_out(
    tmp_path: Path, transform: Compose, entries: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    good = len(SliceBank(entries, transform, tmp_path / "bank"))
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan at all")
    empty = save_scan(tmp_path / "zero.nii.gz", np.zeros((20, 20, 20), np.int16))
    bank = SliceBank([*entries, {"image": str(bad)}, {"image": str(empty)}], transform, tmp_path / "bank")
    assert len(bank) == good
    assert set(bank.failed) == {str(bad), str(empty)}
    assert "bad.nii.gz: not a readable NIfTI file" in caplog.text
    assert "zero.nii.gz: all voxels have the same value" in caplog.text


def test_a_cohort_without_a_usable_slice_is_an_error(tmp_path: Path, transform: Compose) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan at all")
    with pytest.raises(UsageError, match=r"no slice to learn from in the 1 training scans.*not a readable NIfTI"):
        SliceBank([{"image": str(bad)}], transform, tmp_path / "bank", title="training")


def test_annotated_slices_are_not_learned_from(
    tmp_path: Path, transform: Compose, entries: list[dict[str, Any]]
) -> None:
    healthy = len(SliceBank(entries[:1], transform, tmp_path / "bank"))
    label = np.zeros((40, 48, 36), np.uint8)
    label[20, 24, 17:20] = 1
    save_scan(tmp_path / "label.nii.gz", label)
    labelled = SliceBank([entries[0] | {"label": str(tmp_path / "label.nii.gz")}], transform, tmp_path / "bank")
    assert len(labelled) == healthy - 3


class Numbers(SliceBank):
    """A bank whose slices are their own numbers."""

    def __init__(self, n: int) -> None:
        self.slices = torch.arange(n)[:, None, None, None].repeat(1, 2, 1, 1).to(torch.float16)


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
