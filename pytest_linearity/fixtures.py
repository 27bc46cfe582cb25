"""The fixtures for a project's own tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.run import Run
from pytest_linearity.session import SESSION

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pytest_linearity.config import Config
    from pytest_linearity.directions import Directions
    from pytest_linearity.measurement import Measurement
    from pytest_linearity.probes import Probes
    from pytest_linearity.report.document import RadiusFigures, Report


@pytest.fixture(scope="session")
def _linearity_run(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Run:
    """The run of the config; tests are parametrised over the configs where there are several."""
    if hasattr(request, "param"):
        run: Run = request.param
        return run
    session = pytestconfig.stash.get(SESSION, None)
    if session is None:
        pytest.fail(
            "the linearity fixtures need a config: give --linearity-config "
            "or the ini key linearity_config",
            pytrace=False,
        )
    return session.for_fixtures[0]


@pytest.fixture(scope="session")
def linearity_config(_linearity_run: Run) -> Config:
    """The config in effect."""
    return _linearity_run.config


@pytest.fixture(scope="session")
def linearity_model(_linearity_run: Run) -> PreTrainedModel:
    """The checkpoint's model, shared by all tests: leave its parameters as they are."""
    return _linearity_run.analysis.checkpoint.model


@pytest.fixture(scope="session")
def linearity_tokenizer(_linearity_run: Run) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer."""
    return _linearity_run.analysis.checkpoint.tokenizer


@pytest.fixture(scope="session")
def linearity_probes(_linearity_run: Run) -> Probes:
    """The prompts, tokenised and batched."""
    return _linearity_run.analysis.probes


@pytest.fixture(scope="session")
def linearity_directions(_linearity_run: Run) -> Directions:
    """The unit directions."""
    return _linearity_run.analysis.directions


@pytest.fixture(scope="session")
def linearity_measurement(_linearity_run: Run) -> Measurement:
    """The figures of every (radius, direction, prompt)."""
    return _linearity_run.measurement


@pytest.fixture(scope="session")
def linearity_report(_linearity_run: Run) -> Report:
    """The figures per radius, the linearity radius and the verdict."""
    return _linearity_run.report


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


def parametrize(metafunc: pytest.Metafunc, runs: Sequence[Run]) -> None:
    """Run a test that asks for the fixtures once per config, and per radius where it asks for one.

    Args:
        metafunc: The test, as pytest collects it.
        runs: The runs that fixtures give; with one alone its name is left out of the test's id.
    """
    labels = {run: f"{run.name}-" if len(runs) > 1 else "" for run in runs}
    if "linearity_radius" in metafunc.fixturenames:
        metafunc.parametrize(
            ("_linearity_run", "linearity_radius"),
            [
                pytest.param(run, radius, id=f"{labels[run]}{radius}")
                for run in runs
                for radius in run.config.radii
            ],
            indirect=True,
            scope="session",
        )
    elif len(runs) > 1:
        metafunc.parametrize(
            "_linearity_run",
            [pytest.param(run, id=run.name) for run in runs],
            indirect=True,
            scope="session",
        )
