"""The learning rate of each step."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine

from pipeline.training import LearningRate


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_the_rate_rises_falls_and_ends_at_zero() -> None:
    rate = LearningRate(optimizer(), 2.0).rate
    assert rate(0) == 0
    assert rate(0.025) == pytest.approx(0.5 * 2 * 0.5 * (1 + math.cos(0.025 * math.pi)))
    assert rate(0.5) == pytest.approx(1.0)
    assert rate(1) == pytest.approx(0, abs=1e-12)


@given(first=st.floats(0.05, 1), second=st.floats(0.05, 1))
def test_after_the_warm_up_it_never_rises(first: float, second: float) -> None:
    rate = LearningRate(optimizer(), 1.0).rate
    assert rate(min(first, second)) >= rate(max(first, second))


@pytest.mark.parametrize("decay", ["cosine", "none"])
def test_a_resumed_training_has_the_rates_of_an_uninterrupted_one(decay: str) -> None:
    def rates(first_epoch: int) -> list[float]:
        chosen, found = optimizer(), []
        trainer = Engine(lambda engine, batch: found.append(chosen.param_groups[0]["lr"]))
        LearningRate(chosen, 1.0, decay).attach(trainer)
        trainer.load_state_dict({"epoch": first_epoch, "max_epochs": 4, "epoch_length": 5})
        trainer.run(range(5))
        return found

    whole, rest = rates(0), rates(2)
    assert len(whole) == 20
    assert rest == whole[10:]
    assert (set(whole) == {1.0}) == (decay == "none")
