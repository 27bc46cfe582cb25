"""Directions of several kinds in a run, and relative radii: figures, verdict, reports, cache."""

from __future__ import annotations

import json
import math
import statistics
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tiny_llama
from conftest import Write
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.analysis import Analysis, analyze
from pytest_linearity.config import Config, ConfigWarning, load_config
from pytest_linearity.errors import ConfigError
from pytest_linearity.radius_unit import absolute_radii, in_unit
from pytest_linearity.refinement import Refinement
from pytest_linearity.report.document import RadiusFigures, Report
from pytest_linearity.report.html import html
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Measured
from pytest_linearity.report.schema import load_schema
from pytest_linearity.report.terminal import render
from pytest_linearity.vectors.tensors import TensorVector
from pytest_linearity.verdict import Limits, judge_radius

GATE = "--linearity-config=gate.yaml"
LIMITS = Limits(0.2, 0.95)


@pytest.fixture(scope="session")
def base_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "base", seed=3, tokenizer=False)


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


@pytest.fixture(scope="module")
def both(tiny_checkpoint: Path) -> tuple[Report, Report, float]:
    """The same steps in either unit, and the norm by hand."""
    state = load_file(tiny_checkpoint / "model.safetensors")
    chosen = {n: t.double() for n, t in state.items() if "mlp" in n}
    norm = math.sqrt(sum(float((t * t).sum()) for t in chosen.values()))
    keys: dict[str, Any] = {
        "model_name_or_path": str(tiny_checkpoint),
        "prompts": ["1+1=", "The sky is"],
        "num_directions": 2,
        "param_scope": "mlp",
        "precision": "float64",
    }
    relative = analyze(Config(**keys, radius_unit="relative", radii=[0.01, 0.1]))
    absolute = analyze(Config(**keys, radii=[0.01 * norm, 0.1 * norm]))
    return relative, absolute, norm


