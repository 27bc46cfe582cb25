"""Directions of several kinds in a run: figures, verdict, reports, cache, baseline."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tiny_llama
from conftest import Write
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.analysis import Analysis, analyze
from pytest_linearity.config import Config
from pytest_linearity.findings import Findings
from pytest_linearity.report.document import RadiusFigures, Report
from pytest_linearity.report.html import html
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.plot import drawn_report
from pytest_linearity.report.results import Measured
from pytest_linearity.report.schema import load_schema
from pytest_linearity.report.terminal import render
from pytest_linearity.vectors.tensors import TensorVector
from pytest_linearity.verdict import Limits, judge_radius

GATE = "--linearity-config=gate.yaml"
LIMITS = Limits(0.2, 0.95)


@pytest.fixture(scope="module")
def several(tiny_checkpoint: Path, base_checkpoint: Path) -> Analysis:
    """A measurement along five kinds of directions."""
    return Analysis(
        Config(
            model_name_or_path=str(tiny_checkpoint),
            base_model_name_or_path=str(base_checkpoint),
            prompts=["1+1=", "The sky is"],
            num_directions=2,
            directions=["gaussian", "update", "filterwise", "-update", "gradient"],
            radii=[0.01, 1.0],
            precision="float64",
        )
    )


class TestSeveralKinds:
    def test_every_direction_is_measured_as_if_it_were_alone(self, several: Analysis) -> None:
        measured = several.measurement
        assert measured.kinds == (
            *("gaussian", "gaussian", "update", "filterwise", "filterwise", "-update", "gradient"),
        )
        config = several.config.to_dict()
        for kind, rows in (("filterwise", [3, 4]), ("-update", [5])):
            alone = Analysis(Config(**{**config, "directions": kind})).measurement
            for name in ("relative_error", "cosine_similarity"):
                torch.testing.assert_close(
                    getattr(measured, name)[:, rows], getattr(alone, name), rtol=1e-6, atol=1e-12
                )

    def test_report_gives_each_kind_by_hand(self, several: Analysis) -> None:
        document = several.report.to_dict()
        rows = {"gaussian": [0, 1], "update": [2], "filterwise": [3, 4], "-update": [5]}
        for radius in ("0.01", "1.0"):
            found, pairs = document["metrics"][radius], document["pairs"][radius]
            assert list(found["by_kind"]) == [*rows, "gradient"]
            for kind, ks in rows.items():
                figures = found["by_kind"][kind]
                for name in ("relative_error", "cosine_similarity"):
                    values = [value for k in ks for value in pairs[name][k]]
                    assert figures[f"mean_{name}"] == pytest.approx(statistics.fmean(values))
                    assert figures[f"std_{name}"] == pytest.approx(statistics.pstdev(values))
                    whole = [value for row in pairs[name] for value in row]
                    assert found[f"mean_{name}"] == pytest.approx(statistics.fmean(whole))

    def test_report_is_read_back_exactly_and_keeps_the_schema(self, several: Analysis) -> None:
        document = json.loads(json.dumps(several.report.to_dict(), allow_nan=False))
        assert Report.from_dict(document) == several.report
        assert not list(Draft202012Validator(load_schema()).iter_errors(document))
        kinds = document["scope"]["directions"]["kinds"]
        assert [kind["count"] for kind in kinds] == [2, 1, 2, 1, 1]
        assert {"norm", "digest"} < kinds[1].keys()
        assert {"norm", "loss"} < kinds[4].keys()

    def test_update_predicts_the_base_from_the_checkpoint(
        self, tiny_checkpoint: Path, base_checkpoint: Path, several: Analysis
    ) -> None:
        """At r = ‖θ* − θ_base‖ along `-update` the perturbed model is the base: by hand."""
        norm = several.directions.describe()["directions"]["kinds"][1]["norm"]
        run = Analysis(
            Config(
                **{
                    **several.config.to_dict(),
                    "directions": "-update",
                    "radii": [norm],
                    "prompts": ["1+1="],
                }
            )
        )
        from transformers import AutoModelForCausalLM

        tuned, base = (
            AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").double()
            for path in (tiny_checkpoint, base_checkpoint)
        )
        ids = torch.tensor([run.probes.probes[0].token_ids])
        with torch.no_grad():
            true = base(ids).logits[0, -1] - tuned(ids).logits[0, -1]
        step = {
            name: base.get_parameter(name) - parameter
            for name, parameter in tuned.named_parameters()
        }

        def moved(t: float) -> Tensor:
            state = {name: p + t * step[name] for name, p in tuned.named_parameters()}
            with torch.no_grad():
                return torch.func.functional_call(tuned, state, (ids,)).logits[0, -1]

        predicted = (moved(1e-3) - moved(-1e-3)) / 2e-3
        expected = float((true - predicted).norm() / true.norm())
        assert run.report.radii[0].mean_relative_error == pytest.approx(expected, rel=1e-2)


def pairs(*rows: float) -> Tensor:
    return torch.tensor([[value, value] for value in rows], dtype=torch.float64)


class TestVerdict:
    KINDS = ("gaussian", "gaussian", "gaussian", "update")

    def judged(self, *errors: float, kinds: tuple[str, ...] = KINDS) -> RadiusFigures:
        error = pairs(*errors)
        return judge_radius(0.3, error, 1 - error / 100, LIMITS, kinds=kinds)

    def test_a_kind_does_not_hide_behind_the_others(self) -> None:
        found = self.judged(0.01, 0.01, 0.01, 0.5)
        assert found.mean_relative_error == pytest.approx(0.1325)
        assert not found.complies
        assert found.reason == "update: mean relative error 0.50 > 0.20"
        assert [kind.complies for kind in found.by_kind.values()] == [True, False]
        assert self.judged(0.01, 0.01, 0.01, 0.5, kinds=()).complies

    def test_all_that_break_a_limit_are_named(self) -> None:
        assert self.judged(0.3, 0.3, 0.3, 0.5).reason == (
            "gaussian: mean relative error 0.30 > 0.20; update: mean relative error 0.50 > 0.20"
        )

    def test_within_a_kind_it_is_the_mean_that_counts(self) -> None:
        found = self.judged(0.01, 0.01, 0.5, 0.1)
        assert found.complies
        assert found.reason is None

    def test_an_undefined_kind_is_named(self) -> None:
        found = self.judged(0.01, 0.01, 0.01, math.nan)
        assert found.reason == ("update: logits are not finite in 2 of 2 (direction, prompt) pairs")

    def test_one_kind_alone_gets_no_figures_of_its_own(self) -> None:
        found = self.judged(0.01, 0.3, kinds=("gaussian", "gaussian"))
        assert not found.by_kind
        assert "by_kind" not in found.to_dict()


class Quadratic(nn.Module):
    """Logits a·w + q (b·w)², whose ε along δ is known: see the test."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(40, generator=generator, dtype=torch.float64))
        self.a = torch.randn(40, generator=generator, dtype=torch.float64)
        self.b = torch.randn(40, generator=generator, dtype=torch.float64)

    def forward(self) -> Tensor:
        square = (self.w * self.b).sum() ** 2
        return torch.stack([(self.w * self.a).sum(), square])[None]


