"""The learning rate over a training."""

import math

import torch
from ignite.engine import Engine, Events

WARM_UP = 0.05
"""Share of the steps in which the rate rises: the first gradients of a fresh network are large."""


class LearningRate:
    """Set the learning rate of each step. It follows from the step alone, so a resumed run goes on where it was.

        rate(t) = learning_rate * min(1, t / 0.05) * 1/2 (1 + cos(pi t)),    t = share of the steps done

    (Loshchilov and Hutter, ICLR 2017). Without decay it is `learning_rate` throughout.

    Args:
        optimizer: the optimiser whose rate is set.
        learning_rate: the highest rate.
        decay: "cosine" or "none".
    """

    def __init__(self, optimizer: torch.optim.Optimizer, learning_rate: float, decay: str = "cosine") -> None:
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.decay = decay

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer."""
        trainer.add_event_handler(Events.ITERATION_STARTED, self._set)

    def rate(self, t: float) -> float:
        """Return the rate of the step before which a share t of the steps is done."""
        if self.decay == "none":
            return self.learning_rate
        return self.learning_rate * min(1.0, t / WARM_UP) * 0.5 * (1 + math.cos(math.pi * t))

    def _set(self, trainer: Engine) -> None:
        steps = (trainer.state.max_epochs or 1) * (trainer.state.epoch_length or 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate((trainer.state.iteration - 0.5) / steps)