class TestRelativeRadii:
    def test_are_parts_of_the_norm_of_the_scope(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert relative.scope["norm"] == pytest.approx(norm, rel=1e-12)
        for mine, theirs in zip(relative.radii, absolute.radii, strict=True):
            for name in ("mean_relative_error", "mean_cosine_similarity"):
                assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-6)

    def test_report_gives_both(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert list(relative.to_dict()["metrics"]) == ["0.01", "0.1"]
        for report in (relative, absolute):
            for figures, part in zip(report.radii, (0.01, 0.1), strict=True):
                assert figures.radius_relative == pytest.approx(part)
                assert figures.radius_absolute == pytest.approx(part * norm)
            document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
            assert Report.from_dict(document) == report
            assert not list(Draft202012Validator(load_schema()).iter_errors(document))

    def test_linearity_radius_is_in_the_unit(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert relative.linearity_radius == 0.1
        assert absolute.linearity_radius == pytest.approx(0.1 * norm)

    def test_tables_say_so(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        unit = f"of norm {norm:.4g}"
        for show in (
            lambda report: render(report, "t"),
            lambda report: markdown([Measured("t", None, None, report)]),
            lambda report: html([Measured("t", None, None, report)]),
        ):
            assert unit in show(relative)
            assert "of norm" not in show(absolute)

    def test_junit_gives_the_step_only_where_it_is_another(
        self, both: tuple[Report, Report, float]
    ) -> None:
        relative, absolute, norm = both
        step = dict(radius_properties(relative.radii[1]))["radius_absolute"]
        assert float(str(step)) == pytest.approx(0.1 * norm)
        assert "radius_absolute" not in dict(radius_properties(absolute.radii[1]))

    def test_names_of_tests_are_the_configured_numbers(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(radius_unit="relative", radii=[0.001], relerr_threshold=0.001)
        result = pytester.runpytest(GATE, "--junitxml=j.xml", "-v")
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(
            ["*gate.yaml::radius?0.001? FAILED*", "*radius*relative error*"]
        )
        result.stdout.fnmatch_lines(["*mean relative error * at r=0.001 (linearity radius none)"])
        names = {
            str(entry.get("name")) for entry in ElementTree.parse(pytester.path / "j.xml").iter()
        }
        assert {"radius[0.001]", "radius_absolute"} <= names

    @pytest.mark.parametrize("norm", [0.0, 1e300, math.inf, 1e-320])
    def test_a_norm_that_gives_no_step_is_refused(self, norm: float) -> None:
        with pytest.raises(
            ConfigError, match=r"^radius_unit: relative: 1.* of the norm .* no step"
        ):
            absolute_radii([1e-10, 1e10], "relative", norm)

    def test_what_is_measured_in_radii_is_converted(self) -> None:
        model = Quadratic()
        measured = measure(
            model, model, Directions(model, 1), [0.5, 2.0], "float64", second_order=True
        )
        bracket = Refinement(0.5, 0.75, (1.0, 0.75))
        from dataclasses import replace

        found = in_unit(replace(measured, refinement=bracket), [0.1, 0.4])
        assert found.radii == (0.1, 0.4)
        assert measured.curvature_ratio is not None
        assert found.curvature_ratio is not None
        # κr is a number without unit.
        torch.testing.assert_close(found.curvature_ratio * 0.4, measured.curvature_ratio * 2.0)
        assert found.refinement is not None
        assert found.refinement.low == 0.1  # exactly the tested radius
        assert found.refinement.high == pytest.approx(0.15)
        assert found.refinement.evaluated == pytest.approx((0.2, 0.15))


class TestReports:
    def test_show_each_kind(self, several: Analysis) -> None:
        result = Measured("gate.yaml", None, None, several.report)
        terminal, page = render(several.report, "t"), html([result])
        for text in (terminal, markdown([result]).replace("\\", ""), page):
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


class TestConfig:
    @pytest.mark.parametrize(
        ("given", "kinds"),
        [
            ("rademacher", ("rademacher",)),
            (["gaussian", "update"], ("gaussian", "update")),
            (["-update", "-gradient"], ("-update", "-gradient")),
            ("file:a/b c.safetensors", ("file:a/b c.safetensors",)),
            (None, ("gaussian",)),
        ],
    )
    def test_kinds(self, given: Any, kinds: tuple[str, ...]) -> None:
        config = Config(model_name_or_path="m", directions=given, base_model_name_or_path="b")
        assert config.directions == kinds
        assert config.to_dict()["directions"] == list(kinds)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("gaus", r"'gaus' is not one of gaussian, rademacher, layerwise, filterwise, update, "),
            (["gaussian", "gaussian"], r"'gaussian' is repeated"),
            ([], r"is an empty list: name at least one of gaussian"),
            ("-gaussian", r"'-gaussian': the opposite of a random direction is just another one"),
            ("--update", r"'--update' is not one of gaussian"),
            ("file:a.bin", r"'file:a.bin' names no .safetensors file"),
            ("file:", r"'file:' names no .safetensors file"),
            (3, r"3 is not text"),
            ([None], r"None is not text"),
            ({"gaussian": 1}, r"is not text"),
            ("file:\0.safetensors", r"holds a control character"),
        ],
    )
    def test_refusals(self, given: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=rf"^directions: .*{message}"):
            Config(model_name_or_path="m", directions=given)

    def test_update_needs_a_base(self) -> None:
        for kinds in ("update", ["gaussian", "-update"]):
            with pytest.raises(ConfigError, match=r"^base_model_name_or_path: is missing"):
                Config(model_name_or_path="m", directions=kinds)

    def test_a_base_without_update_is_warned_about(self, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_text("model_name_or_path: m\nbase_model_name_or_path: b\n")
        with pytest.warns(ConfigWarning, match=r"base_model_name_or_path has no effect without"):
            load_config(path)

    def test_radius_unit(self) -> None:
        with pytest.raises(ConfigError, match=r"^radius_unit: 'norm' is not one of absolute, rel"):
            Config(model_name_or_path="m", radius_unit="norm")


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
