"""Steps in pictures: the update and kinds in one panel, learning rates, lengths over training."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from pytest_linearity.report.alternatives import described, described_series
from pytest_linearity.report.html.page import html
from pytest_linearity.report.plot import report_drawing, series_drawing
from pytest_linearity.report.results import Result
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.units import in_all_units
from pytest_linearity.verdict.update_figures import UpdateFigures
from tests.support import kinds, reports

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS: dict[str, kinds.Errors] = {
    "gaussian": {0.1: [[0.03, 0.03]] * 2, 1.0: [[0.3, 0.3]] * 2},
    "optimizer": {0.01: [[0.1, 0.1]], 0.1: [[0.9, 0.9]]},
}
OUTSIDE: dict[str, Any] = {
    "norm": 40.0,
    "mean_relative_error": 0.41,
    "mean_cosine_similarity": 0.9,
    "complies": False,
    "complying_length": 14.0,
    "failing_length": 14.6,
    "in_linearity_radii": 2.8,
}
RATES = {"learning_rate": 1e-5, "peak_learning_rate": 3e-5}


def report(
    errors: dict[str, kinds.Errors] = ERRORS,
    unit_length: float = 1.0,
    optimizer_norm: float | None = 500.0,
    rates: dict[str, float] = RATES,
    update: dict[str, Any] | None = OUTSIDE,
    **keys: Any,
) -> Report:
    vectors = {kind: {"norm": 500.0, **rates} for kind in errors if "optimizer" in kind}
    plain = kinds.report(errors, vectors=vectors, keys=keys)
    scope = {**plain.scope, "norm": 45.0, "unit_length": unit_length}
    if optimizer_norm is not None:
        scope["optimizer_norm"] = optimizer_norm
    return replace(
        plain,
        scope=scope,
        radii=tuple(in_all_units(figures, scope) for figures in plain.radii),
        update=None if update is None else UpdateFigures("base", **update),
    )


def along_gaussian(**more: Any) -> Report:
    only: dict[str, kinds.Errors] = {"gaussian": ERRORS["gaussian"]}
    return report(only, optimizer_norm=None, **more)


def drawn(measured: Report) -> Figure:
    from pytest_linearity.report.plot.palette import PRINT
    from pytest_linearity.report.plot.radii import draw_report

    return draw_report(measured, PRINT)


def over_training(series: Sequence[Result]) -> Figure:
    from pytest_linearity.report.plot.palette import PRINT
    from pytest_linearity.report.plot.series import draw_series

    return draw_series(series, PRINT)


def series_axes(series: Sequence[Result]) -> list[Axes]:
    return over_training(series).axes


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in axes.get_lines()
    }


def title(axes: Axes) -> str:
    """On whichever side the style puts it."""
    return axes.get_title("left") + axes.get_title("center")


def panel(measured: Report, heading: str) -> Axes | None:
    found = [axes for axes in drawn(measured).axes if heading in title(axes)]
    return found[0] if found else None


class TestKindsInOnePanel:
    def test_each_kind_is_a_line_at_its_own_radii(self) -> None:
        axes = panel(report(), "along each kind")
        assert axes is not None
        points = lines(axes)
        assert points["along gaussian"] == [(0.1, pytest.approx(0.03)), (1.0, pytest.approx(0.3))]
        assert points["along optimizer"] == [
            (0.01, pytest.approx(0.1)),
            (0.1, pytest.approx(0.9)),
        ]
        assert sorted(points["does not comply"]) == [
            (0.1, pytest.approx(0.9)),
            (1.0, pytest.approx(0.3)),
        ]
        assert {y for _, y in points["limit"]} == {0.2}

    @pytest.mark.parametrize("unit_length", [1.0, 45.0])
    def test_the_update_is_a_point_at_its_norm(self, unit_length: float) -> None:
        axes = panel(along_gaussian(unit_length=unit_length), "at the update")
        assert axes is not None
        points = lines(axes)
        assert points["update, norm 40 (does not comply)"] == [(40 / unit_length, 0.41)]
        assert "along gaussian" in points
        low, high = axes.get_xlim()
        assert low < 40 / unit_length < high
        assert low < 0.1

    def test_the_band_lies_between_the_ends_of_the_crossing(self) -> None:
        axes = panel(along_gaussian(unit_length=2.0), "at the update")
        assert axes is not None
        [band] = [p for p in axes.patches if "crossed along the update" in str(p.get_label())]
        box = band.get_extents().transformed(axes.transData.inverted())
        assert (box.x0, box.x1) == (pytest.approx(7.0), pytest.approx(7.3))

    def test_a_crossing_beyond_the_update_is_on_the_axis(self) -> None:
        inside = {**OUTSIDE, "complies": True, "complying_length": 5e3, "failing_length": 5.1e3}
        axes = panel(along_gaussian(update=inside), "at the update")
        assert axes is not None
        assert axes.get_xlim()[1] > 5.1e3

    def test_a_crossing_that_is_not_bracketed_has_no_band(self) -> None:
        inside = {**OUTSIDE, "complies": True, "complying_length": 50.0, "failing_length": None}
        axes = panel(along_gaussian(update=inside), "at the update")
        assert axes is not None
        assert not [p for p in axes.patches if "crossed" in str(p.get_label())]
        assert "update, norm 40 (complies)" in lines(axes)
        assert axes.get_xlim()[1] > 50

    def test_undefined_figures_are_marked(self) -> None:
        update = {"norm": 40.0, "complies": False, "reason": "not finite"}
        axes = panel(along_gaussian(update=update), "at the update")
        assert axes is not None
        assert lines(axes)["update, norm 40 (undefined)"] == [(40.0, 0.95)]

    @pytest.mark.parametrize(
        "measured",
        [
            along_gaussian(update=None),
            along_gaussian(update={"norm": None, "reason": "another shape"}),
            along_gaussian(update={**OUTSIDE, "norm": 0.0}),
            reports.report(),
        ],
    )
    def test_what_says_nothing_of_an_update_looks_as_before(self, measured: Report) -> None:
        assert len(drawn(measured).axes) == 2

    def test_kinds_with_limits_of_their_own_share_none(self) -> None:
        axes = panel(report(relerr_threshold={"gaussian": 0.3, "optimizer": 0.5}), "each kind")
        assert axes is not None
        assert "limit" not in lines(axes)

    def test_paths_that_end_alike_are_two_lines(self) -> None:
        end = "x" * 30 + ".safetensors"
        named = {f"file:{place}/{end}": ERRORS["gaussian"] for place in "ab"}
        axes = panel(report(named, optimizer_norm=None), "each kind")
        assert axes is not None
        assert {f"along {kind}" for kind in named} <= set(lines(axes))

    def test_a_path_in_the_legend_is_no_mathematics(self, tmp_path: Path) -> None:
        named = {"gaussian": ERRORS["gaussian"], "file:$x_1$.safetensors": ERRORS["optimizer"]}
        measured = report(named, optimizer_norm=None)
        report_drawing(measured).save(tmp_path / "plot.svg")
        [legend] = drawn(measured).legends
        assert not any(entry.get_parse_math() for entry in legend.get_texts())


class TestLearningRates:
    def test_radii_become_rates_and_the_largest_of_the_run_is_a_line(self) -> None:
        axes = panel(report(), "over the learning rate")
        assert axes is not None
        points = lines(axes)
        assert points["largest learning rate of the run, 3e-05"] == [(3e-5, 0.0), (3e-5, 1.0)]
        [curve] = [line for label, line in points.items() if label.startswith("_child")]
        assert curve == [
            (pytest.approx(0.01 / 500), pytest.approx(0.1)),
            (pytest.approx(0.1 / 500), pytest.approx(0.9)),
        ]
        assert points["does not comply"] == [(pytest.approx(0.1 / 500), pytest.approx(0.9))]
        assert axes.get_xlabel() == "learning rate"

    @pytest.mark.parametrize("used", [1e-9, 0.5])
    def test_a_rate_beyond_the_radii_is_on_the_axis(self, used: float) -> None:
        axes = panel(report(rates={"peak_learning_rate": used}), "over the learning rate")
        assert axes is not None
        low, high = axes.get_xlim()
        assert low < min(used, 2e-5)
        assert high > max(used, 2e-4)
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert ("1e-09" if used < 1 / 2 else "1e-01") in names

    def test_radii_that_are_rates(self) -> None:
        errors: dict[str, kinds.Errors] = {"optimizer": {1e-5: [[0.1]], 1e-4: [[0.9]]}}
        measured = report(errors, unit_length=500.0, radius_unit="learning_rate")
        axes = panel(measured, "over the learning rate")
        assert axes is not None
        [curve] = [line for label, line in lines(axes).items() if label.startswith("_child")]
        assert [x for x, _ in curve] == [pytest.approx(1e-5), pytest.approx(1e-4)]
        assert drawn(measured).axes[-1].get_xlabel() == "radius r, as a learning rate"

    def test_without_a_noted_rate_there_is_no_line(self) -> None:
        axes = panel(report(rates={}), "over the learning rate")
        assert axes is not None
        assert not any("of the run" in label for label in lines(axes))

    def test_without_the_optimizers_step_there_is_no_such_panel(self) -> None:
        assert panel(along_gaussian(), "learning rate") is None
        assert panel(report(optimizer_norm=None), "learning rate") is None


class TestSeries:
    def series(self, **more: Any) -> list[Result]:
        return [
            Result(
                "gate.yaml",
                f"checkpoint-{step}",
                step,
                report(
                    optimizer_norm=500.0 * step,
                    rates={"learning_rate": 1e-5 / step, "peak_learning_rate": 3e-5},
                    update={**OUTSIDE, "norm": 0.5 * step},
                    **more,
                ),
            )
            for step in (1, 2)
        ]

    @pytest.mark.parametrize("unit_length", [1.0, 20.0])
    def test_lengths_are_in_the_unit_of_the_radii(self, unit_length: float) -> None:
        for axes in series_axes(self.series(unit_length=unit_length))[::3]:  # of both kinds
            points = lines(axes)
            # 500 n at 1e-5 / n: a step of 0.005 each time.
            assert points["step of the optimizer"] == [
                (step, pytest.approx(0.005 / unit_length)) for step in (1.0, 2.0)
            ]
            assert points["norm of the update"] == [
                (step, pytest.approx(0.5 * step / unit_length)) for step in (1.0, 2.0)
            ]
            low, high = axes.get_ylim()
            assert low < 0.005 / unit_length
            assert high > 1.0 / unit_length
            assert "lengths of steps" in title(axes)

    def test_a_checkpoint_without_them_leaves_a_gap(self) -> None:
        first, second = self.series()
        bare = replace(second, report=replace(report(rates={}), update=None))
        points = lines(series_axes([first, bare])[0])
        assert math.isnan(points["step of the optimizer"][1][1])
        assert math.isnan(points["norm of the update"][1][1])

    def test_other_series_look_as_before(self) -> None:
        assert not {"step of the optimizer", "norm of the update"} & set(
            lines(series_axes(reports.series())[0])
        )

    def test_the_legend_is_beside_the_data(self) -> None:
        figure = over_training(self.series())
        figure.draw_without_rendering()
        axes = figure.axes[0]
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().x0 >= axes.get_window_extent().x1


class TestWords:
    def test_say_what_the_pictures_show(self) -> None:
        said = described(Result("gate.yaml", None, None, report()))
        assert "relative error along gaussian, optimizer in one panel" in said
        assert "the fine-tune moved 40, 2.8 times its linearity radius" in said
        assert "over the learning rate, with the run's largest, 3e-05, as a line" in said
        plain = described(Result("gate.yaml", None, None, reports.report()))
        assert plain == "relative error and cosine similarity of gate.yaml over the radii"
        assert described_series(TestSeries().series()).endswith(
            "of gate.yaml, with the length of the optimizer's step, with the norm of the update"
        )

    def test_are_in_the_page_and_colours_are_left_to_it(self) -> None:
        page = html(TestSeries().series())
        assert "with the run&#39;s largest" in page or "with the run's largest" in page
        assert "with the norm of the update" in page
        for stand_in in ("#010101", "#020202", "#030303", "#040404"):
            assert stand_in not in page


def test_nothing_warns_and_all_axes_are_finite(tmp_path: Path) -> None:
    odd = [
        report(),
        report(update={**OUTSIDE, "norm": 1e9}),
        report(update={**OUTSIDE, "mean_relative_error": 0.0}),
        along_gaussian(update={**OUTSIDE, "norm": 1e-9}),
        report(relerr_threshold=0),
    ]
    for measured in odd:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report_drawing(measured).save(tmp_path / "plot.svg")
            series_drawing([Result("a", "1", 1, measured), Result("a", "2", 2, measured)]).save(
                tmp_path / "series.png"
            )
        for axes in drawn(measured).axes:
            assert all(math.isfinite(end) for end in (*axes.get_xlim(), *axes.get_ylim()))


def test_a_report_read_back_gives_the_same_picture(tmp_path: Path) -> None:
    measured = report()
    again = Report.from_dict(json.loads(json.dumps(measured.to_dict())))
    for name, each in (("a", measured), ("b", again)):
        report_drawing(each).save(tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def trained(checkpoint: Path, directory: Path, steps: int, rate: float) -> tuple[Path, float]:
    """A copy with the optimizer's state of so many steps, and the norm of its next one at 1."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(checkpoint, directory)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(steps)
    made = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        made.step()
    model.save_pretrained(directory)
    torch.save(made.state_dict(), directory / "optimizer.pt")
    log = [{"learning_rate": 2 * rate}, {"learning_rate": rate}]
    state = {"global_step": steps, "log_history": log}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    square = 0.0
    for entry in made.state.values():
        first = entry["exp_avg"].double() / (1 - 0.9**steps)
        second = entry["exp_avg_sq"].double() / (1 - 0.999**steps)
        square += float((first / (second.sqrt() + 1e-8)).square().sum())
    return directory, math.sqrt(square)


