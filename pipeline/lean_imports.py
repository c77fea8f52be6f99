"""Lean imports: MONAI without the optional packages that a prediction does not use, so that it starts sooner.

`import monai` imports every part of MONAI, and with it each optional package that is installed. Scoring uses none of
ignite, matplotlib, scikit-learn and tensorboard, but their imports take longer than the scores of a scan.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

UNUSED = frozenset({"ignite", "matplotlib", "sklearn", "tensorboard"})
"""The packages that a prediction does without."""


class _Hidden(MetaPathFinder):
    """Finder that stands before all others and says of the unused packages that they are not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in UNUSED:
            raise ModuleNotFoundError(f"{fullname} is hidden while MONAI is imported", name=fullname)


@contextmanager
def unused_packages_hidden() -> Iterator[None]:
    """Hide the unused packages inside the block: MONAI, if first imported there, takes them for not installed.

    Afterwards they can be imported as ever, but MONAI's engines and handlers stay without ignite: this process cannot
    train any more.
    """
    finder = _Hidden()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
