"""Export: other programs compute what torch computes, for any batch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from networks import CEVAE
from pipeline.model.export import OUTPUTS, write_onnx, write_program


@pytest.fixture(scope="module", params=[(64, 1), (80, 2)], ids=["64", "80, two channels"])
def network(request: pytest.FixtureRequest) -> CEVAE:
    size, channels = request.param
    torch.manual_seed(0)
    return CEVAE(size, channels, (4, 4, 8, 8), 8).eval()


def expected(network: CEVAE, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return [network(image), *network.encode(image)]


def test_onnx_agrees_with_torch(network: CEVAE, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == list(OUTPUTS)
    for batch in (1, 2, 7):
        image = torch.randn(batch, network.in_channels, network.size, network.size)
        outputs = session.run(None, {"image": image.numpy()})
        for output, value in zip(outputs, expected(network, image), strict=True):
            assert np.abs(output - value.numpy()).max() <= 1e-5


def test_the_exported_program_agrees_with_torch(network: CEVAE, tmp_path: Path) -> None:
    write_program(network, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (2, 7):
        image = torch.randn(batch, network.in_channels, network.size, network.size)
        for output, value in zip(program(image), expected(network, image), strict=True):
            assert (output - value).abs().max() <= 1e-5
