"""Normalisation inside the mask: known means and scales, and no dependence on the scanner's units."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from transforms import NormalizeInMask, NormalizeInMaskd

METHODS = ["zscore", "percentiles"]


def image_and_mask(channels: int = 1, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = 100 + 20 * torch.randn(channels, side, side, side, generator=generator)
    mask = (torch.rand(1, side, side, side, generator=generator) > 0.4).float()
    return image, mask


def test_inside_the_mask_the_mean_is_0_and_the_standard_deviation_1() -> None:
    image, mask = image_and_mask()
    inside = NormalizeInMask()(image, mask)[mask > 0].double()
    assert float(inside.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_zscore_by_hand() -> None:
    image = torch.tensor([1.0, 2.0, 3.0, 1000.0]).reshape(1, 4, 1, 1)
    mask = torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 4, 1, 1)
    sd = (2 / 3) ** 0.5
    expected = torch.tensor([-1 / sd, 0.0, 1 / sd, -9.0])
    torch.testing.assert_close(NormalizeInMask(background=-9.0)(image, mask).flatten(), expected)


def test_percentiles_by_hand() -> None:
    """Of 0 ... 100 the 5th percentile is 5 and the 95th 95; a standard normal has them at -1.6449 and 1.6449."""
    image = torch.arange(101.0).reshape(1, 101, 1, 1)
    result = NormalizeInMask("percentiles")(image, torch.ones_like(image)).flatten()
    assert result[[5, 50, 95]].tolist() == pytest.approx([-1.6448536, 0, 1.6448536], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("background", [0.0, -3.5])
def test_outside_the_mask_there_is_the_background_value_alone(method: str, background: float) -> None:
    image, mask = image_and_mask(channels=2)
    result = NormalizeInMask(method, background=background)(image, mask)
    assert (result[:, mask[0] == 0] == background).all()
    assert not (result[:, mask[0] > 0] == background).any()


@pytest.mark.parametrize("method", METHODS)
@given(factor=st.floats(0.01, 1000), offset=st.floats(-1000, 1000))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_the_unit_and_the_zero_of_the_grey_levels_do_not_matter(method: str, factor: float, offset: float) -> None:
    image, mask = image_and_mask()
    normalize = NormalizeInMask(method)
    changed = normalize(factor * image.double() + offset * factor, mask)
    torch.testing.assert_close(changed, normalize(image, mask), rtol=1e-3, atol=1e-3)


def test_both_methods_agree_on_normally_distributed_values() -> None:
    image = 300 + 40 * torch.randn(1, 60, 60, 60, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(image)
    by_zscore, by_percentiles = NormalizeInMask()(image, mask), NormalizeInMask("percentiles")(image, mask)
    assert float((by_zscore - by_percentiles).abs().max()) < 0.05


def test_percentiles_do_not_see_a_huge_outlier_and_zscore_does() -> None:
    image, _ = image_and_mask()
    mask = torch.ones_like(image)
    with_outlier = image.clone()
    with_outlier[0, 0, 0, 0] = 1e6
    elsewhere = torch.ones_like(image, dtype=torch.bool)
    elsewhere[0, 0, 0, 0] = False
    robust, plain = (
        float((normalize(with_outlier, mask) - normalize(image, mask))[elsewhere].abs().max())
        for normalize in (NormalizeInMask("percentiles"), NormalizeInMask())
    )
    assert robust < 0.02
    assert plain > 1


@pytest.mark.parametrize("method", METHODS)
def test_values_outside_the_mask_have_no_influence(method: str) -> None:
    image, mask = image_and_mask()
    other = torch.where(mask > 0, image, torch.full_like(image, 1e5))
    assert torch.equal(NormalizeInMask(method)(other, mask), NormalizeInMask(method)(image, mask))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e36, -1e36, 1e-30])
def test_huge_and_tiny_values_are_normalised_as_others(method: str, factor: float) -> None:
    """At 3e38 float32 ends: the difference of two such values does not fit."""
    image, mask = image_and_mask()
    image -= 100
    result = NormalizeInMask(method)(image / image.abs().max() * 300 * factor, mask)
    torch.testing.assert_close(result, NormalizeInMask(method)(image * np.sign(factor), mask), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_each_channel_is_normalised_by_itself(method: str) -> None:
    image, mask = image_and_mask(channels=3)
    image *= torch.tensor([1.0, 50.0, 0.01])[:, None, None, None]
    together = NormalizeInMask(method)(image, mask)
    for channel in range(3):
        alone = NormalizeInMask(method)(image[channel : channel + 1], mask)
        assert torch.equal(together[channel : channel + 1], alone)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 500.0, -3.3])
def test_one_grey_level_only_inside_the_mask_is_refused(method: str, value: float) -> None:
    image, mask = image_and_mask(channels=2)
    image[1, mask[0] > 0] = value
    with pytest.raises(ValueError, match="one grey level"):
        NormalizeInMask(method)(image, mask)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="'zscore' and 'percentiles'"):
        NormalizeInMask("minmax")


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64])
def test_the_result_is_float32_and_the_scan_is_left_alone(dtype: torch.dtype) -> None:
    image, mask = image_and_mask()
    image = image.to(dtype)
    before = image.clone()
    assert NormalizeInMask()(image, mask).dtype == torch.float32
    assert torch.equal(image, before)


def test_the_dictionary_version_is_the_same_and_keeps_affine_and_meta() -> None:
    image, mask = image_and_mask(channels=2)
    affine = torch.from_numpy(np.array([[0, 2, 0, 5], [1, 0, 0, -7], [0, 0, -3, 1], [0, 0, 0, 1]], np.float64))
    scan = MetaTensor(image, affine=affine, meta={"mask_warning": "the head"})
    item = {"image": scan, "mask": MetaTensor(mask, affine=affine)}
    result = NormalizeInMaskd(method="percentiles", percentiles=(10, 90), background=2.0)(item)
    assert isinstance(result["image"], MetaTensor)
    assert torch.equal(result["image"].affine, affine)
    assert result["image"].meta["mask_warning"] == "the head"
    expected = NormalizeInMask("percentiles", (10, 90), 2.0)(image, mask)
    assert torch.equal(result["image"].as_tensor(), expected)
    assert torch.equal(result["mask"].as_tensor(), mask)
