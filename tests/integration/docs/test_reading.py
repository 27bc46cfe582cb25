"""The README's "Reading the figures" is what its two checkpoints are measured to be."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from pytest_linearity.report.results import Result
from tests.support.fixtures import Once
from tests.support.paths import ARITHMETIC, ROOT

READING = ARITHMETIC / "reading"
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
BLOCKS = ("terminal", "figures", "rounding", "curvature", "layers")


@pytest.fixture(scope="session")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", READING / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def results(script: ModuleType, once: Once) -> Sequence[Result]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        found: Sequence[Result] = once("reading", script.measure_all)
        return found


def shown(name: str) -> str:
    """What the README has between the marks of a block."""
    [block] = re.findall(rf"<!-- reading: {name} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    return str(block)


def words(text: str) -> list[str]:
    """What is no number, whatever the space around it."""
    return NUMBER.sub("#", text).split()


def agree(shown: str, measured: str) -> bool:
    """Whether two numbers differ by no more than one in the last digit that the README shows.

    Noise floors, the ones with an exponent, depend on the order in which a machine adds up: an
    order of magnitude is all that they share.
    """
    a, b = (float(number.replace(",", "")) for number in (shown, measured))
    if "e" in shown:
        return 0.1 <= a / b <= 10
    return abs(a - b) <= 1.01 * 10.0 ** -len(shown.partition(".")[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_every_number_is_measured(name: str, script: ModuleType, results: Sequence[Result]) -> None:
    fresh = script.blocks_of(results)
    assert fresh.keys() == set(BLOCKS)
    said, measured = shown(name), fresh[name]
    assert words(said) == words(measured)
    pairs = list(zip(NUMBER.findall(said), NUMBER.findall(measured), strict=True))
    assert len(pairs) > 8
    assert [pair for pair in pairs if not agree(*pair)] == []


@pytest.mark.slow
def test_what_the_text_says_of_them(results: Sequence[Result]) -> None:
    healthy, anomalous = (result.report for result in results)
    assert (healthy.passed, anomalous.passed) == (True, False)
    for report in (healthy, anomalous):
        assert report.second_order is not None
        assert report.refined is not None
        predicted = report.second_order.predicted_crossing_radius
        assert predicted is not None
        # "within a tenth of those that were predicted"
        assert 0.9 < report.refined.linearity_radius / predicted < 1.1
        assert 0.9 < report.refined.first_failing / predicted < 1.1
        assert all(figures.routing_flips is None for figures in report.radii)
        for figures in report.radii:
            assert figures.mean_relative_error is not None
            assert figures.mean_cosine_similarity is not None
            if figures.mean_relative_error < 0.4:  # "1 − c is at most about ε²/2"
                deviation = figures.std_relative_error or 0
                square = figures.mean_relative_error**2 + deviation**2
                assert 1 - figures.mean_cosine_similarity <= 1.1 * square / 2
    errors = [[f.mean_relative_error or 0 for f in r.radii] for r in (healthy, anomalous)]
    for mild, strong in list(zip(*errors, strict=True))[:3]:
        assert 8 < strong / mild < 12  # "moved to the left, by about a factor of ten"
    assert [f.precision for f in healthy.radii][:2] == ["float64", "float32"]
    assert healthy.layers is not None
    assert anomalous.layers is not None
    maps = (layers.radii["1.0"].relative_error for layers in (healthy.layers, anomalous.layers))
    for mild, strong in zip(*maps, strict=True):
        assert 7 < (strong or 0) / (mild or 1) < 15  # "about ten times"


@pytest.mark.slow
def test_the_pictures_are_small_and_named(
    script: ModuleType, results: Sequence[Result], tmp_path: Path
) -> None:
    script.draw(results, tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in READING.glob("*.svg"))
    for name in drawn:
        assert f"](examples/arithmetic/reading/{name})" in README
        assert (READING / name).stat().st_size < 150_000
        ElementTree.parse(READING / name)


def test_writing_replaces_the_marked_blocks_alone(script: ModuleType) -> None:
    readme = "a\n<!-- reading: x -->\nold\n<!-- end -->\nb\n<!-- reading: y -->\n<!-- end -->\n"
    expected = readme.replace("old\n", "new \\1\n")
    assert script.written(readme, {"x": "new \\1\n"}) == expected
    assert script.written(expected, {"x": "new \\1\n"}) == expected
    with pytest.raises(SystemExit, match="reading: z --> is there 0 times"):
        script.written(readme, {"z": "new"})
