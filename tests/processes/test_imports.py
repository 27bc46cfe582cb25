"""What is imported, and when: nothing heavy before a test needs it."""

from __future__ import annotations

import sys

import pytest

HEAVY = {"torch", "transformers", "datasets"}
OURS = {"omegaconf", "yaml", "rich", "tqdm", "jinja2", "greenlet", "numpy"} | HEAVY

SCRIPT = """
import sys
import pytest

code = pytest.main(sys.argv[1:])
print("IMPORTED", *sorted(sys.modules))
sys.exit(code)
"""


Options = tuple[str, ...]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Options:
    """No plugin but ours, so that what is imported is ours as well."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return "-p", "pytest_linearity.plugin"


def imported(pytester: pytest.Pytester, *arguments: str) -> tuple[int, set[str]]:
    """Exit code of a run in its own process, and the packages that it has imported by its end."""
    code, modules = modules_of(pytester, *arguments)
    return code, {name.partition(".")[0] for name in modules}


def modules_of(pytester: pytest.Pytester, *arguments: str) -> tuple[int, set[str]]:
    pytester.makepyfile(script=SCRIPT)
    result = pytester.run(sys.executable, "script.py", "-p", "no:cacheprovider", *arguments)
    [line] = [line for line in result.outlines if line.startswith("IMPORTED")]
    return int(result.ret), set(line.split()[1:])


def test_not_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(): pass")
    code, packages = imported(pytester)
    assert code == 0
    assert "pytest_linearity" in packages
    assert not packages & HEAVY


def test_not_asked_for_and_without_other_plugins(pytester: pytest.Pytester, alone: Options) -> None:
    pytester.makepyfile("def test_own(): pass")
    code, packages = imported(pytester, *alone)
    assert code == 0
    assert "pytest_linearity" in packages
    assert not packages & OURS


def test_start_of_a_pytest_that_does_not_use_it(pytester: pytest.Pytester, alone: Options) -> None:
    pytester.makepyfile("def test_own(): pass")
    _, modules = modules_of(pytester, *alone)
    # Each one more is paid for by every run of pytest where the plugin is installed.
    assert {name for name in modules if name.startswith("pytest_linearity.")} == {
        "pytest_linearity.fixtures",
        "pytest_linearity.hookspecs",
        "pytest_linearity.plugin",
    }


def test_an_ini_key_that_no_test_needs(pytester: pytest.Pytester, alone: Options) -> None:
    pytester.makepyfile("def test_own(): pass")
    code, packages = imported(pytester, "-o", "linearity_config=gate.yaml", *alone)
    assert code == 0
    assert not packages & OURS


def test_collecting(pytester: pytest.Pytester) -> None:
    (pytester.path / "gate.yaml").write_text("model_name_or_path: checkpoint\n")
    code, packages = imported(pytester, "--linearity-config=gate.yaml", "--collect-only")
    assert code == 0
    assert not packages & HEAVY


def test_a_config_that_cannot_be_used(pytester: pytest.Pytester) -> None:
    (pytester.path / "gate.yaml").write_text("model_name_or_path: checkpoint\nradii: []\n")
    code, packages = imported(pytester, "--linearity-config=gate.yaml")
    assert code == 4
    assert not packages & HEAVY
