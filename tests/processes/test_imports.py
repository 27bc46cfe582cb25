"""What is imported, and when: nothing heavy before a test needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.configs import SFT, write
from tests.support.fakes import FAKE
from tests.support.fixtures import Write
from tests.support.paths import ROOT

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
        "pytest_linearity.plugin",
        "pytest_linearity.plugin.fixtures",
        "pytest_linearity.plugin.hookspecs",
        "pytest_linearity.plugin.options",
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


def test_reading_a_config_imports_nothing_heavy(tmp_path: Path) -> None:
    path = write(tmp_path, SFT)
    code = (
        "import sys\nfrom pytest_linearity import load_config\n"
        f"load_config({str(path)!r})\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_parsing_does_not_import_torch() -> None:
    code = (
        "import sys; from pytest_linearity.numerics.scope.parse import parse_scope; "
        "parse_scope('norms+regex:a'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_registry_imports_no_torch(pytester: pytest.Pytester) -> None:
    script = "import sys, pytest_linearity.numerics.metrics.registry as r; r.known_metrics(); "
    result = pytester.run(sys.executable, "-c", script + "print('torch' in sys.modules)")
    result.stdout.fnmatch_lines(["False"])


@pytest.mark.parametrize("arguments", [["--help"], ["analyze-logits", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from pytest_linearity.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'rich', 'yaml'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "analyze-logits" in result.stdout


GATE = "--linearity-config=gate.yaml"


def test_drawing_is_imported_only_where_it_is_asked_for(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    pytester.makeconftest(
        FAKE
        + "\nimport atexit\natexit.register(lambda: print('DRAWN', 'matplotlib' in sys.modules,"
        " 'jinja2' in sys.modules))\n"
    )
    write_config(radii=[0.1])
    result = pytester.run(sys.executable, "-m", "pytest", GATE, "--linearity-markdown=s.md")
    result.stdout.fnmatch_lines(["DRAWN False False"])


def test_pyplot_and_its_windows_are_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.support.reports import report; from pathlib import Path\n"
        "from pytest_linearity.report.plot import plot_report\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plot_report(report(), Path({str(tmp_path / 'p.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
