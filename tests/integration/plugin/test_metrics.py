"""Metrics from the YAML to the reports, and those that a project adds itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from pytest_linearity.report.json import load_schema
from pytest_linearity.verdict.document import Report
from tests.support.configs import small_config
from tests.support.fakes import HOOK
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"


def document(pytester: pytest.Pytester) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
    return found


@pytest.fixture(scope="module")
def checked(tiny_checkpoint: Path) -> Report:
    """The report of a config that names metrics, one of them with a limit."""
    from pytest_linearity.run.analysis import analyze

    config = small_config(
        tiny_checkpoint,
        prompts=["1+1=", "A longer one", "The sky is"],
        batch_size=1,
        radii=[0.1, 10.0],
        precision="auto",
        metrics=["top1_agreement", "top_5_relative_error", "relative_error"],
        limits={"kl": 1e-3},
    )
    return analyze(config)


class TestBuiltIn:
    def test_the_report_has_them_by_radius_and_by_pair(self, checked: Report) -> None:
        names = ["top1_agreement", "top_5_relative_error", "kl"]
        for radius in (0.1, 10.0):
            figures = checked.at(radius)
            assert list(figures.metrics) == names
            pairs = checked.pairs[str(radius)]
            assert list(pairs) == ["relative_error", "cosine_similarity", *names]
            for name in names:
                flat = [value for row in pairs[name] for value in row]
                assert len(flat) == 6
                assert figures.metrics[name].mean == pytest.approx(sum(flat) / 6, rel=1e-12)
        assert [checked.at(r).metrics["kl"].limit for r in (0.1, 10.0)] == [1e-3, 1e-3]
        assert checked.at(0.1).metrics["top1_agreement"].limit is None
        assert checked.at(0.1).complies
        assert not checked.at(10.0).metrics["kl"].complies
        assert "mean kl " in str(checked.at(10.0).reason)

    def test_prompts_are_in_their_own_order(self, checked: Report) -> None:
        """The top-k error of all logits is the relative error, pair by pair."""
        from pytest_linearity.config.config import Config
        from pytest_linearity.run.analysis import analyze

        whole = {**checked.config, "metrics": ["top_99999_relative_error"], "limits": None}
        for radius, pairs in analyze(Config(**whole)).pairs.items():
            ours, theirs = pairs["top_99999_relative_error"], pairs["relative_error"]
            for row, other in zip(ours, theirs, strict=True):
                assert row == pytest.approx(other, rel=1e-9), radius

    def test_the_report_is_read_back_exactly_and_keeps_the_schema(self, checked: Report) -> None:
        found = json.loads(json.dumps(checked.to_dict(), allow_nan=False))
        assert Report.from_dict(found) == checked
        assert Report.from_dict(found).to_dict() == checked.to_dict()
        assert not list(Draft202012Validator(load_schema()).iter_errors(found))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m.update(kl=3), "metrics.0.1.metrics.kl is not an object"),
            (lambda m: m["kl"].update(mean="x"), "metrics.0.1.metrics.kl.mean is 'x'"),
            (lambda m: m["kl"].update(good="big"), "metrics.0.1.metrics.kl.good is 'big'"),
            (lambda m: m["kl"].pop("limit"), "metrics.0.1.metrics.kl.limit is missing"),
            (lambda m: m.pop("kl"), "metrics.10.0.metrics are not those of the other radii"),
        ],
    )
    def test_a_report_with_other_entries_is_refused(
        self, change: Any, message: str, checked: Report
    ) -> None:
        found = json.loads(json.dumps(checked.to_dict()))
        change(found["metrics"]["0.1"]["metrics"])
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            Report.from_dict(found)
        if "other radii" not in message:
            assert list(Draft202012Validator(load_schema()).iter_errors(found))

    def test_nothing_of_it_is_in_a_report_that_has_none(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config()
        result = pytester.runpytest(GATE)
        assert result.ret == 0
        found = document(pytester)
        for radius, figures in found["metrics"].items():
            assert "metrics" not in figures
            assert list(found["pairs"][radius]) == ["relative_error", "cosine_similarity"]


class TestGate:
    @pytest.fixture
    def failed(self, pytester: pytest.Pytester, real_config: Write) -> pytest.RunResult:
        real_config(
            radii=[0.01, 3.0],
            relerr_threshold=100,
            cos_threshold=-1,
            metrics=["top1_agreement"],
            limits={"kl": 1e-6},
        )
        more = ("--junitxml=j.xml", "--linearity-markdown=s.md", "--linearity-html=r.html")
        return pytester.runpytest(GATE, *more)

    def test_a_limit_fails_its_radius_in_one_line(
        self, failed: pytest.RunResult, pytester: pytest.Pytester
    ) -> None:
        failed.assert_outcomes(passed=1, failed=2)
        reason = document(pytester)["metrics"]["3.0"]["metrics"]["kl"]["reason"]
        assert reason.startswith("mean kl 0.")
        assert reason.endswith("0.000001") or " > 0.00" in reason
        # Two directions are too few to be sure of it.
        said = f"{reason} at r=3.0 (linearity radius 0.01)"
        assert " (inconclusive: 95% interval [-0.0" in said
        assert said in failed.outlines

    def test_the_terminal_has_a_table_of_them(
        self, failed: pytest.RunResult, pytester: pytest.Pytester
    ) -> None:
        figures = document(pytester)["metrics"]["3.0"]["metrics"]
        kl, agreement = figures["kl"], figures["top1_agreement"]
        failed.stdout.fnmatch_lines(
            [
                "*top-1 agreement*kl*",
                "*radius*≤ 1e-06*",
                f"*3.0 *{agreement['mean']:.4f} ± {agreement['std']:.4f} *{kl['mean']:.4f} ±*",
            ]
        )

    def test_the_other_reports_have_them(
        self, failed: pytest.RunResult, pytester: pytest.Pytester
    ) -> None:
        kl = document(pytester)["metrics"]["3.0"]["metrics"]["kl"]
        markdown = (pytester.path / "s.md").read_text()
        assert "| top-1 agreement | kl ≤ 1e-06 | complies |" in markdown
        low, high = kl["interval"]
        interval = f"[{low:.4f}, {high:.4f}]"
        escaped = interval.replace("[", "\\[").replace("]", "\\]")
        cell = f"**{kl['mean']:.4f} ± {kl['std']:.4f}<br>{escaped}** | ❌ no, inconclusive |"
        assert cell in markdown
        page = (pytester.path / "r.html").read_text()
        assert "<th>kl <small>≤ 1e-06</small></th>" in page
        cell = f"{kl['mean']:.4f} ± {kl['std']:.4f}<small>{interval}</small>"
        assert f"<td>{cell}</td>" in page
        case = ElementTree.parse(pytester.path / "j.xml").find(".//testcase[@name='radius[3.0]']")
        assert case is not None
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        assert json.loads(str(properties["mean_kl"])) == kl["mean"]
        assert json.loads(str(properties["std_kl"])) == kl["std"]
        assert json.loads(str(properties["interval_kl"])) == kl["interval"]
        assert "metrics" not in properties

    def test_overrides_set_limits(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(metrics=["kl"])
        passing = pytester.runpytest(GATE)
        passing.assert_outcomes(passed=3)
        result = pytester.runpytest(GATE, "--linearity-set=limits.kl=-1")
        result.assert_outcomes(failed=3)

    def test_an_unknown_one_is_a_usage_error(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config(metrics=["klx"])
        result = pytester.runpytest(GATE)
        assert result.ret == 4
        result.stderr.fnmatch_lines(
            ["ERROR: gate.yaml: metrics: 'klx' is not a metric; known are relative_error, *"]
        )
        assert "Traceback" not in result.stderr.str()


class TestHook:
    def test_a_conftest_adds_metrics(self, pytester: pytest.Pytester, real_config: Write) -> None:
        pytester.makeconftest(HOOK)
        real_config(metrics=["largest_error"], limits={"largest_error": 1e-9})
        result = pytester.runpytest(GATE)
        result.assert_outcomes(failed=3)
        result.stdout.fnmatch_lines(["mean largest error 0.* > 0.* at r=0.1 (*"])
        figures = document(pytester)["metrics"]["0.1"]["metrics"]["largest_error"]
        assert figures["label"] == "largest error"
        assert 0 < figures["mean"] < 1

    def test_is_heard_only_for_what_is_not_built_in(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        pytester.makeconftest("def pytest_linearity_metrics(): raise SystemExit('asked')")
        real_config(metrics=["kl"], radii=[0.1])
        pytester.runpytest(GATE).assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("raise ValueError('of\\nmine')", "hook pytest_linearity_metrics: ValueError: of mine"),
            ("return ['kl']", "hook pytest_linearity_metrics: 'kl' is not a *Metric"),
            ("return 3", "hook pytest_linearity_metrics: 3 is not a pytest_linearity.Metric"),
            (
                "import pytest_linearity as p; return [p.Metric('A', 'a', 'a', print)]",
                "hook pytest_linearity_metrics: ValueError: 'A' is not a name of a metric*",
            ),
            (
                "import pytest_linearity as p; return p.Metric('kl', 'a', 'a', print)",
                "metric kl: the name is that of a built-in metric",
            ),
        ],
    )
    def test_that_goes_wrong_is_a_usage_error(
        self, body: str, message: str, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        pytester.makeconftest(f"def pytest_linearity_metrics(): {body}")
        write_config(metrics=["mine"])
        result = pytester.runpytest(GATE)
        assert result.ret == 4
        errors = [line for line in result.errlines if line.strip()]
        assert len(errors) == 1
        result.stderr.fnmatch_lines([f"ERROR: {message}"])

    def test_a_function_that_goes_wrong_fails_its_radii(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        pytester.makeconftest(HOOK.replace(".amax(-1)", ".nothing()"))
        real_config(metrics=["largest_error"], radii=[0.1])
        result = pytester.runpytest(GATE)
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(
            ["largest_error raised AttributeError: * in 4 of 4 (direction, prompt) pairs at r=0.1*"]
        )
        assert document(pytester)["metrics"]["0.1"]["metrics"]["largest_error"]["mean"] is None
        result.stdout.no_fnmatch_line("*Traceback*")


class TestCache:
    CACHED = (GATE, "--linearity-cache")

    @pytest.fixture
    def measured(self, monkeypatch: pytest.MonkeyPatch, imported: None) -> list[int]:
        """An entry for every measurement."""
        from pytest_linearity.run import measuring

        measure, times = measuring.measure_with, []

        def spy(*arguments: Any, **options: Any) -> Any:
            times.append(1)
            return measure(*arguments, **options)

        monkeypatch.setattr(measuring, "measure_with", spy)
        return times

    def run(self, pytester: pytest.Pytester, real_config: Write, **keys: Any) -> dict[str, Any]:
        real_config(num_directions=1, radii=[0.1], **keys)
        pytester.runpytest(*self.CACHED)
        return document(pytester)

    def test_limits_are_judged_anew(
        self, pytester: pytest.Pytester, real_config: Write, measured: list[int]
    ) -> None:
        first = self.run(pytester, real_config, metrics=["kl", "top1_agreement"])
        again = self.run(pytester, real_config, metrics=["top1_agreement"], limits={"kl": -1})
        assert len(measured) == 1
        assert again["environment"]["reused"] is True
        one, two = (found["metrics"]["0.1"]["metrics"]["kl"] for found in (first, again))
        assert (one["mean"], one["noise_floor"]) == (two["mean"], two["noise_floor"])
        assert one["complies"]
        assert not two["complies"]
        assert first["pairs"]["0.1"]["kl"] == again["pairs"]["0.1"]["kl"]

    def test_another_metric_is_measured(
        self, pytester: pytest.Pytester, real_config: Write, measured: list[int]
    ) -> None:
        for times, keys in enumerate(
            [{}, {"metrics": ["kl"]}, {"metrics": ["top_2_relative_error"]}, {"metrics": []}], 1
        ):
            self.run(pytester, real_config, **keys)
            assert len(measured) == min(times, 3)

    def test_a_limit_that_rounding_could_turn_is_settled(
        self, pytester: pytest.Pytester, real_config: Write, measured: list[int]
    ) -> None:
        keys = {"precision": "auto", "metrics": ["kl"]}
        figures = self.run(pytester, real_config, **keys)["metrics"]["0.1"]
        near = {**keys, "limits": {"kl": figures["metrics"]["kl"]["mean"] * (1 + 1e-9)}}
        if figures["precision"] == "float32":
            self.run(pytester, real_config, **near)
            assert len(measured) == 2
        self.run(pytester, real_config, **{**keys, "limits": {"kl": 1.0}})
        assert len(measured) <= 2

    def test_metrics_of_others_are_never_reused(
        self, pytester: pytest.Pytester, real_config: Write, measured: list[int]
    ) -> None:
        pytester.makeconftest(HOOK)
        for times in (1, 2):
            self.run(pytester, real_config, metrics=["largest_error"])
            assert len(measured) == times
