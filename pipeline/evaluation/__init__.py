"""Evaluation: scores against annotated lesions, beside baselines without a model."""

from pipeline.evaluation.comparison import compare, markdown
from pipeline.evaluation.page import summary_text
from pipeline.evaluation.results import Metrics, read_metrics
from pipeline.evaluation.run import evaluate

__all__ = ["Metrics", "compare", "evaluate", "markdown", "read_metrics", "summary_text"]
