"""`pytest-linearity metrics`."""

from __future__ import annotations

import pytest

from pytest_linearity.cli import main
from pytest_linearity.numerics.metrics import registry
from pytest_linearity.numerics.metrics.registry import GROUP


class TestList:
    def test_names_formulas_and_good_sides(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["metrics"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("relative_error (smaller is better)\n    ε = ")
        assert "top1_agreement (larger is better)\n    1 where argmax" in text
        assert "kl (smaller is better)\n    D(p_true ‖ p_pred) = " in text
        assert "top_10_relative_error" in text

    def test_those_of_packages(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from pytest_linearity import Metric

        own = Metric("own", "own", "what I want", print, good="larger", limit=0.25)
        monkeypatch.setattr(registry, "installed_metrics", lambda: (own,))
        assert main(["metrics"]) == 0
        assert "own (larger is better, limit 0.25)\n    what I want\n" in capsys.readouterr().out

    def test_one_that_cannot_be_loaded(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from importlib.metadata import EntryPoint

        broken = EntryPoint("a", "no_such_module:b", GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda **_: [broken])
        assert main(["metrics"]) == 4
        captured = capsys.readouterr()
        assert captured.err.startswith("error: entry point a = no_such_module:b of ")
        assert not captured.out
