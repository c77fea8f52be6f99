"""The installation: by which name the program is called, and how to install the packages that it needs."""

import importlib.metadata
import shlex
import sys
from pathlib import Path

DISTRIBUTION = "brain-mri-cevae"
"""The name by which pip knows this project."""

OWN_PACKAGES = ("networks", "pipeline", "transforms")
"""The packages of this project: the code that a packed model takes along."""

_REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"


def program() -> str:
    """Return how the program was called: `cevae`, the installed command, or `python -m pipeline`."""
    return "cevae" if Path(sys.argv[0]).stem == "cevae" else "python -m pipeline"


def is_dependency(error: ModuleNotFoundError) -> bool:
    """Return whether a package is missing that this project needs, rather than a module of its own."""
    return error.name is not None and error.name.partition(".")[0] not in OWN_PACKAGES


def install_command() -> str:
    """Return the command that installs the dependencies: those of the checkout, else those of the installed wheel."""
    pip = [sys.executable, "-m", "pip", "install"]
    if _REQUIREMENTS.is_file():
        return shlex.join([*pip, "-r", str(_REQUIREMENTS)])
    return shlex.join([*pip, *(line for line in importlib.metadata.requires(DISTRIBUTION) or [] if ";" not in line)])


def install_command_of(extra: str) -> str:
    """Return the command that installs an extra: of the checkout, or the packages that the wheel names for it."""
    pip = [sys.executable, "-m", "pip", "install"]
    if _REQUIREMENTS.is_file():
        return shlex.join([*pip, f"{_REQUIREMENTS.parent}[{extra}]"])
    lines = importlib.metadata.requires(DISTRIBUTION) or []
    return shlex.join([*pip, *(line.partition(";")[0].strip() for line in lines if extra in line.partition(";")[2])])
