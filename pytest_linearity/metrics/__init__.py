"""Metrics: what a predicted change of the logits is held against the true one by.

Nothing here imports torch, so that a config can be checked without it: whatever a metric does to
tensors it does by their methods.
"""

from pytest_linearity.metrics.changes import cosine_similarity, relative_error
from pytest_linearity.metrics.metric import Metric
from pytest_linearity.metrics.registry import find_metric

__all__ = ["Metric", "cosine_similarity", "find_metric", "relative_error"]
