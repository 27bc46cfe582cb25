"""The rule of the house: who may import whom, lazily and for type hints, too."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pytest_linearity

PACKAGE = Path(pytest_linearity.__file__).parent
LEVELS = (
    ("errors",),
    ("files",),
    ("numerics",),
    ("config",),
    ("checkpoint",),
    ("probes",),
    ("verdict",),
    ("report",),
    ("run",),
    ("plan",),
    ("plugin", "cli"),
)
"""Rooms of the package; a room imports itself and those of lower levels."""
NUMERICS = (
    ("derivatives", "mapped_files", "precision", "ranks", "routing", "threads"),
    ("scope", "metrics"),
    ("directions",),
    ("lockstep",),
    ("calibration",),
    ("measurement",),
)
"""The same inside `numerics`."""
OWNERS = {
    "pytest": {"plugin"},
    "transformers": {"checkpoint", "probes", "plan", "run"},
    "datasets": {"probes"},
    "matplotlib": {"report"},
}
"""Who may import a library, type hints aside; `run` asks transformers for its version alone."""

Import = tuple[str, str]
"""Who imports what: dotted names, those of the package without its own name in front."""


@cache
def modules(package: Path) -> dict[str, ast.Module]:
    """The syntax of every module, by its dotted name below the package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        *folders, name = path.relative_to(package).with_suffix("").parts
        dotted = ".".join(folders if name == "__init__" else [*folders, name])
        found[dotted] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported name with its module, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_that_run(tree: ast.Module) -> Iterator[str]:
    """Those that are not for type hints alone, at the top or inside a function."""
    for node in tree.body:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports(node)


def inner(package: Path) -> list[Import]:
    """All imports of the package by itself, from module to module."""
    known = modules(package)
    found = []
    for module, tree in known.items():
        for name in imports(tree):
            head, _, target = name.partition(".")
            if head == "pytest_linearity":
                while target and target not in known:
                    target = target.rpartition(".")[0]
                found.append((module, target))
    return found


def upward(found: list[Import], levels: tuple[tuple[str, ...], ...], below: str = "") -> list[str]:
    """Imports from a room to one of its own level or above, other than itself."""
    level = {room: number for number, rooms in enumerate(levels) for room in rooms}
    wrong = []
    for module, target in found:
        if below and not (module.startswith(f"{below}.") and target.startswith(f"{below}.")):
            continue
        here, there = (name.removeprefix(f"{below}.").split(".")[0] for name in (module, target))
        if not here or here == there:
            continue  # the front of the package hands on what others make
        same_ground = below and level[here] == level[there] == 0
        if there and level[there] >= level[here] and not same_ground:
            wrong.append(f"{module} imports {target}")
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Modules that import each other by whatever way."""
    edges: dict[str, set[str]] = {}
    for module, target in found:
        if target and module != target and not target.startswith(f"{module}."):
            edges.setdefault(module, set()).add(target)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for target in edges.get(ahead.pop(), set()) - seen:
                seen.add(target)
                ahead.append(target)
        return seen

    return sorted([m, *sorted(edges[m])] for m in edges if m and m in reached(m))


def test_every_room_has_its_level() -> None:
    rooms = {module.split(".")[0] for module in modules(PACKAGE)} - {""}
    assert rooms == {room for rooms in LEVELS for room in rooms}
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 15


def test_nothing_is_imported_upwards() -> None:
    assert upward(inner(PACKAGE), LEVELS) == []


def test_nor_inside_the_numerics() -> None:
    assert upward(inner(PACKAGE), NUMERICS, "numerics") == []


def test_a_class_has_a_name_of_its_own() -> None:
    names = [
        node.name
        for tree in modules(PACKAGE).values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_the_numerics_know_errors_and_nothing_else_of_the_package() -> None:
    rooms = {t.split(".")[0] for m, t in inner(PACKAGE) if m.split(".")[0] == "numerics"}
    assert rooms <= {"numerics", "errors"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles(inner(PACKAGE)) == []


def test_nor_does_a_room_of_a_package() -> None:
    rooms = [tuple(".".join(name.split(".")[:2]) for name in pair) for pair in inner(PACKAGE)]
    within = [(m, t) for m, t in rooms if m != t and m.split(".")[0] == t.split(".")[0]]
    assert circles(within) == []


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_the_business_of_its_rooms(library: str) -> None:
    users = {
        module.split(".")[0]
        for module, tree in modules(PACKAGE).items()
        for name in imports_that_run(tree)
        if name.split(".")[0] == library
    }
    assert users <= OWNERS[library]


def test_only_plots_import_matplotlib() -> None:
    for module, tree in modules(PACKAGE).items():
        if any(name.split(".")[0] == "matplotlib" for name in imports(tree)):
            assert module.startswith("report.plot"), module


def test_only_the_environment_asks_transformers_for_its_version() -> None:
    for module, tree in modules(PACKAGE).items():
        used = [name for name in imports_that_run(tree) if name.startswith("transformers")]
        assert not used or module == "run.environment" or not module.startswith("run."), module


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("from pytest_linearity.verdict.judge import judge", "numerics/precision.py"),
        ("    from pytest_linearity.cli import main", "plugin/hooks.py"),
        ("from pytest_linearity import report", "config/values.py"),
        ("import pytest_linearity.plan", "run/run.py"),
    ],
)
def test_one_line_put_wrong_is_seen(line: str, place: str, tmp_path: Path) -> None:
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    wrong = tmp_path / place
    wrong.write_text(f"if True:\n    {line.strip()}\n{wrong.read_text(encoding='utf-8')}")
    module = place.removesuffix(".py").replace("/", ".")
    assert [found for found in upward(inner(tmp_path), LEVELS) if found.startswith(module)]