def test_each_kind_has_its_closed_form() -> None:
    model = Quadratic()
    vector = TensorVector("mine", "", {"w": model.b})
    directions = Directions(
        model, 2, kinds=["rademacher", "mine", "-mine"], vectors={"mine": vector}
    )
    radius = 0.7
    found = measure(model, model, directions, [radius], "float64")
    assert found.kinds == ("rademacher", "rademacher", "mine", "-mine")
    for k in range(4):
        delta = directions.tensor(k, "w").double()
        slope = 2 * (model.w @ model.b) * (model.b @ delta)
        bend = (model.b @ delta) ** 2
        true = torch.stack([radius * (model.a @ delta), radius * slope + radius**2 * bend])
        expected = float((radius**2 * bend / true.norm()).detach())
        assert float(found.relative_error[0, k, 0]) == pytest.approx(expected, rel=1e-6)


class TestRoundingOfOneKind:
    """A verdict on one kind that rounding could turn is settled, whatever the mean over all is."""

    def run(self, relative_error: float, precision: str = "auto") -> Measurement:
        generator = torch.Generator().manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        x = torch.randn(3, 8, generator=generator)
        directions = Directions(model, 1, kinds=["gaussian", "filterwise"])
        limits = Limits(relative_error, -1.0)
        return measure(model, lambda: model(x), directions, [3.0], precision, limits=limits)

    def test_in_the_measurement(self) -> None:
        errors = self.run(10.0, "float64").relative_error[0].mean(dim=-1)
        assert abs(errors[0] - errors[1]) > 0.01
        assert self.run(10.0).precision == ("float32",)
        for kind in range(2):
            assert self.run(float(errors[kind]) * (1 + 1e-9)).precision == ("float64",)

    def test_in_the_cache(self) -> None:
        from pytest_linearity.cache import _decides

        found = self.run(10.0)
        errors = found.relative_error[0].mean(dim=-1)
        findings = Findings(found, {}, {}, {}, {})
        for limit, decided in ((9.0, True), *((float(error), False) for error in errors)):
            config = Config(
                model_name_or_path="m", radii=[3.0], relerr_threshold=limit, cos_threshold=-1
            )
            assert _decides(findings, config) is decided


