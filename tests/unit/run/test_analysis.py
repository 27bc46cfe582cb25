"""The figures of real checkpoints against brute force, from the YAML to the report."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from pytest_linearity import Config, load_config
from pytest_linearity.errors import ConfigError
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama
from tests.support.oracle import Truth, brute_force
from tests.support.paths import ARITHMETIC


def alone(model: torch.nn.Module, ids: tuple[int, ...]) -> torch.Tensor:
    """Last-token logits of one prompt by itself, in the plainest way."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]


def truth_of(analysis: Analysis) -> Truth:
    directions = analysis.directions
    deltas = [
        {n: directions.tensor(k, n) for n in directions.names} for k in range(directions.count)
    ]
    prompts = [probe.token_ids for probe in analysis.subject.probes.probes]
    return brute_force(
        analysis.subject.checkpoint.model,
        lambda model: torch.cat([alone(model, ids) for ids in prompts]),
        deltas,
        analysis.config.radii,
    )


def example(name: str, **keys: object) -> Config:
    checkpoint = {"linearity.yaml": "healthy", "anomalous.yaml": "anomalous"}[name]
    overrides = [
        f"model_name_or_path={ARITHMETIC / checkpoint}",
        f"dataset_dir={ARITHMETIC / 'data'}",
        *(f"{key}={value}" for key, value in keys.items()),
    ]
    return load_config(ARITHMETIC / name, overrides)


@cache
def analysed(name: str) -> Analysis:
    """A few pairs of an example."""
    return Analysis(example(name, num_directions=2, max_samples=5, batch_size=3))


@pytest.mark.parametrize("name", ["linearity.yaml", "anomalous.yaml"])
def test_the_examples_figures_are_those_of_brute_force(name: str) -> None:
    analysis = analysed(name)
    config, report, truth = analysis.config, analysis.report, truth_of(analysis)
    error, cosine = truth.relative_error(config.radii), truth.cosine_similarity(config.radii)
    # What `precision: auto` promises: 1% or 1e-4, of every pair.
    close = {"rtol": 1e-2, "atol": 1e-4}
    torch.testing.assert_close(analysis.measurement.relative_error, error, **close)
    torch.testing.assert_close(analysis.measurement.cosine_similarity, cosine, **close)
    for i, radius in enumerate(config.radii):
        figures = report.at(radius)
        assert figures.mean_relative_error == pytest.approx(
            float(error[i].mean()), rel=1e-2, abs=1e-4
        )
        assert figures.std_relative_error == pytest.approx(
            float(error[i].std(correction=0)), rel=2e-2, abs=1e-4
        )
        assert figures.mean_cosine_similarity == pytest.approx(float(cosine[i].mean()), abs=1e-4)
        assert figures.noise_floor is not None


def test_the_verdicts_of_the_examples() -> None:
    healthy = analysed("linearity.yaml").report
    assert healthy.passed
    assert healthy.linearity_radius == 3.0
    anomalous = analysed("anomalous.yaml").report
    assert not anomalous.passed
    assert "mean relative error" in str(anomalous.at(3.0).reason)
    assert anomalous.linearity_radius is not None
    assert anomalous.linearity_radius < 3.0


PROMPTS = [
    "What is 2 plus 2?",
    "Hi",
    "A longer prompt with rather more words than the others have.",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("scope", ["full", "last_blocks:1"])
def test_radii_over_four_decades(tmp_path: Path, dtype: torch.dtype, tie: bool, scope: str) -> None:
    """From 1e-3, where float32 gives noise, to 10, where nothing is linear any more."""
    checkpoint = tiny_llama(tmp_path / "tiny", dtype=dtype, tie=tie)
    config = Config(
        model_name_or_path=str(checkpoint),
        prompts=tuple(PROMPTS),
        num_directions=2,
        radii=(1e-3, 0.1, 1.0, 10.0),
        param_scope=scope,
    )
    analysis = Analysis(config)
    truth = truth_of(analysis)
    measured = analysis.measurement
    close = {"rtol": 1e-2, "atol": 1e-4}
    expected = truth.relative_error(config.radii)
    torch.testing.assert_close(measured.relative_error, expected, **close)
    expected = truth.cosine_similarity(config.radii)
    torch.testing.assert_close(measured.cosine_similarity, expected, **close)


def test_prompts_are_in_their_own_order_whatever_the_batches(tmp_path: Path) -> None:
    checkpoint = str(tiny_llama(tmp_path / "tiny"))
    keys = {"model_name_or_path": checkpoint, "prompts": tuple(PROMPTS), "num_directions": 2}
    one = Analysis(Config(**keys, batch_size=1)).measurement
    two = Analysis(Config(**keys, batch_size=2)).measurement
    three = Analysis(Config(**keys, batch_size=3)).measurement
    # Padding and shapes change the rounding only.
    for other in (two, three):
        torch.testing.assert_close(other.relative_error, one.relative_error, rtol=1e-2, atol=1e-4)


def test_perturbation_std_cancels(tmp_path: Path) -> None:
    checkpoint = str(tiny_llama(tmp_path / "tiny"))
    keys = {"model_name_or_path": checkpoint, "prompts": ("Hi",), "num_directions": 1}
    small, large = (Analysis(Config(**keys, perturbation_std=std)).report for std in (1e-6, 10.0))
    assert small.radii == large.radii
    assert small.config["perturbation_std"] == 1e-6


def test_the_report_says_what_was_measured_and_how(tmp_path: Path) -> None:
    checkpoint = str(tiny_llama(tmp_path / "tiny"))
    config = Config(
        model_name_or_path=checkpoint,
        prompts=("Hi",),
        num_directions=1,
        radii=(1.0,),
        param_scope="last_blocks:1",
        precision="float64",
    )
    report = Analysis(config).report.to_dict()
    assert report["scope"]["param_scope"] == "last_blocks:1"
    assert report["scope"]["tensors"] == 9
    assert report["environment"]["precision"] == ["float64"]
    assert report["environment"]["jvp_method"] == "forward-mode"
    assert report["environment"]["device"] == "cpu"
    assert report["environment"]["seconds"] > 0
    assert report["environment"]["peak_memory_bytes"] > 0
    assert report["metrics"]["1.0"]["precision"] == "float64"


def test_a_model_without_blocks_has_no_profile(tiny_checkpoint: Path) -> None:
    analysis = Analysis(Config(model_name_or_path=str(tiny_checkpoint), layer_profile=True))
    analysis.subject.checkpoint.model.model.layers = torch.nn.ModuleList()
    with pytest.raises(ConfigError, match="layer_profile: LlamaForCausalLM has no repeated blocks"):
        _ = analysis.subject.taps
