"""The plugin's command line options, and its ini key."""

from __future__ import annotations

from pathlib import Path

import pytest

USELESS_ALONE = (
    "--linearity-report",
    "--linearity-set",
    "--linearity-cache",
    "--linearity-resume",
    "--linearity-markdown",
    "--linearity-html",
    "--linearity-plot",
    "--linearity-baseline",
)
"""Options that only say something about a config."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line options and the ini key."""
    group = parser.getgroup("linearity", "local linearity of a causal language model")
    group.addoption(
        "--linearity-config",
        action="append",
        default=[],
        metavar="CONFIG",
        help="run the gate of this YAML config; alone when no path is given, else besides the "
        "tests there; repeatable",
    )
    group.addoption(
        "--linearity-model",
        action="append",
        default=[],
        metavar="MODEL",
        help="run a gate of this checkpoint (a directory, or an id on the hub) without a config: "
        "on the built-in prompts, at radii around the crossing of the limits; repeatable",
    )
    group.addoption(
        "--linearity-report",
        type=Path,
        metavar="PATH",
        help="write the JSON report here, instead of `output_dir`/`report_filename` of the config",
    )
    group.addoption(
        "--linearity-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the configs, as in radii=[0.1,1.0]; repeatable",
    )
    group.addoption(
        "--linearity-baseline",
        metavar="REPORT",
        help="compare with this earlier report, or with that of the same name in this directory, "
        "instead of `baseline` of the config",
    )
    group.addoption(
        "--linearity-baseline-missing",
        choices=("error", "create"),
        default="error",
        help="what to do where the baseline is missing: refuse to run (default), or make the "
        "report of this run the baseline",
    )
    group.addoption(
        "--linearity-cache",
        action="store_true",
        help="reuse an earlier measurement, from pytest's cache, when checkpoint, prompts, config "
        "and versions are unchanged",
    )
    group.addoption(
        "--linearity-resume",
        type=Path,
        metavar="DIR",
        help="keep results in this directory as they come, and go on from what a run that was "
        "killed has left there",
    )
    group.addoption(
        "--linearity-markdown",
        type=Path,
        metavar="PATH",
        help="write a Markdown summary here (in GitHub Actions it is added to the step's summary "
        "as well)",
    )
    group.addoption(
        "--linearity-html",
        type=Path,
        metavar="PATH",
        help="write a web page here: tables, plots, config; needs the extra `plot`",
    )
    group.addoption(
        "--linearity-plot",
        type=Path,
        metavar="PATH",
        help="plot both metrics over the radii here, as .png, .svg or .pdf; needs the extra `plot`",
    )
    group.addoption(
        "--linearity-junit-properties",
        choices=("testcase", "suite", "none"),
        default="testcase",
        help="where --junitxml has the figures: as properties of each test case (default), of the "
        "suite, or nowhere, for readers that refuse them",
    )
    parser.addini(
        "linearity_config",
        type="args",
        default=[],
        help="YAML config of the linearity fixtures, relative to this file; runs no gate by itself",
    )