class TestReports:
    def test_show_each_kind(self, several: Analysis) -> None:
        result = Measured("gate.yaml", None, None, several.report)
        terminal, page = render(several.report, "t"), html([result])
        drawing = drawn_report(several.report, "d", prefix="p")
        for text in (terminal, drawing, markdown([result]).replace("\\", ""), page):
            for kind in ("gaussian", "update", "filterwise", "-update", "gradient"):
                assert kind in text
        assert render(several.report, "t", encoding="ascii").isascii()
        properties = dict(radius_properties(several.report.radii[1]))
        mean = several.report.radii[1].by_kind["-update"].mean_relative_error
        assert properties["mean_relative_error[-update]"] == json.dumps(mean)

    def test_show_nothing_new_for_one_kind(self, several: Analysis) -> None:
        alone = analyze(Config(**{**several.config.to_dict(), "directions": "gaussian"}))
        result = Measured("gate.yaml", None, None, alone)
        for text in (render(alone, "t"), markdown([result]).split("<details>")[0]):
            assert "gaussian" not in text
        assert not any("[" in name for name, _ in radius_properties(alone.radii[0]))


class TestCacheAndBaseline:
    @pytest.fixture
    def gate(
        self, pytester: pytest.Pytester, real_config: Write, base_checkpoint: Path
    ) -> dict[str, Any]:
        """Keys of a gate along an update and a file, both of which a test may change."""
        import shutil

        shutil.copytree(base_checkpoint, pytester.path / "base")
        state = load_file(base_checkpoint / "model.safetensors")
        save_file({n: torch.ones_like(t) for n, t in state.items()}, "d.safetensors")
        keys = {
            "directions": ["update", "file:d.safetensors"],
            "base_model_name_or_path": "base",
            "radii": [0.01],
            "relerr_threshold": 10,
            "cos_threshold": -1,
        }
        real_config(**keys)
        return keys

    def change(self, path: Path, name: str) -> None:
        state = load_file(path)
        state[name] = state[name] + 1
        save_file(state, path, metadata={"format": "pt"})

    def test_a_measurement_depends_on_base_and_file(
        self, pytester: pytest.Pytester, gate: dict[str, Any], real_config: Write
    ) -> None:
        def reused() -> bool:
            pytester.runpytest(GATE, "--linearity-cache").assert_outcomes(passed=2)
            report = json.loads((pytester.path / "linearity_report.json").read_text())
            return bool(report["environment"]["reused"])

        assert not reused()
        assert reused()
        (pytester.path / "base").rename(pytester.path / "moved")
        real_config(**{**gate, "base_model_name_or_path": "moved"})
        assert reused()
        self.change(pytester.path / "moved" / "model.safetensors", "model.norm.weight")
        assert not reused()
        self.change(pytester.path / "d.safetensors", "model.norm.weight")
        assert not reused()
        real_config(**{**gate, "base_model_name_or_path": "moved", "radius_unit": "relative"})
        assert not reused()
        assert reused()

    def test_a_baseline_is_of_the_same_directions(
        self, pytester: pytest.Pytester, gate: dict[str, Any], real_config: Write
    ) -> None:
        pytester.runpytest(GATE).assert_outcomes(passed=2)
        (pytester.path / "linearity_report.json").rename(pytester.path / "earlier.json")

        def refusal(**keys: Any) -> str:
            real_config(**{**gate, "baseline": "earlier.json", **keys})
            result = pytester.runpytest(GATE)
            assert result.ret == 4
            return "".join(result.errlines)

        real_config(**gate, baseline="earlier.json")
        assert pytester.runpytest(GATE).ret == 0
        assert "directions: ['update'] here" in refusal(directions=["update"])
        assert "radius_unit: relative here, absolute in" in refusal(radius_unit="relative")
        self.change(pytester.path / "d.safetensors", "model.norm.weight")
        said = refusal()
        assert "directions: file:d.safetensors is made of other files than in the baseline" in said
        assert "update is made" not in said
        self.change(pytester.path / "base" / "model.safetensors", "model.norm.weight")
        assert "update is made of other files" in refusal()

    def test_reports_from_before_the_keys_are_of_gaussian_directions(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        keys = {"radii": [0.01], "relerr_threshold": 10, "cos_threshold": -1}
        real_config(**keys)
        pytester.runpytest(GATE)
        earlier = json.loads((pytester.path / "linearity_report.json").read_text())
        for key in ("directions", "radius_unit"):
            del earlier["config"][key]
        del earlier["scope"]["norm"]
        (pytester.path / "earlier.json").write_text(json.dumps(earlier))
        real_config(**keys, baseline="earlier.json")
        assert pytester.runpytest(GATE).ret == 0


def test_several_checkpoints_may_share_a_base(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path, base_checkpoint: Path
) -> None:
    other = tiny_llama(pytester.path / "other", seed=8)
    real_config(
        model_name_or_path=[str(tiny_checkpoint), str(other)],
        directions="update",
        base_model_name_or_path=str(base_checkpoint),
        relerr_threshold=10,
        cos_threshold=-1,
    )
    pytester.runpytest("--linearity-config", "gate.yaml").assert_outcomes(passed=6)
    reports = [json.loads(path.read_text()) for path in pytester.path.glob("*.json")]
    kinds = [report["scope"]["directions"]["kinds"][0] for report in reports]
    assert len(kinds) == 2
    assert kinds[0]["digest"] == kinds[1]["digest"]
    assert kinds[0]["norm"] != kinds[1]["norm"]
