"""The versions that the tests run on: `nox`, or one of `nox --list`; what follows `--` is pytest's.

Each session has an environment of its own, with the newest release of everything that it does not
hold back. Which torch that is, and from where, is up to the configuration of pip.
"""

from __future__ import annotations

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
HELD_BACK = {
    "pytest-8.0": "pytest==8.0.0",
    "pytest-8": "pytest==8.*",
    "transformers-4": "transformers==4.57.*",
}
"""The oldest release of a dependency, or the last of an older series, that is to work."""

OTHER_PLUGINS = (
    "allure-pytest",
    "anyio",
    "flaky",
    "pytest-asyncio",
    "pytest-cov",
    "pytest-html",
    "pytest-json-report",
    "pytest-order",
    "pytest-random-order",
    "pytest-randomly",
    "pytest-repeat",
    "pytest-rerunfailures",
    "pytest-retry",
    "pytest-sugar",
    "pytest-timeout",
)
"""Plugins that expect functions where the gate has tests of its own kind."""

nox.options.reuse_existing_virtualenvs = True


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Every Python, with the newest of everything."""
    _test(session)


@nox.session(python="3.11")
@nox.parametrize("requirement", [nox.param(held, id=name) for name, held in HELD_BACK.items()])
def older(session: nox.Session, requirement: str) -> None:
    """One dependency held back, the others as new as it lets them be."""
    _test(session, requirement)


@nox.session(python="3.11")
def plugins(session: nox.Session) -> None:
    """The gate under plugins that run tests again or report them elsewhere, one at a time."""
    session.install(".[dev]", *OTHER_PLUGINS)
    session.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    tests = "tests/integration/plugin/test_other_plugins.py"
    session.run("pytest", "-p", "pytest_linearity.plugin", tests, "-k", "itself")


@nox.session(python="3.10", venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The lowest versions that `pyproject.toml` declares, all at once; needs uv."""
    _test(session, "--resolution=lowest-direct")


def _test(session: nox.Session, *requirements: str) -> None:
    session.install(".[dev]", *requirements)  # as users get it, data files and all
    session.run("pytest", *session.posargs)
