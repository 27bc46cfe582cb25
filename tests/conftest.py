"""What all tests share: tiny checkpoints, and a gate whose figures a test writes down itself."""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from filelock import FileLock

from tests.support.checkpoints import tiny_llama
from tests.support.configs import SMALL
from tests.support.fixed import Figures, FixedAnalysis
from tests.support.fixtures import Once, Write

pytest_plugins = ["pytester"]

# Tiny models: threads that wait for each other take far more time than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Gates of these tests have nothing to say in the summary of a step that runs the tests.
os.environ.pop("GITHUB_STEP_SUMMARY", None)
# What a process of these tests compiles, the many that it starts need not compile again; nor need
# they look through all fonts again where pytester gives them another home.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))

IMPORTED_ONCE = (
    "_pytest.stepwise",
    "datasets",
    "hypothesis",
    "omegaconf",
    "transformers.models.llama.modeling_llama",
    "pytest_linearity.run.analysis",
    "pytest_linearity.run.baseline",
    "pytest_linearity.run.store.cache",
    "pytest_linearity.config.expansion",
    "pytest_linearity.cli",
    "pytest_linearity.config.file",
    "pytest_linearity.plugin.hooks",
    "pytest_linearity.plugin.junit",
    "pytest_linearity.run.ranks.place",
    "pytest_linearity.report.json",
    "pytest_linearity.report.places",
    "pytest_linearity.report.plot",
    "pytest_linearity.report.terminal.report",
)
"""What a run inside pytester would import, slowly, and forget again."""


@pytest.fixture(scope="session")
def imported() -> None:
    for name in IMPORTED_ONCE:
        import_module(name)
    # Every run looks for garbage after each checkpoint: it need not look at all modules each time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Path:
    """A random Llama of two blocks, loaded in a moment; tests must not change it."""
    return tiny_llama(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def base_checkpoint(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Path:
    """What `tiny_checkpoint` was made of, let us say; tests must not change it."""
    return tiny_llama(tmp_path_factory.mktemp("base") / "base", seed=3, tokenizer=False)


@pytest.fixture(scope="session")
def real_document(tiny_checkpoint: Path) -> dict[str, Any]:
    """The report of a real run, as JSON has it; tests must not change it."""
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.analysis import analyze

    config = Config(
        model_name_or_path=str(tiny_checkpoint), prompts=["1+1="], num_directions=2, radii=[0.1]
    )
    document: dict[str, Any] = json.loads(json.dumps(analyze(config).to_dict()))
    return document


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Does what takes long in one of the processes of `-n`; the others get what it found."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def get(name: str, find: Callable[[], Any]) -> Any:
        path = shared / f"{name}.pickle"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_bytes(pickle.dumps(find()))
        return pickle.loads(path.read_bytes())

    return get


@pytest.fixture
def write_config(pytester: pytest.Pytester, imported: None) -> Write:
    """Writes a config into the directory of `pytester`: name and keys, returns its path."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        keys.setdefault("model_name_or_path", "checkpoint")
        path.write_text(yaml.safe_dump(keys), encoding="utf-8")
        return path

    return write


@pytest.fixture
def real_config(write_config: Write, tiny_checkpoint: Path) -> Write:
    """Writes a config of the tiny checkpoint, small enough to be measured in a moment."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        small = {key: list(v) if isinstance(v, tuple) else v for key, v in SMALL.items()}
        return write_config(name, **{"model_name_or_path": str(tiny_checkpoint), **small, **keys})

    return write


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch, imported: None) -> type[FixedAnalysis]:
    """Gates of this test have fixed figures (ε, c): set `figures`, or `error`, on what this is."""

    class Fixed(FixedAnalysis):
        figures: ClassVar[Figures] = {0.1: (0.02, 0.999), 0.3: (0.06, 0.99), 1.0: (0.31, 0.96)}

    monkeypatch.setattr("pytest_linearity.run.analysis.Analysis", Fixed)
    return Fixed
