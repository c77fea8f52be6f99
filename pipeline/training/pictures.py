"""Pictures of training in TensorBoard: what the network makes of slices with CE noise."""

from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import OneOf

from networks import CEVAE
from pipeline.training.slices import Slices
from transforms import RandNoised

SHOWN = 4
"""Slices in a picture."""


class Pictures:
    """Show slices x, the same with CE noise, x~, and the reconstruction g(mu(x~)) side by side, every few epochs.

    The slices and their noise are the same each time. The trainer sets a seed for each of its epochs, so the noise of
    the pictures does not change training.

    Args:
        log_dir: the folder of the pictures for TensorBoard.
        slices: some of these are shown, evenly spaced.
        network: the ceVAE.
        noise: the transform that makes x~ of x.
        interval: epochs between two pictures.
        seed: the seed of the noise.
    """

    def __init__(
        self,
        log_dir: str | Path,
        slices: Slices,
        network: CEVAE,
        noise: RandNoised | OneOf,
        interval: int = 10,
        seed: int = 0,
    ) -> None:
        self.log_dir = str(log_dir)
        self.slices = slices
        self.network = network
        self.noise = noise
        self.interval = interval
        self.seed = seed

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._show)

    def _show(self, trainer: Engine) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and of no use to other commands

        with SummaryWriter(self.log_dir) as writer:
            writer.add_image("x, x~, g", self.picture(), trainer.state.epoch)

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """Return the picture (1, rows, columns) in 0 to 1: a row for each slice, with channel 0 of x, x~ and g."""
        shown = np.linspace(0, len(self.slices) - 1, min(SHOWN, len(self.slices))).astype(int)
        device = next(self.network.parameters()).device
        batch = {key: value.to(device) for key, value in self.slices[shown].items()}
        self.noise.set_random_state(self.seed)
        x, x_noisy = batch["image"], self.noise(dict(batch))["image"]
        columns = torch.cat([volume[:, :1] for volume in (x, x_noisy, self.network(x_noisy))], dim=3)
        low, high = x[:, :1].min(), x[:, :1].max()
        rows = torch.cat([*((columns - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)], dim=1)
        return rows.float().cpu().numpy()
