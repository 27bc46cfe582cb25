"""The layer profile: hidden states of last tokens, against closed forms and brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.logits import last_token_logits
from tests.support.checkpoints import llama
from tests.support.oracle import brute_force


class Shift(nn.Module):
    """Linear in its parameter, whatever comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(width).double())

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x + self.shift, "what a block returns besides"


class Bend(Shift):
    """Not linear in its parameter."""

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x + torch.tanh(3 * self.shift), "what a block returns besides"


class Stack(nn.Module):
    """Four blocks, the third of which alone bends."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([Shift(6), Shift(6), Bend(6), Shift(6)])
        self.register_buffer("x", torch.randn(2, 3, 6).double())

    def forward(self) -> Tensor:
        x = self.x
        for block in self.blocks:
            x, _ = block(x)
        return x


class LastLogits:
    """The last tokens of a stack, and which tokens those are."""

    def __init__(self, model: Stack, repeat: int = 1) -> None:
        self.model = model
        self.needed = torch.tensor([False, False, True] * 2)

    def __call__(self) -> Tensor:
        return self.model()[:, -1]


@pytest.fixture
def stack() -> Stack:
    return Stack()


def blocks_of(model: Stack) -> dict[str, nn.Module]:
    return {f"block {i}": block for i, block in enumerate(model.blocks)}


def test_the_block_that_bends_is_where_it_begins(stack: Stack) -> None:
    directions = Directions(stack, 3)
    radii = (0.1, 1.0)
    layers = measure(stack, LastLogits(stack), directions, radii, blocks=blocks_of(stack)).layers
    assert layers.names == ("block 0", "block 1", "block 2", "block 3")
    assert layers.relative_error.shape == (2, 4, 3, 2)
    assert layers.relative_error[:, :2].max() < 1e-12
    assert (layers.relative_error[:, 2:] > 1e-4).all()
    for i, r in enumerate(radii):
        for k in range(3):
            before = sum(directions.tensor(k, f"blocks.{b}.shift").double() for b in range(2))
            delta = directions.tensor(k, "blocks.2.shift").double()
            at = stack.blocks[2].shift.detach()
            change = r * before + torch.tanh(3 * (at + r * delta)) - torch.tanh(3 * at)
            error = change - r * (before + 3 * delta / torch.cosh(3 * at) ** 2)
            exact = float(error.norm() / change.norm())
            assert layers.relative_error[i, 2, k].tolist() == pytest.approx([exact] * 2, rel=1e-9)


def test_blocks_before_the_scope_do_not_change(stack: Stack) -> None:
    """They are part of the trunk, and are not run again."""
    directions = Directions(stack, 2, scope="regex:blocks.[23]")
    layers = measure(stack, LastLogits(stack), directions, [0.5], blocks=blocks_of(stack)).layers
    assert (layers.relative_error[:, :2] == 0).all()
    assert (layers.cosine_similarity[:, :2] == 1).all()
    assert (layers.relative_error[:, 2:] > 1e-4).all()


def test_a_block_that_runs_twice_is_reported_twice(stack: Stack) -> None:
    stack.blocks.append(stack.blocks[2])
    layers = measure(
        stack,
        LastLogits(stack),
        Directions(stack, 1),
        [0.5],
        blocks=blocks_of(Stack()) | {f"block {i}": stack.blocks[i] for i in range(4)},
    ).layers
    assert layers.names == ("block 0", "block 1", "block 2", "block 3", "block 2 (2)")


def test_the_model_is_left_without_hooks(stack: Stack) -> None:
    class Broken(LastLogits):
        def __call__(self) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(stack, Broken(stack), Directions(stack, 1), [0.5], blocks=blocks_of(stack))
    measure(stack, LastLogits(stack), Directions(stack, 1), [0.5], blocks=blocks_of(stack))
    assert not any(module._forward_hooks for module in stack.modules())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_llama_agrees_with_brute_force(precision: str) -> None:
    """Two prompts of different lengths, whose last tokens stand at different places."""
    torch.manual_seed(0)
    model = llama(blocks=3).eval()
    ids = torch.randint(8, 100, (2, 7), generator=torch.Generator().manual_seed(0))
    last = torch.tensor([4, 6])
    mask = (torch.arange(7) <= last[:, None]).long()
    batch = Batch(input_ids=ids, attention_mask=mask, last=last, rows=(0, 1))
    blocks = {f"{i}": block for i, block in enumerate(model.model.layers)}
    directions = Directions(model, 2)
    radii = (0.3, 3.0)
    logits = last_token_logits(model, batch)
    measured = measure(model, logits, directions, radii, precision, blocks=blocks)
    plain = measure(model, logits, directions, radii, precision)
    assert torch.equal(measured.relative_error, plain.relative_error)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    for i in range(2):  # what transformers calls the last hidden state is behind a norm

        def hidden(module: nn.Module, i: int = i) -> Tensor:
            output = module(
                input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True
            )
            return output.hidden_states[i + 1][torch.arange(2), last]

        truth = brute_force(model, hidden, deltas, radii)
        tolerance = (
            {"rtol": 1e-8, "atol": 1e-10}
            if precision == "float64"
            else {"rtol": 1e-2, "atol": 1e-3}
        )
        torch.testing.assert_close(
            measured.layers.relative_error[:, i], truth.relative_error(radii), **tolerance
        )
        torch.testing.assert_close(
            measured.layers.cosine_similarity[:, i], truth.cosine_similarity(radii), **tolerance
        )
