"""The hooks that this plugin calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_linearity.numerics.metrics.metric import Metric


@pytest.hookspec
def pytest_linearity_metrics(config: pytest.Config) -> Sequence[Metric]:  # type: ignore[empty-body]
    """Metrics that configs may name, besides those built in.

    Called when a config names a metric that is not built in, before any test is collected: of
    conftest files, those that pytest loads at its start are heard.

    Args:
        config: pytest's config.

    Returns:
        Any number of `pytest_linearity.Metric`.
    """
