"""Scoring: what a model says of a scan, held against healthy scans."""

from pipeline.scoring.calibrating import calibrate
from pipeline.scoring.calibration import Calibration, load_calibration
from pipeline.scoring.findings import CONNECTIVITY, Cluster, Findings
from pipeline.scoring.predictor import Prediction, Predictor, brain_extraction_of, open_predictor
from pipeline.scoring.provenance import percent
from pipeline.scoring.recalibrating import Recalibration, recalibrate
from pipeline.scoring.scan_scorer import SliceScorer, axis_of_scan, score_scan
from pipeline.scoring.scan_scores import MAPS, ScanScores
from pipeline.scoring.score_bins import bin_of, edge_of
from pipeline.scoring.stages import FindAnomaliesd

__all__ = [
    "CONNECTIVITY",
    "MAPS",
    "Calibration",
    "Cluster",
    "FindAnomaliesd",
    "Findings",
    "Prediction",
    "Predictor",
    "Recalibration",
    "ScanScores",
    "SliceScorer",
    "axis_of_scan",
    "bin_of",
    "brain_extraction_of",
    "calibrate",
    "edge_of",
    "load_calibration",
    "open_predictor",
    "percent",
    "recalibrate",
    "score_scan",
]
