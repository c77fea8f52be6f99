"""From a preprocessed scan to its scores on its own grid: the way back of the preprocessing."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from nibabel.orientations import apply_orientation, io_orientation

from networks import CEVAE, ScoreOptions, recommend, score_slices
from pipeline.cohorts import Item
from pipeline.errors import ScanError
from pipeline.model import Model
from pipeline.scan_warnings import preprocessing_warnings
from pipeline.scans import BRAIN
from pipeline.scoring.scan_scores import MAPS, ScanScores
from transforms import SLICE_AXES, slices_to_volume, volume_to_slices

logger = logging.getLogger(__name__)

SLICES = "slices"
"""Key of the table of slices in the meta data of the scored volume."""


class SliceScorer(Inferer):
    """Score the slices of a volume in batches, on the network's device.

    Args:
        batch_size: slices at once.
        slice_axis: "axial", "coronal" or "sagittal", as in training.
        options: how slices are scored.
    """

    def __init__(self, batch_size: int, slice_axis: str, options: ScoreOptions) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.slice_axis = slice_axis
        self.options = options

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], mask: torch.Tensor | None = None
    ) -> MetaTensor:
        """Score a volume.

        Args:
            inputs: image (C, X, Y, Z) on the network's grid, or a batch of one.
            network: the ceVAE.
            mask: brain (1, X, Y, Z), 0 to 1; slices without any are not scored. If None, it is `inputs.meta[BRAIN]`.

        Returns:
            The volume (5, X, Y, Z) of `MAPS` and the reconstruction of channel 0, as a batch if the image is one. Its
            `meta[SLICES]` is a table with the columns `slice`, `brain_share`, `kl` and `rec` (nats).
        """
        assert isinstance(network, CEVAE)
        if mask is None:
            assert isinstance(inputs, MetaTensor)
            mask = inputs.meta[BRAIN]
        if is_batch := inputs.ndim == 5:
            (inputs,) = inputs
        device = next(network.parameters()).device
        image, mask = (convert_to_tensor(volume, track_meta=False, device="cpu") for volume in (inputs, mask))
        images = volume_to_slices(image, self.slice_axis).contiguous()  # the network is faster
        brain = volume_to_slices(mask, self.slice_axis)
        brain_share = brain.mean((1, 2, 3))
        scored = torch.nonzero(brain_share > 0)[:, 0]
        maps = {name: torch.zeros(len(images), 1, *images.shape[2:]) for name in (*MAPS, "reconstruction")}
        residual = torch.zeros_like(images)
        slice_kl, slice_rec = torch.zeros(len(images)), torch.zeros(len(images))
        start = 0
        while start < len(scored):
            batch = scored[start : start + self.batch_size]
            try:
                scores = score_slices(network, images[batch].to(device), self.options)
            except torch.OutOfMemoryError as error:
                self._shrink(error)
                continue
            for name in maps.keys() - {"recommended"}:
                maps[name][batch] = getattr(scores, name)[:, :1].cpu()
            residual[batch] = scores.residual.cpu()
            slice_kl[batch], slice_rec[batch] = scores.slice_kl.cpu(), scores.slice_rec.cpu()
            start += len(batch)
        table = pd.DataFrame(
            {
                "slice": scored.numpy(),
                "brain_share": brain_share[scored].numpy(),
                "kl": slice_kl[scored].numpy(),
                "rec": slice_rec[scored].numpy(),
            }
        )
        whole = recommend(residual.to(device), images.to(device), brain.to(device), self.options)
        maps["recommended"] = whole.cpu()
        volume = MetaTensor(slices_to_volume(torch.cat(list(maps.values()), dim=1), self.slice_axis))
        volume.meta[SLICES] = table
        return MetaTensor(volume[None], meta=volume.meta) if is_batch else volume

    def _shrink(self, error: torch.OutOfMemoryError) -> None:
        """Halve the batch, for this scan and the next ones.

        Raises:
            ScanError: where it is one slice already.
        """
        if self.batch_size == 1:
            raise ScanError("the GPU's memory is too small for one slice; free it, or give --device cpu") from error
        self.batch_size //= 2
        torch.cuda.empty_cache()
        logger.warning("the GPU's memory is full; going on with %d slices at once", self.batch_size)


def score_scan(model: Model, item: Item, inferer: Inferer) -> ScanScores:
    """Return the scores of a preprocessed scan on its own grid.

    Args:
        model: the trained model.
        item: what the model's preprocessing made of the scan.
        inferer: a `SliceScorer`.
    """
    return scores_on_scan(model, item, inferer(item["image"].as_tensor(), model.network, item["mask"].as_tensor()))


def scores_on_scan(model: Model, item: Item, volume: MetaTensor) -> ScanScores:
    """Return the scores of a preprocessed scan on its own grid, given the volume that `SliceScorer` made of it."""
    image, table = item["image"], volume.meta[SLICES].copy()
    on_network_grid = MetaTensor(volume.as_tensor().cpu()).copy_meta_from(image)
    on_grid = _as_scan(model.preprocessing.inverse({"image": on_network_grid})["image"], item["scan"])
    mask = item["scan_mask"][0].numpy() > 0
    maps = {name: np.multiply(volume, mask, out=volume) for name, volume in zip(MAPS, on_grid, strict=False)}
    if not model.kl_is_trained:
        del maps["kl"], maps["combined"]
        table["kl"] = np.nan
    slice_axis = model.settings["slice_axis"]
    scan_axis = axis_of_scan(item, slice_axis)
    slices = _slice_table(table, maps["recommended"], item, scan_axis, model.settings)
    return ScanScores(maps, on_grid[-1], mask, slices, slice_axis, scan_axis, preprocessing_warnings(image.meta))


def _as_scan(maps: MetaTensor, scan: MetaTensor) -> np.ndarray:
    """Return maps (M, X, Y, Z) in the order of the scan's axes.

    MONAI's Orientation names axes by the direction they are nearest to, and gives those of a scan that lies half-way
    between two directions back exchanged. Between two grids of the same voxels there is no such doubt.
    """
    exchanged = io_orientation(np.linalg.inv(scan.affine.numpy()) @ maps.affine.numpy())
    return np.moveaxis(apply_orientation(np.moveaxis(maps.numpy(), 0, -1), exchanged), -1, 0)


def axis_of_scan(item: Item, slice_axis: str) -> int:
    """Return the scan's own axis, 0 to 2, that the axial, coronal or sagittal slices of its item are counted along."""
    to_slices = np.linalg.inv(item["image"].affine.numpy()) @ item["scan"].affine.numpy()
    return int(np.abs(to_slices[SLICE_AXES[slice_axis], :3]).argmax())


def _slice_table(
    table: pd.DataFrame, recommended: np.ndarray, item: Item, scan_axis: int, settings: dict[str, Any]
) -> pd.DataFrame:
    """Return the table of slices with their index and place in the scan: the columns of CASE_slices.csv."""
    axis = SLICE_AXES[settings["slice_axis"]]
    image, scan = item["image"], item["scan"]
    centre = np.ones((4, len(table)))
    centre[:3] = (np.asarray(image.shape[1:])[:, None] - 1) / 2
    centre[axis] = table["slice"]
    world = image.affine.numpy() @ centre
    voxels = np.linalg.inv(scan.affine.numpy()) @ world
    index = np.rint(voxels[scan_axis]).astype(int)
    result = pd.DataFrame(
        {
            "index": index,
            "position_mm": world[axis].round(3),
            "brain_share": table["brain_share"].round(5),
            "outside_training_range": table["brain_share"] < settings["minimum_brain_share"],
            "kl": table["kl"],
            "rec": table["rec"],
            "elbo": -(table["kl"] + table["rec"]),
            "max_recommended": recommended.max(tuple(axis for axis in range(3) if axis != scan_axis))[index],
        }
    )
    return result.sort_values("index", ignore_index=True)
