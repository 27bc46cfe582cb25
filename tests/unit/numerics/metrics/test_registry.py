"""Metrics by name: what is found, what is refused, and where others come from."""

from __future__ import annotations

import math
import re
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from pytest_linearity import Config, Metric, find_metric, load_config
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.metrics import registry
from pytest_linearity.numerics.metrics.registry import choose

KNOWN = (
    "relative_error, cosine_similarity, kl, top1_agreement, symmetric_relative_error, "
    "top_<k>_relative_error (as top_10_relative_error)"
)


def metric(name: str = "largest", **fields: Any) -> Metric:
    def largest(change: Any, predicted: Any, baseline: Any) -> Any:
        return (change - predicted).abs().amax(-1)

    defaults = {"label": "largest error", "about": "max |Δ_true − Δ_pred|", "function": largest}
    return Metric(name=name, **{**defaults, **fields})


LARGEST = metric()


def config(**keys: Any) -> Config:
    return Config(model_name_or_path="a", metric_source=lambda: [LARGEST], **keys)


class TestMetric:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"name": "Top"}, "not a name"),
            ({"name": ""}, "not a name"),
            ({"name": "a b"}, "not a name"),
            ({"name": 3}, "not a name"),
            ({"label": ""}, "label is '', not a line of text"),
            ({"label": "a\nb"}, "not a line of text"),
            ({"about": None}, "about is None"),
            ({"function": "kl"}, "function is 'kl', not a function"),
            ({"good": "big"}, "good is 'big', neither smaller nor larger"),
            ({"limit": math.nan}, "limit is nan"),
            ({"limit": math.inf}, "limit is inf"),
        ],
    )
    def test_refuses_what_cannot_be(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            metric(**fields)

    def test_keeps_a_limit_on_its_good_side(self) -> None:
        small, large = metric(), metric(good="larger")
        assert [small.keeps(0.5, mean) for mean in (0.4, 0.5, 0.6)] == [True, True, False]
        assert [large.keeps(0.5, mean) for mean in (0.4, 0.5, 0.6)] == [False, True, True]


class TestNames:
    @pytest.mark.parametrize("name", ["klx", "top_k_relative_error", "top_0_relative_error", "KL"])
    def test_an_unknown_one_lists_the_known(self, name: str) -> None:
        with pytest.raises(ValueError, match=re.escape(f"{name!r} is not a metric; known are ")):
            find_metric(name)
        for key, value in (("metrics", [name]), ("limits", {name: 1.0})):
            with pytest.raises(ConfigError) as caught:
                config(**{key: value})
            assert str(caught.value) == (
                f"{key}: {name!r} is not a metric; known are {KNOWN}, largest"
            )

    @pytest.mark.parametrize("name", ["top_07_relative_error", "top_1٣_relative_error", "top_1_"])
    def test_a_number_is_written_in_one_way(self, name: str) -> None:
        with pytest.raises(ValueError, match="is not a metric"):
            find_metric(name)

    def test_others_are_asked_only_for_what_is_not_built_in(self) -> None:
        def source() -> list[Metric]:
            raise AssertionError("asked")

        names = ("kl", "relative_error", "top_3_relative_error")
        assert [m.name for m in choose(names, source)] == ["kl", "top_3_relative_error"]
        with pytest.raises(AssertionError, match="asked"):
            choose(["largest"], source)

    def test_a_name_that_is_taken(self) -> None:
        for name in ("kl", "cosine_similarity", "top_4_relative_error"):
            with pytest.raises(ConfigError, match=f"metric {name}: the name is that of a built-in"):
                find_metric("largest", lambda name=name: [LARGEST, metric(name)])
        with pytest.raises(ConfigError, match="metric largest: two different metrics"):
            find_metric("largest", lambda: [LARGEST, metric()])
        assert find_metric("largest", lambda: [LARGEST, LARGEST]) is LARGEST


class TestConfig:
    def test_names_and_limits_are_computed_once_each_in_order(self) -> None:
        parsed = config(
            metrics=["top1_agreement", "relative_error", "kl"], limits={"largest": 2, "kl": "0.05"}
        )
        assert [m.name for m in parsed.chosen_metrics] == ["top1_agreement", "kl", "largest"]
        assert parsed.metric_limits == {"largest": 2.0, "kl": 0.05}
        assert parsed.to_dict()["limits"] == {"largest": 2.0, "kl": 0.05}

    def test_by_default_there_are_none(self) -> None:
        parsed = config()
        assert parsed.metrics == ()
        assert parsed.limits is None
        assert parsed.chosen_metrics == ()
        assert parsed.metric_limits == {}

    def test_a_limit_of_its_own_holds_unless_another_is_set(self) -> None:
        limited = metric(limit=3.0)

        def limits(**keys: Any) -> dict[str, float]:
            keys = {"metrics": "largest", **keys}
            return Config(
                model_name_or_path="a", metric_source=lambda: [limited], **keys
            ).metric_limits

        assert limits() == {"largest": 3.0}
        assert limits(limits={"largest": 4}) == {"largest": 4.0}
        assert limits(limits={"largest": None}) == {}

    @pytest.mark.parametrize(
        ("name", "key"),
        [("relative_error", "relerr_threshold"), ("cosine_similarity", "cos_threshold")],
    )
    def test_the_two_old_limits_have_keys_of_their_own(self, name: str, key: str) -> None:
        with pytest.raises(ConfigError, match=f"^limits: {name} has a key of its own .*: {key}$"):
            config(limits={name: 0.1})

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"metrics": ["kl", "kl"]}, "metrics: 'kl' is repeated"),
            ({"metrics": [1]}, "metrics: 1 is not text"),
            ({"metrics": {"kl": 1}}, "metrics: {'kl': 1} is not text"),
            ({"limits": ["kl"]}, "limits: ['kl'] is not a mapping"),
            ({"limits": {"kl": "much"}}, "limits: kl: 'much' is not a finite number"),
            ({"limits": {"kl": math.nan}}, "limits: kl: nan is not a finite number"),
            ({"limits": {1: 1}}, "limits: 1 is not text"),
        ],
    )
    def test_refuses_other_values(self, keys: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
            config(**keys)

    def test_from_yaml_with_overrides(self, tmp_path: Any) -> None:
        path = tmp_path / "gate.yaml"
        path.write_text("model_name_or_path: a\nmetrics: [kl]\nlimits: {kl: 5.0e-2}\n")
        assert load_config(path).metric_limits == {"kl": 0.05}
        overrides = ["limits.kl=0.1", "limits.top1_agreement=0.9"]
        limits = load_config(path, overrides).metric_limits
        assert limits == {"kl": 0.1, "top1_agreement": 0.9}


class TestEntryPoints:
    @pytest.fixture
    def declared(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Entry points as packages declare them: what each one refers to."""
        targets: list[str] = []

        def entry_points(*, group: str) -> list[EntryPoint]:
            return [EntryPoint(f"e{i}", target, group) for i, target in enumerate(targets)]

        monkeypatch.setattr(registry, "entry_points", entry_points)
        return targets

    def test_give_one_metric_or_several(self, declared: list[str]) -> None:
        declared += [f"{__name__}:LARGEST", f"{__name__}:SEVERAL"]
        assert find_metric("largest") is LARGEST
        parsed = Config(model_name_or_path="a", metrics=["second"], limits={"largest": 1.0})
        assert [m.name for m in parsed.chosen_metrics] == ["second", "largest"]

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no_such_module:x", "cannot be loaded: ModuleNotFoundError: No module named"),
            (f"{__name__}:nothing", "cannot be loaded: AttributeError"),
            (f"{__name__}:KNOWN", "is not a pytest_linearity.Metric"),
            (f"{__name__}:CLASHING", "metric kl: the name is that of a built-in metric"),
        ],
    )
    def test_that_cannot_be_used(self, target: str, message: str, declared: list[str]) -> None:
        declared.append(target)
        with pytest.raises(ConfigError) as caught:
            find_metric("mine")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        if "Metric" in message or "loaded" in message:
            assert str(caught.value).startswith(
                f"entry point e0 = {target} of pytest_linearity.metrics: "
            )
        assert find_metric("kl").name == "kl"  # which nobody else is asked for


SEVERAL = [LARGEST, metric("second")]
CLASHING = (metric("kl"),)
