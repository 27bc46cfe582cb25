"""What all tests share: a tiny checkpoint, and a gate whose figures a test writes down itself."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from checkpoints import tiny_llama
from filelock import FileLock

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

Write = Callable[..., Path]
Run = Callable[..., pytest.RunResult]
Once = Callable[[str, Callable[[], Any]], Any]
Figures = Mapping[float, tuple[float | None, float | None]]


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
        small = {
            "model_name_or_path": str(tiny_checkpoint),
            "prompts": ["1+1=", "The sky is"],
            "num_directions": 2,
            "precision": "float32",
            "radii": [0.01, 0.1],
        }
        return write_config(name, **{**small, **keys})

    return write


class Described:
    """Stands in for probes and directions: a report keeps what they say of themselves."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def describe(self) -> dict[str, Any]:
        return dict(self._facts)


class FixedAnalysis:
    """Stands in for `Analysis`: the figures are those that a test has written down."""

    figures: ClassVar[Figures] = {}
    error: ClassVar[BaseException | None] = None
    measured: ClassVar[int] = 0
    prompts: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Any, *, progress: Any = None) -> None:
        self.config = config
        self.progress = progress
        self.probes = Described(self.prompts)
        self.directions = Described({})

    @property
    def findings(self) -> Any:
        type(self).measured += 1
        if self.error is not None:
            raise self.error
        self.progress(1, 1)
        return self.found()

    def found(self) -> Any:
        import torch

        from pytest_linearity.numerics.measurement.measurement import Measurement
        from pytest_linearity.verdict.findings import Findings

        def column(place: int) -> torch.Tensor:
            found = [self.figures[radius][place] for radius in self.config.radii]
            values = [float("nan") if value is None else value for value in found]
            return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)

        radii = self.config.radii
        return Findings(
            measurement=Measurement(
                radii=radii,
                relative_error=column(0),
                cosine_similarity=column(1),
                precision=("float32",) * len(radii),
                noise_floor=(1e-6,) * len(radii),
                jvp_method="forward-mode",
                no_forward_mode=None,
                routing_flips=None,
            ),
            checkpoint={
                "path": self.config.checkpoint,
                "architecture": "LlamaForCausalLM",
                "parameters": 743808,
                "dtype": "bfloat16",
            },
            probes=self.probes.describe(),
            scope=self.directions.describe(),
            environment={},
        )


@pytest.fixture
def run_workers(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs pytest here and its workers in processes of their own; stderr is that of all of them.

    The controller needs no imports of its own so, which take longer than its work.
    """
    from pytest_linearity.run.store import findings_file

    def start(*arguments: str) -> pytest.RunResult:
        monkeypatch.setattr(
            findings_file, "_tensor", findings_file._tensor
        )  # which a fake replaces
        capfd.readouterr()
        found = pytester.runpytest_inprocess(*arguments)
        said = capfd.readouterr().err.splitlines()
        return pytest.RunResult(found.ret, found.outlines, said, found.duration)

    return start


def heed_sigint() -> None:
    """For a child process: one started in the background inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch, imported: None) -> type[FixedAnalysis]:
    """Gates of this test have fixed figures (ε, c): set `figures`, or `error`, on what this is."""

    class Fixed(FixedAnalysis):
        figures: ClassVar[Figures] = {0.1: (0.02, 0.999), 0.3: (0.06, 0.99), 1.0: (0.31, 0.96)}

    monkeypatch.setattr("pytest_linearity.run.analysis.Analysis", Fixed)
    return Fixed
