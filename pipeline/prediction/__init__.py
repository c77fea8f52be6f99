"""Prediction: from scans to folders of maps, and a report of them."""

from pipeline.prediction.detector import AnomalyDetector
from pipeline.prediction.evaluator import ScanEvaluator, predict
from pipeline.prediction.results import Result

__all__ = ["AnomalyDetector", "Result", "ScanEvaluator", "predict"]
