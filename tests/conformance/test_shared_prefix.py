"""A prefix that all prompts share, evaluated once: the same figures as with every prompt whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.numerics.lockstep import supply
from pytest_linearity.numerics.lockstep.evaluation import Coroutine, Evaluation
from pytest_linearity.numerics.lockstep.prefix import PrefixMismatch, SharedPrefix
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.measurement.jobs import Engine
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.simultaneous import measure_together
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.numerics.scope.structure import transformer_blocks
from pytest_linearity.probes.batches import make_batches
from pytest_linearity.probes.logits import last_token_logits
from pytest_linearity.probes.shared_prefix import share
from pytest_linearity.run.subject import small_part
from tests.conformance.tiny import tiny_model
from tests.support.oracle import brute_force
from tests.support.shared_prefix import CPU, PREFIX, RADII, Case, case, prompts, same

SHARED = (
    "llama",
    "qwen2",
    "qwen3",
    "gpt2",  # learned positions
    "gpt_neox",
    "gemma2",  # sliding windows shorter than the prefix
    "gemma3_text",
    "mistral",
    "mixtral",
    "qwen3_moe",
    "deepseek_v3",  # compressed keys and values
    "bloom",  # ALiBi; and central differences
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these models are too small for more
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SHARED)
def test_figures_are_those_of_whole_prompts(name: str) -> None:
    both = case(tiny_model(name))
    ours = both.measure(shared=True)
    assert both.sharing.describe() == {"shared_prefix": PREFIX, "shared_prefix_skipped": None}
    same(ours, both.measure(shared=False))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", "mixtral"])
def test_figures_are_those_of_brute_force(name: str) -> None:
    both = case(tiny_model(name))
    directions = Directions(both.model, 2)
    ours = both.measure(shared=True)
    assert both.sharing.prefix is not None
    assert both.sharing.prefix.skipped is None

    def every_prompt_alone(twin: nn.Module) -> Tensor:
        found = []
        for batch in make_batches(prompts(), size=1, pad_id=0):
            found.append(twin(input_ids=batch.input_ids, use_cache=False).logits[:, -1])
        return torch.cat(found)

    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    truth = brute_force(both.model, every_prompt_alone, deltas, RADII)
    torch.testing.assert_close(
        ours.relative_error, truth.relative_error(RADII), rtol=1e-8, atol=1e-10
    )
    torch.testing.assert_close(
        ours.cosine_similarity, truth.cosine_similarity(RADII), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("scope", ["last_blocks:1", "mlp", "norms", "head"])
def test_it_goes_together_with_a_shared_trunk(scope: str) -> None:
    both = case(tiny_model("llama"))
    ours = both.measure(shared=True, scope=scope)
    assert both.sharing.prefix is not None
    assert both.sharing.prefix.skipped is None
    same(ours, both.measure(shared=False, scope=scope))


@pytest.mark.parametrize(("name", "seed"), [("mixtral", 1), ("qwen3_moe", 2)])
def test_a_prefix_may_be_sent_to_experts_that_no_prompt_is_sent_to(name: str, seed: int) -> None:
    """It then comes later to the end of the trunk than prompts do, which must wait for it."""
    sizes = {"num_hidden_layers": 3, "num_local_experts": 16, "num_experts": 16}
    both = case(tiny_model(name, seed, **sizes))
    ours = both.measure(shared=True, scope="last_blocks:1")
    assert both.sharing.describe() == {"shared_prefix": PREFIX, "shared_prefix_skipped": None}
    same(ours, both.measure(shared=False, scope="last_blocks:1"))


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_second_derivatives_and_hidden_states_are_the_same(name: str) -> None:
    model = tiny_model(name)
    both = case(model)
    blocks = {parts[-1]: model.get_submodule(parts[-1]) for parts in transformer_blocks(model)}
    ours, theirs = (
        both.measure(shared=shared, second_order=True, taps=LayerTaps(blocks))
        for shared in (True, False)
    )
    assert both.sharing.prefix is not None
    assert both.sharing.prefix.skipped is None
    torch.testing.assert_close(ours.curvature_ratio, theirs.curvature_ratio, rtol=1e-6, atol=0)
    assert ours.layers is not None
    assert theirs.layers is not None
    assert ours.layers.names == theirs.layers.names
    torch.testing.assert_close(
        ours.layers.relative_error, theirs.layers.relative_error, rtol=1e-9, atol=1e-10
    )


def test_flips_in_the_prefix_count_for_every_prompt() -> None:
    """Mixtral's routers change choices at this radius, among the prefix's tokens, too."""
    both = case(tiny_model("mixtral"))
    flips = both.measure(shared=True).routing_flips
    assert flips == both.measure(shared=False).routing_flips
    assert flips is not None
    assert flips[1] > 0


def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[Evaluation, int]]]:
    """Notes how many rows every product has, by matrix."""
    found: dict[str, list[tuple[Evaluation, int]]] = {}
    plain = supply.method_for

    def noted(products: Sequence) -> object:
        for product in products:
            name = product.coroutine.request.name
            found.setdefault(name, []).append((product.coroutine.evaluation, len(product.x)))
        return plain(products)

    monkeypatch.setattr(supply, "method_for", noted)
    return found


def evaluations(batches: int) -> list[Evaluation]:
    points = [(None, None), *((k, step) for k in range(2) for step in (None, *RADII))]
    return [Evaluation(batch, *point) for batch in range(batches) for point in points]


def run(both: Case, arithmetic: torch.dtype = torch.float64) -> dict[Evaluation, Tensor]:
    found: dict[Evaluation, Tensor] = {}
    Lockstep(
        both.model, both.sharing.batches, Directions(both.model, 2), Arithmetic(arithmetic, CPU)
    ).run(evaluations(2), found.__setitem__)
    return found


def test_the_prefix_is_evaluated_once_per_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    both = case(tiny_model("llama"))
    both.measure(shared=True)  # finds out after how many layers the prefix may stop
    found = rows(monkeypatch)
    outputs = run(both)
    assert set(outputs) == set(evaluations(2))  # nobody is told of the prefix
    counts: dict[str, list[int]] = {}
    for name, taken in found.items():
        assert len(taken) == len(set(taken))
        counts[name] = [
            sum(n for e, n in taken if (e.direction, e.step) == point)
            for point in [(None, None), (1, 1.0)]
        ]
    suffixes = 2 * 5 + 7  # 3 and 5 tokens in one batch, 7 in the other
    assert counts["model.layers.0.mlp.up_proj.weight"] == [PREFIX + suffixes] * 2
    assert counts["model.layers.1.self_attn.v_proj.weight"] == [PREFIX + suffixes] * 2
    # Nothing of the prefix is needed after the last layer's keys and values.
    assert counts["model.layers.1.self_attn.o_proj.weight"] == [suffixes] * 2
    assert counts["model.layers.1.mlp.up_proj.weight"] == [suffixes] * 2
    assert not any(evaluation.is_prefix for evaluation, _ in found["lm_head.weight"])


def test_keys_and_values_are_let_go_of_as_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    both = case(tiny_model("llama"))
    prefix = both.sharing.prefix
    assert prefix is not None
    most = 0
    resume = Coroutine.resume

    def watched(coroutine: Coroutine, response: object = None) -> None:
        nonlocal most
        most = max(most, len(prefix._held))
        resume(coroutine, response)

    monkeypatch.setattr(Coroutine, "resume", watched)
    run(both)
    # One layer at one point, while seven points are under way.
    assert most == 1
    assert not prefix._held


def test_nothing_is_held_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    both = case(tiny_model("llama"))
    prefix = both.sharing.prefix
    assert prefix is not None
    prefix.layers = None

    def interrupted(*_: object) -> None:
        assert prefix._held
        raise KeyboardInterrupt

    monkeypatch.setattr(SharedPrefix, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(both)
    assert not prefix._held


def test_a_prompt_that_comes_before_its_prefix_is_refused() -> None:
    both = case(tiny_model("llama"))
    prefix = both.sharing.prefix
    assert prefix is not None
    prefix._forward = lambda _: None
    with pytest.raises(PrefixMismatch, match="not there in time at layer 0"):
        run(both)


def test_logits_of_every_token_are_looked_up_behind_the_prefix() -> None:
    """Where a model cannot be told which positions to keep."""
    model = tiny_model("llama")
    batches = make_batches(prompts(), size=2, pad_id=0)
    runs = []
    for batch in batches:
        run = last_token_logits(model, batch, CPU)
        inputs = {name: value for name, value in run.inputs.items() if name != "logits_to_keep"}
        runs.append(replace(run, inputs=inputs, column=batch.last))
    small = last_token_logits(model, small_part(batches[0]), CPU)
    both = Case(model, runs, small, share(runs, small, prompts()))
    ours = both.measure(shared=True)
    assert both.sharing.describe()["shared_prefix"] == PREFIX
    same(ours, both.measure(shared=False))


def test_padding_and_last_tokens_are_counted_behind_the_prefix() -> None:
    first, second = case(tiny_model("llama")).sharing.batches
    assert first.real.tolist() == [True] * 3 + [False] * 2 + [True] * 5
    assert first.needed.nonzero().flatten().tolist() == [2, 9]
    assert second.real.tolist() == [True] * 7
    # Memory is planned for the prefix beside them.
    assert (first.tokens, second.tokens) == (10 + PREFIX, 7 + PREFIX)
    assert [batch.longest().length for batch in (first, second)] == [PREFIX + 5, PREFIX + 7]


def test_all_prompts_alike_are_one_token_each() -> None:
    model = tiny_model("llama")
    ids = prompts()[0]
    batches = make_batches([ids] * 3, size=3, pad_id=0)
    runs = [last_token_logits(model, batch, CPU) for batch in batches]
    small = last_token_logits(model, small_part(batches[0]), CPU)
    both = Case(model, runs, small, share(runs, small, [ids] * 3))
    ours = both.measure(shared=True)
    assert both.sharing.describe()["shared_prefix"] == len(ids) - 1
    same(ours, both.measure(shared=False))


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_several_scopes_at_once_share_the_prefix_too(name: str) -> None:
    both = case(tiny_model(name))
    scopes = ("full", "attention", "last_blocks:1")

    def one(scope: str, engine: Engine) -> Measurement:
        return both.measure(shared=True, scope=scope, engine=engine)

    found = measure_together([partial(one, scope) for scope in scopes])
    assert both.sharing.prefix is not None
    assert both.sharing.prefix.skipped is None
    for scope, ours in zip(scopes, found, strict=True):
        assert isinstance(ours, Measurement)
        same(ours, both.measure(shared=False, scope=scope))
