"""Prediction: from scans to folders of maps, and a report of them."""

from pipeline.prediction.case_folder import folder_aside
from pipeline.prediction.colours import SHOWN, grey_window
from pipeline.prediction.detector import AnomalyDetector
from pipeline.prediction.evaluator import ScanEvaluator
from pipeline.prediction.model_label import ModelLabel
from pipeline.prediction.predicting import predict
from pipeline.prediction.preview import write_preview
from pipeline.prediction.results import Result
from pipeline.prediction.viewer import VIEWER_FILES, Home, copy_viewer, write_viewer

__all__ = [
    "SHOWN",
    "VIEWER_FILES",
    "AnomalyDetector",
    "Home",
    "ModelLabel",
    "Result",
    "ScanEvaluator",
    "copy_viewer",
    "folder_aside",
    "grey_window",
    "predict",
    "write_preview",
    "write_viewer",
]