def test_real_checkpoints_over_training(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Norms are those of the saved states and weights, and so is the rate of each radius."""
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.analysis import analyze

    base = load_file(tiny_checkpoint / "model.safetensors")
    results, norms, moved = [], [], []
    for step in (2, 4):
        place, norm = trained(tiny_checkpoint, tmp_path / f"checkpoint-{step}", step, 1e-4)
        config = Config(
            model_name_or_path=str(place),
            base_model_name_or_path=str(tiny_checkpoint),
            prompts=["1+1="],
            num_directions=1,
            directions=["gaussian", "optimizer"],
            radii=[1e-3, 1e-2],
            radius_unit="relative",
        )
        results.append(Result("gate.yaml", place.name, step, analyze(config)))
        weights = load_file(place / "model.safetensors")
        whole = math.sqrt(sum(float(w.double().square().sum()) for w in weights.values()))
        apart = sum(float((weights[n].double() - base[n].double()).square().sum()) for n in base)
        norms.append(1e-4 * norm / whole)
        moved.append(math.sqrt(apart) / whole)
    points = lines(series_axes(results)[0])
    # Norms are sums in another order; the update's are of float32 weights.
    assert points["step of the optimizer"] == [
        (step, pytest.approx(norm, rel=1e-6)) for step, norm in zip((2, 4), norms, strict=True)
    ]
    assert points["norm of the update"] == [
        (step, pytest.approx(norm, rel=1e-4)) for step, norm in zip((2, 4), moved, strict=True)
    ]
    axes = panel(results[1].report, "over the learning rate")
    assert axes is not None
    assert lines(axes)["largest learning rate of the run, 2e-04"][0][0] == 2e-4
    [curve] = [line for label, line in lines(axes).items() if label.startswith("_child")]
    assert [rate for rate, _ in curve] == [
        pytest.approx(radius / norms[1] * 1e-4, rel=1e-6) for radius in (1e-3, 1e-2)
    ]
    report_drawing(results[1].report).save(tmp_path / "plot.png")
    series_drawing(results).save(tmp_path / "series.png")
