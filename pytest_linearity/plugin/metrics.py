"""The metrics that pytest plugins and conftest files add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.errors import ConfigError, class_and_lines

if TYPE_CHECKING:
    import pytest

    from pytest_linearity.numerics.metrics.metric import Metric

_HOOK = "pytest_linearity_metrics"


def metrics_of_plugins(config: pytest.Config) -> tuple[Metric, ...]:
    """The metrics of a pytest session: those that its plugins add, and those of packages.

    Args:
        config: pytest's config.

    Raises:
        ConfigError: If a plugin fails or gives anything else, or so does an installed package.
    """
    from pytest_linearity.numerics.metrics.registry import installed_metrics, metrics_among

    try:
        answers = getattr(config.hook, _HOOK)(config=config)
    except Exception as error:  # a plugin may raise anything
        raise ConfigError(f"hook {_HOOK}: {class_and_lines(error)}") from None
    added = [metric for answer in answers for metric in metrics_among(answer, f"hook {_HOOK}")]
    return (*added, *installed_metrics())
