"""Unsupervised anomaly detection in brain MRI with the context-encoding variational autoencoder."""

from typing import TYPE_CHECKING, Any

from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.prediction.detector import AnomalyDetector

__all__ = ["AnomalyDetector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import heavy names on first use, so that --help stays fast."""
    if name == "AnomalyDetector":
        from pipeline.prediction.detector import AnomalyDetector

        return AnomalyDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
