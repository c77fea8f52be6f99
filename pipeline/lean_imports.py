"""A faster start: MONAI imports every optional package that it finds, and prediction needs few of them."""

import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class _Hidden(importlib.abc.MetaPathFinder):
    """A finder that reports packages as not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Refuse a hidden package, and leave every other one to the next finder."""
        if fullname.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {fullname!r} (hidden for a faster start)", name=fullname)


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Hide optional packages while others are imported, which then do without them.

    Import MONAI inside: it keeps what it found for the rest of the process. Afterwards the packages can be imported as
    ever.
    """
    finder = _Hidden([package for package in packages if package not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
