"""Radii as learning rates: what the checkpoint's own optimizer would do next."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_linearity import analyze, load_checkpoint, load_config, load_probes
from pytest_linearity.probes.logits import last_token_logits
from tests.support.checkpoints import llama
from tests.support.fixtures import Write
from tests.support.oracle import brute_force

GATE = "--linearity-config=gate.yaml"
STEP, RATE, PEAK = 3, 2e-5, 4e-5
RADII = [1e-5, 1e-3]
KEYS: dict[str, Any] = {"directions": ["optimizer"], "radius_unit": "learning_rate"}
KEYS |= {"radii": RADII, "precision": "float64"}


def groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """As a trainer has them: norms do not decay."""
    named = list(model.named_parameters())
    decaying = [parameter for name, parameter in named if "norm" not in name]
    others = [parameter for name, parameter in named if "norm" in name]
    return [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def gradients(model: torch.nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def trained(model: torch.nn.Module, rate: float = 0.0) -> torch.optim.AdamW:
    """An optimizer that has made some steps, at a rate of zero so that the weights stay."""
    optimizer = torch.optim.AdamW(groups(model), lr=rate, betas=(0.9, 0.98), eps=1e-8)
    for step in range(STEP):
        gradients(model, step)
        optimizer.step()
    return optimizer


def save_state(directory: Path, model: torch.nn.Module, step: int | None = STEP) -> None:
    torch.save(trained(model).state_dict(), directory / "optimizer.pt")
    if step is not None:
        history = [{"learning_rate": PEAK, "step": 1}, {"learning_rate": RATE, "step": STEP}]
        document = {"global_step": step, "log_history": history}
        (directory / "trainer_state.json").write_text(json.dumps(document))


@pytest.fixture
def run(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A checkpoint with the state of its optimizer."""
    directory = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint-3"))
    save_state(directory, llama())
    return directory


def document(pytester: pytest.Pytester) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
    return report


