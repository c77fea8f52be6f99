"""The context-encoding variational autoencoder in pure torch: network, objective (1) and scores (2)."""

from networks.cevae import CEVAE
from networks.objective import CEVAEObjective, Terms, kl_divergence, reconstruction_error
from networks.recommended import ScoreOptions, recommend
from networks.scores import Scores, score_slices

__all__ = [
    "CEVAE",
    "CEVAEObjective",
    "ScoreOptions",
    "Scores",
    "Terms",
    "kl_divergence",
    "recommend",
    "reconstruction_error",
    "score_slices",
]
