"""The version of this software: the one source of it."""

__version__ = "0.1.0"
