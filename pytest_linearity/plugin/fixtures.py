"""The fixtures for a project's own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.directions.directions import Directions
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.probes.probe import Probes
    from pytest_linearity.run.run import Run
    from pytest_linearity.verdict.document import RadiusFigures, Report


@pytest.fixture(scope="session")
def _linearity_run(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Run:
    """The run of the config; tests are parametrised over the configs where there are several."""
    if hasattr(request, "param"):
        run: Run = request.param
        return run
    from pytest_linearity.plugin.session import SESSION  # not before a test asks for a fixture

    session = pytestconfig.stash.get(SESSION, None)
    if session is None:
        pytest.fail(
            "the linearity fixtures need a config: give --linearity-config "
            "or the ini key linearity_config",
            pytrace=False,
        )
    return session.for_fixtures[0]


@pytest.fixture(scope="session")
def linearity_config(request: pytest.FixtureRequest, _linearity_run: Run) -> Config:
    """The config in effect, with the limits and radii of the test's mark `linearity`."""
    config: Config = getattr(request, "param", _linearity_run.config)
    return config


@pytest.fixture(scope="session")
def linearity_model(_linearity_run: Run) -> PreTrainedModel:
    """The checkpoint's model, shared by all tests: leave its parameters as they are."""
    return _linearity_run.analysis.subject.checkpoint.model


@pytest.fixture(scope="session")
def linearity_tokenizer(_linearity_run: Run) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer."""
    return _linearity_run.analysis.subject.opened.tokenizer


@pytest.fixture(scope="session")
def linearity_probes(_linearity_run: Run) -> Probes:
    """The prompts, tokenised and batched."""
    return _linearity_run.analysis.subject.probes


@pytest.fixture(scope="session")
def linearity_directions(_linearity_run: Run) -> Directions:
    """The unit directions."""
    return _linearity_run.analysis.directions


@pytest.fixture(scope="session")
def linearity_measurement(_linearity_run: Run, linearity_config: Config) -> Measurement:
    """The figures of every (radius, direction, prompt)."""
    return _linearity_run.measurement.at(linearity_config.tested_radii)


@pytest.fixture(scope="session")
def linearity_report(_linearity_run: Run, linearity_config: Config) -> Report:
    """The figures per radius, the linearity radius and the verdict."""
    return _linearity_run.report_under(linearity_config)


@pytest.fixture(scope="session")
def linearity_radius(request: pytest.FixtureRequest, _linearity_run: Run) -> float:
    """A tested radius; a test that asks for it runs once for each."""
    if not hasattr(request, "param"):
        pytest.fail(
            "linearity_radius and linearity_result must be arguments of the test itself: "
            "it is parametrised over the radii when it is collected",
            pytrace=False,
        )
    radius: float = request.param
    return radius


@pytest.fixture(scope="session")
def linearity_result(linearity_report: Report, linearity_radius: float) -> RadiusFigures:
    """The figures at one radius; a test that asks for it runs once for each."""
    return linearity_report.at(linearity_radius)