def next_step(model: torch.nn.Module, state: dict[str, Any], rate: float) -> dict[str, Any]:
    """What torch's own AdamW does next, in float64, with the gradient that its moments expect."""
    optimizer = torch.optim.AdamW(groups(model), lr=rate)
    optimizer.load_state_dict(copy.deepcopy(state))  # whose steps it would count on
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        group["lr"] = rate
        beta1, beta2 = group["betas"]
        for parameter in group["params"]:
            entry = optimizer.state[parameter]
            t = int(entry["step"])
            # Moments that are as after the step (bias corrected), whatever the gradient is.
            mean = entry["exp_avg"] / (1 - beta1**t)
            square = entry["exp_avg_sq"] / (1 - beta2**t)
            entry["exp_avg"] = mean * (1 - beta1 ** (t + 1))
            entry["exp_avg_sq"] = square * (1 - beta2 ** (t + 1))
            # A step with a gradient of zero multiplies both by β: undo that beforehand.
            entry["exp_avg"] /= beta1
            entry["exp_avg_sq"] /= beta2
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def test_figures_are_those_of_a_step_of_adamw(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    keys = {**KEYS, "model_name_or_path": str(run), "prompts": ["1+1=", "The sky is"]}
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
    config = load_config(path)
    report = analyze(config)
    checkpoint = load_checkpoint(config)
    probes = load_probes(config, checkpoint.tokenizer, max_length=checkpoint.max_length)

    def logits(twin: torch.nn.Module) -> torch.Tensor:
        return torch.cat([last_token_logits(twin, batch)() for batch in probes.batches])

    state = torch.load(run / "optimizer.pt", weights_only=True)
    for figures in report.radii:
        steps = next_step(llama().double(), state, figures.radius)
        norm = math.sqrt(sum(float(step.square().sum()) for step in steps.values()))
        assert figures.radius_absolute == pytest.approx(norm, rel=1e-6)
        assert figures.learning_rate == pytest.approx(figures.radius, rel=1e-12)
        delta = {name: step / norm for name, step in steps.items()}
        truth = brute_force(checkpoint.model, logits, [delta], [norm])
        # The direction is float32: its entries are off by 1e-7, and the small radius' ε by 1e-5.
        error = float(truth.relative_error([norm]).mean())
        assert figures.mean_relative_error == pytest.approx(error, rel=1e-4)
        cosine = float(truth.cosine_similarity([norm]).mean())
        assert figures.mean_cosine_similarity == pytest.approx(cosine, abs=1e-9)


def test_it_is_said_in_learning_rates(
    pytester: pytest.Pytester, real_config: Write, run: Path
) -> None:
    real_config(**KEYS, model_name_or_path=str(run), relerr_threshold=1e9, cos_threshold=-1)
    result = pytester.runpytest(GATE, "-v")
    result.assert_outcomes(passed=3)
    said = " ".join(result.stdout.str().split())
    # 1e-3 over the peak of 4e-5.
    sentence = "linear up to a learning rate of 1e-03, the largest tested (the largest that the run"
    assert f"{sentence} used is 4e-05: 25 times that)" in said
    report = document(pytester)
    (kind,) = report["scope"]["directions"]["kinds"]
    assert (kind["optimizer"], kind["step"]) == ("AdamW", STEP)
    assert (kind["learning_rate"], kind["peak_learning_rate"]) == (RATE, PEAK)
    assert [f["learning_rate"] for f in report["metrics"].values()] == pytest.approx(RADII)


def test_the_largest_rate_that_complies_is_named(
    pytester: pytest.Pytester, real_config: Write, run: Path
) -> None:
    real_config(**{**KEYS, "radii": [1e-5, 10.0]}, model_name_or_path=str(run))
    result = pytester.runpytest(GATE)
    assert result.ret == 1
    said = " ".join(result.stdout.str().split())
    assert (
        "linear up to a learning rate of 1e-05 (the largest that the run used is 4e-05: 0.25"
        in said
    )


def test_the_rates_are_looked_for(pytester: pytest.Pytester, real_config: Write, run: Path) -> None:
    real_config(**{**KEYS, "radii": "auto"}, model_name_or_path=str(run))
    result = pytester.runpytest(GATE)
    result.assert_outcomes(passed=3, skipped=2)
    report = document(pytester)
    rates = [figures["learning_rate"] for figures in report["metrics"].values()]
    assert rates == pytest.approx(report["config"]["radii"])
    facts = report["scope"]["automatic_radii"]["optimizer"]
    assert rates[1] <= math.sqrt(facts["crossing_low"] * facts["crossing_high"]) < rates[2]


def test_without_a_trainers_notes_the_runs_rate_is_not_said(
    pytester: pytest.Pytester, real_config: Write, run: Path
) -> None:
    (run / "trainer_state.json").unlink()
    real_config(**KEYS, model_name_or_path=str(run), relerr_threshold=1e9, cos_threshold=-1)
    result = pytester.runpytest(GATE)
    result.assert_outcomes(passed=3)
    assert "1e-03, the largest tested\n" in result.stdout.str()


def test_every_radius_of_a_random_kind_has_the_rates_of_adamw(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    """An entry moves by η in the first steps, and by η √((1 − 0.9) / (1 + 0.9)) in the long run."""
    real_config(radii=[0.01, 0.1])
    result = pytester.runpytest(GATE)
    report = document(pytester)
    entries = report["scope"]["parameters"]
    for radius, figures in report["metrics"].items():
        low = float(radius) / math.sqrt(entries)
        high = low / math.sqrt(0.1 / 1.9)
        assert figures["adamw_learning_rates"] == pytest.approx([low, high], rel=1e-12)
        assert "learning_rate" not in figures
    said = " ".join(result.stdout.str().split())
    assert "as long as the linearity radius at learning rates from 6.3e-04 to 2.7e-03" in said


class TestMistakes:
    def line(self, pytester: pytest.Pytester) -> str:
        result = pytester.runpytest(GATE)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        [line] = [line for line in result.errlines if line.startswith("ERROR: ")]
        return line

    def test_the_unit_without_the_direction(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(radius_unit="learning_rate")
        assert "learning_rate needs the optimizer's step: add optimizer" in self.line(pytester)

    def test_no_state(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(**KEYS)
        assert "holds no state of an optimizer: neither optimizer.pt" in self.line(pytester)

    def test_a_state_that_is_not_where_it_is_said(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(**KEYS, optimizer_state="nowhere")
        assert "optimizer_state: nowhere: there is no such file" in self.line(pytester)

    def test_a_state_of_another_model(
        self, pytester: pytest.Pytester, real_config: Write, run: Path
    ) -> None:
        save_state(run, llama(hidden=48))
        real_config(**KEYS, model_name_or_path=str(run))
        assert "optimizer.pt: is of another model" in self.line(pytester)

    def test_a_state_of_another_step(
        self, pytester: pytest.Pytester, real_config: Write, run: Path
    ) -> None:
        save_state(run, llama(), step=500)
        real_config(**KEYS, model_name_or_path=str(run))
        assert "has made 3 steps, the weights are those of step 500" in self.line(pytester)

    @pytest.mark.parametrize(
        ("place", "words"), [("global_step3", "sharded by ZeRO"), ("optimizer_0", "by FSDP")]
    )
    def test_a_sharded_state(
        self, pytester: pytest.Pytester, real_config: Write, run: Path, place: str, words: str
    ) -> None:
        (run / "optimizer.pt").unlink()
        (run / place).mkdir()
        real_config(**KEYS, model_name_or_path=str(run))
        line = self.line(pytester)
        assert words in line
        assert "save it whole" in line

    def test_a_state_that_nothing_asks_for_is_warned_about(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(optimizer_state="nowhere")
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=3, warnings=1)
        assert "optimizer_state has no effect without" in result.stdout.str()
