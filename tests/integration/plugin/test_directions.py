"""Directions of several kinds in a run: figures, verdict, reports, cache, baseline."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_linearity.config.config import Config
from pytest_linearity.report.html.page import html
from pytest_linearity.report.json import load_schema
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.plot import report_drawing
from pytest_linearity.report.results import Result
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.report import render
from pytest_linearity.run.analysis import Analysis, analyze
from pytest_linearity.verdict.document import Report
from tests.support.checkpoints import tiny_llama
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"


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
        ids = torch.tensor([run.subject.probes.probes[0].token_ids])
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


class TestReports:
    def test_show_each_kind(self, several: Analysis) -> None:
        result = Result("gate.yaml", None, None, several.report)
        terminal, page = render(several.report, "t"), html([result])
        drawing = report_drawing(several.report).svg("d", prefix="p")
        for text in (terminal, drawing, markdown([result]).replace("\\", ""), page):
            for kind in ("gaussian", "update", "filterwise", "-update", "gradient"):
                assert kind in text
        assert render(several.report, "t", Style(encoding="ascii")).isascii()
        properties = dict(radius_properties(several.report.radii[1]))
        mean = several.report.radii[1].by_kind["-update"].mean_relative_error
        assert properties["mean_relative_error[-update]"] == json.dumps(mean)

    def test_show_nothing_new_for_one_kind(self, several: Analysis) -> None:
        alone = analyze(Config(**{**several.config.to_dict(), "directions": "gaussian"}))
        result = Result("gate.yaml", None, None, alone)
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
            "update_gate": False,
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
        update_gate=False,
        relerr_threshold=10,
        cos_threshold=-1,
    )
    pytester.runpytest("--linearity-config", "gate.yaml").assert_outcomes(passed=6)
    reports = [json.loads(path.read_text()) for path in pytester.path.glob("*.json")]
    kinds = [report["scope"]["directions"]["kinds"][0] for report in reports]
    assert len(kinds) == 2
    assert kinds[0]["digest"] == kinds[1]["digest"]
    assert kinds[0]["norm"] != kinds[1]["norm"]


def test_refusals_are_usage_errors(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path
) -> None:
    for keys, message in (
        ({"directions": "updat"}, "directions: 'updat' is not one of gaussian, rademacher, layer"),
        ({"directions": "update"}, "base_model_name_or_path: is missing: the direction update"),
        (
            {"directions": "update", "base_model_name_or_path": str(tiny_checkpoint)},
            "equals the checkpoint in every parameter in scope",
        ),
        ({"directions": "file:none.safetensors"}, "'none.safetensors': there is no such file"),
        ({"directions": "filterwise", "param_scope": "norms"}, "none is in scope"),
    ):
        real_config(**keys)
        result = pytester.runpytest("--linearity-config", "gate.yaml")
        assert result.ret == 4
        (line,) = [line for line in result.errlines if line]
        assert message in line
        assert not list(pytester.path.glob("*.json"))
