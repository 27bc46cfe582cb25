"""When prompts share a prefix: what decides it, and what finds out that it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Config
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import current
from pytest_linearity.numerics.lockstep.prefix import PrefixMismatch, SharedPrefix
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.probes import key_values
from pytest_linearity.probes.shared_prefix import share, shared_length, why_no_cache, why_not
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import llama
from tests.support.shared_prefix import PREFIX, SYSTEM, Case, case, prompts, questions, same


@pytest.fixture
def both() -> Case:
    model = llama(vocab=97)
    model.config._attn_implementation = "eager"
    return case(model)


@pytest.fixture
def plainly(both: Case) -> Iterator[Measurement]:
    """What is measured with every prompt whole."""
    return both.measure(shared=False)


def skipped(both: Case) -> str:
    described = both.sharing.describe()
    assert described["shared_prefix"] is None
    return str(described["shared_prefix_skipped"])


@pytest.mark.parametrize(
    ("lengths", "tokens", "reason"),
    [
        ([20], 19, "there is only one prompt"),
        ([20, 20], 7, "the prompts begin with 7 tokens in common, fewer than 8"),
        ([20, 20], 8, None),
        ([200, 200], 8, "8 tokens in common would save 2.0% of all, less than it costs"),
        ([200, 200], 150, None),
    ],
)
def test_sharing_must_be_worth_while(lengths: list[int], tokens: int, reason: str | None) -> None:
    assert why_not([[1] * length for length in lengths], tokens) == reason


def test_an_architecture_that_cannot_is_told_from_its_class(both: Case) -> None:
    class Stateful(nn.Module):
        _is_stateful = True

    class Bare(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            return input_ids

    assert why_no_cache(both.model) is None
    assert why_no_cache(Stateful()) == (
        "the architecture keeps more than keys and values of earlier tokens"
    )
    assert why_no_cache(Bare()) == "the model's forward takes no key-value cache"
    both.model._is_stateful = True
    sharing = share(both.runs, both.small, prompts())
    assert sharing.batches == both.runs
    assert sharing.prefix is None


def wrong(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Let something go wrong where a prefix is put before a prompt's own keys or values."""
    joined = key_values._joined
    monkeypatch.setattr(
        key_values, "_joined", lambda first, rest: joined(change(first, rest), rest)
    )


def test_logits_that_differ_are_found_out(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch, lambda first, rest: 1.001 * first)
    same(both.measure(shared=True), plainly)
    assert skipped(both).startswith("the logits would be off by ")


def test_a_lost_tangent_is_found_out(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch, lambda first, rest: unpack_dual(first)[0])
    same(both.measure(shared=True), plainly)
    assert skipped(both).startswith("the derivative would be off by ")


def test_a_step_that_does_not_reach_the_prefix_is_found_out(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    put = SharedPrefix.put

    def baseline_everywhere(self: SharedPrefix, layer: int, keys: Tensor, values: Tensor) -> None:
        running = current()
        assert running is not None
        if layer == 0 and running.evaluation.is_baseline:
            seen[:] = [keys]
        if layer == 0 and running.evaluation.step is not None:
            keys = seen[0]
        put(self, layer, keys, values)

    monkeypatch.setattr(SharedPrefix, "put", baseline_everywhere)
    same(both.measure(shared=True), plainly)
    assert skipped(both).startswith("the logits would be off by ")


def test_the_longest_prompt_is_looked_at_too(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with rotary embeddings that are scaled once an input is longer than in training."""
    wrong(monkeypatch, lambda first, rest: first * (1 + (rest.shape[-2] > 6)))
    same(both.measure(shared=True), plainly)
    assert skipped(both).startswith("the logits would be off by ")


def test_an_error_in_the_check_is_a_reason(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(first: Tensor, rest: Tensor) -> Tensor:
        raise NotImplementedError("keys lie elsewhere\nand more")

    wrong(monkeypatch, fail)
    same(both.measure(shared=True), plainly)
    assert skipped(both) == (
        "the forward cannot go on from a cache (NotImplementedError: keys lie elsewhere)"
    )


def test_an_error_in_the_measurement_takes_the_plain_way(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second direction does what the check, with the first alone, could not see."""
    take = SharedPrefix.take

    def late(self: SharedPrefix, layer: int) -> tuple[Tensor, Tensor]:
        running = current()
        assert running is not None
        if running.evaluation.direction == 1:
            raise PrefixMismatch("the prefix was not there in time at layer 1")
        return take(self, layer)

    monkeypatch.setattr(SharedPrefix, "take", late)
    same(both.measure(shared=True), plainly)
    assert "PrefixMismatch: the prefix was not there in time at layer 1" in skipped(both)


def test_what_a_forward_leaves_in_its_modules_is_put_back(
    both: Case, plainly: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = both.model.model.layers[0].self_attn
    attention.states = "before"

    def keep(first: Tensor, rest: Tensor) -> Tensor:
        attention.states, attention.more = first, rest
        return first * 2

    wrong(monkeypatch, keep)
    both.measure(shared=True)
    assert skipped(both)
    assert attention.states == "before"
    assert not hasattr(attention, "more")


def test_running_out_of_memory_is_no_reason_to_need_more(
    both: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(first: Tensor, rest: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    wrong(monkeypatch, fail)
    with pytest.raises(Exception, match="out of memory while measuring"):
        both.measure(shared=True)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_in_float32_it_is_checked_and_shared_as_well(
    tiny_checkpoint: Path, tmp_path: Path, precision: str
) -> None:
    config = Config(
        model_name_or_path=str(tiny_checkpoint),
        num_directions=2,
        precision=precision,
        **questions(tmp_path),
    )
    analysis = Analysis(config)
    shared = analysis.measurement
    assert analysis.subject.sharing.describe()["shared_prefix"] == 2 + len(SYSTEM) + 1
    other = Analysis(Config(**{**vars_of(config), "share_prefix": False}))
    # Another order of the same float32 sums, far below the step's own effect.
    torch.testing.assert_close(
        shared.relative_error, other.measurement.relative_error, rtol=2e-2, atol=1e-4
    )


def vars_of(config: Config) -> dict[str, object]:
    return {key: getattr(config, key) for key in config.to_dict()}


def test_prompts_that_must_not_be_padded_are_evaluated_whole(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_linearity.run.subject.sees_padding", lambda *_: True)
    analysis = Analysis(Config(model_name_or_path=str(tiny_checkpoint), **questions(tmp_path)))
    assert analysis.subject.sharing.describe() == {
        "shared_prefix": None,
        "shared_prefix_skipped": "the architecture looks at the length of its input",
    }


def test_short_prompts_have_nothing_to_share(tiny_checkpoint: Path) -> None:
    config = Config(model_name_or_path=str(tiny_checkpoint), prompts=("1+1=", "1+2="))
    assert Analysis(config).subject.sharing.reason == (
        "the prompts begin with 3 tokens in common, fewer than 8"
    )


def test_the_prefix_is_what_all_prompts_begin_with() -> None:
    assert shared_length(prompts()) == PREFIX
    assert shared_length([[1, 2, 3, 4], [1, 2, 3, 5, 6]]) == 3
    # The shortest keeps a token of its own.
    assert shared_length([[1, 2, 3], [1, 2, 3]]) == 2
    assert shared_length([[1, 2], [1, 2, 3]]) == 1
    assert shared_length([[1, 2], [3, 2]]) == 0
