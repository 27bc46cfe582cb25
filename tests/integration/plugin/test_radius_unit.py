"""A gate whose radii are relative."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"


def test_names_of_tests_are_the_configured_numbers(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(radius_unit="relative", radii=[0.001], relerr_threshold=0.001)
    result = pytester.runpytest(GATE, "--junitxml=j.xml", "-v")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*gate.yaml::radius?0.001? FAILED*", "*radius*relative error*"])
    result.stdout.fnmatch_lines(["*mean relative error * at r=0.001 (linearity radius none)"])
    names = {str(entry.get("name")) for entry in ElementTree.parse(pytester.path / "j.xml").iter()}
    assert {"radius[0.001]", "radius_absolute"} <= names
