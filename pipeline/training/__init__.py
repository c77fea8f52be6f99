"""Training: from a cohort of healthy scans to a run."""

from pipeline.training.handlers import BestModel, Checkpoints, EarlyStop, MetricsTable, TrainedOn
from pipeline.training.learning_rate import LearningRate
from pipeline.training.pictures import Pictures
from pipeline.training.run import train
from pipeline.training.slice_bank import SliceBank
from pipeline.training.slices import BatchLoader, Slices
from pipeline.training.trainer import CEVAEEvaluator, CEVAETrainer

__all__ = [
    "BatchLoader",
    "BestModel",
    "CEVAEEvaluator",
    "CEVAETrainer",
    "Checkpoints",
    "EarlyStop",
    "LearningRate",
    "MetricsTable",
    "Pictures",
    "SliceBank",
    "Slices",
    "TrainedOn",
    "train",
]
