"""The demo: the head that the shipped model predicts, and what is said if none ships."""

from pathlib import Path

import pytest

from pipeline import demo
from pipeline.errors import UsageError
from pipeline.model import pack


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A coarse head, a small phantom cohort, a small network, and no model that ships."""
    monkeypatch.setattr("pipeline.cohorts.template_head.SPACING", 4.0)
    monkeypatch.setattr("pipeline.model.shipped.BUNDLES", tmp_path / "bundles")
    monkeypatch.setattr(demo, "HEALTHY", 3)
    monkeypatch.setattr(demo, "LESIONED", 1)
    monkeypatch.setattr(demo, "SETTINGS", ("epochs=1", "features=[4,4,8,8]", "latent_channels=8", "polarity=bright"))


def test_the_head_is_predicted_by_the_model_that_ships(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(run, tmp_path / "bundles" / "ixi_t1_cevae")
    (report,) = demo._predict_head(tmp_path / "head", "cpu")
    assert report.is_file()
    assert f"ml outside it: {report}" in capsys.readouterr().out


def test_without_a_model_that_ships_it_says_so_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.demo(tmp_path / "out", device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/5] left out: the model ixi-t1 does not ship")
    for file in ("predictions/report.html", "evaluation/evaluation.html"):
        assert (tmp_path / "out" / file).is_file()
        assert any(line.endswith(str(tmp_path / "out" / file)) for line in lines)
    with pytest.raises(UsageError, match="not empty"):
        demo.demo(tmp_path / "out", device="cpu")
