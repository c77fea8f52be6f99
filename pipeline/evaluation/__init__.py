"""Evaluation: scores against annotated lesions, beside baselines without a model."""

from pipeline.evaluation.comparison import compare, markdown
from pipeline.evaluation.page import summary_text
from pipeline.evaluation.run import evaluate

__all__ = [
    "compare",
    "evaluate",
    "markdown",
    "summary_text",
]
