"""Every public function has an example in its docstring, and it does what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest

import pytest_linearity
from tests.support.paths import ROOT

PUBLIC = {name: getattr(pytest_linearity, name) for name in pytest_linearity.__all__}
DATA = {"LinearityError", "Measurement", "Metric", "MetricFigures", "RadiusFigures", "Report"}
"""What functions give or take; their fields are told one by one."""
DATA |= {"Result", "Setup", "Style"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(name: str) -> list[doctest.DocTest]:
    thing = PUBLIC[name]
    globs = dict(vars(inspect.getmodule(thing)))
    found = doctest.DocTestFinder(recurse=False).find(thing, name, globs=globs)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - DATA - {"__version__"}))
def test_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [test] = examples(name)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", sorted(DATA))
def test_data_says_what_it_holds(name: str) -> None:
    assert len((inspect.getdoc(PUBLIC[name]) or "").splitlines()) >= 3
