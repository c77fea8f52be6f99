"""Unsupervised anomaly detection in brain MRI with the context-encoding variational autoencoder."""

__version__ = "0.1.0"
