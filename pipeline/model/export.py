"""Export: the network for programs without MONAI. The gradient score cannot be exported, because it needs autograd."""

from pathlib import Path

import torch
from torch import nn

from networks import CEVAE
from pipeline.files import written_aside

OUTPUTS = ("reconstruction", "mu", "logvar")
"""Outputs of the exported network, in this order."""


class _Outputs(nn.Module):
    """The network with all outputs of the ceVAE in one forward."""

    def __init__(self, network: CEVAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mu, logvar = self.network.encode(image)
        return self.network.decode(mu), mu, logvar


def export_program(network: CEVAE) -> torch.export.ExportedProgram:
    """Return the network as torch.export's program, from slices (B, C, N, N) of any batch size to `OUTPUTS`."""
    network = network.cpu().eval()
    example = torch.zeros(2, network.in_channels, network.size, network.size)
    return torch.export.export(_Outputs(network), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_program(network: CEVAE, file: Path) -> None:
    """Write the network as .pt2, which `torch.export.load` reads without this project."""
    with written_aside(file) as partial:
        torch.export.save(export_program(network), partial)


def write_onnx(network: CEVAE, file: Path) -> None:
    """Write the network as .onnx from `image` to `OUTPUTS`; this needs the packages onnx and onnxscript."""
    with written_aside(file) as partial:
        torch.onnx.export(
            export_program(network),
            (),
            partial,
            input_names=["image"],
            output_names=list(OUTPUTS),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
