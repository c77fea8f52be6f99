"""What several tests share: small phantom cohorts, and a model trained on one in seconds."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import CHROMIUM, OPTIONS
from helpers import SMALL

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

from pipeline.cohorts.phantom import make_phantom_cohort
from pipeline.training.run import train

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real scans beside the checkout; tests that need them skip where they are missing."""


@pytest.fixture(scope="session", autouse=True)
def own_masks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep brain masks in a folder of the tests, not of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CEVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datalist of a phantom cohort of coarse voxels."""
    return make_phantom_cohort(tmp_path_factory.mktemp("cohort"), healthy=5, lesioned=3, spacing=6.0, workers=1)


@pytest.fixture(scope="session")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    return train(cohort, tmp_path_factory.mktemp("runs") / "run", settings=SMALL, seed=1, device="cpu")


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The datalist of a real cohort, by its folder's name."""

    def datalist(name: str) -> Path:
        path = REAL_DATA / name / "datalist.json"
        if not path.exists():
            pytest.skip(f"the real scans of {name} are not beside the checkout")
        return path

    return datalist


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A headless Chromium; tests that need one skip where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here to open a page in")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS])
        yield chromium
        chromium.close()
