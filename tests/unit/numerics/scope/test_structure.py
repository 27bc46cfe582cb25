"""Text decoder, blocks and head of plain modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from pytest_linearity.numerics.scope.structure import transformer_blocks
from tests.support.scope_models import (
    WIDTH,
    Block,
    Decoder,
    FeedForward,
    Mixing,
    Telling,
    Tied,
    names,
)


def test_a_block_that_recurs_counts_each_time() -> None:
    block = Block()
    model = nn.Module()
    model.layers = nn.ModuleList([block, Block(), block])
    assert len(transformer_blocks(model)) == 3
    assert names(model, "last_blocks:1") == names(model, "first_blocks:1")
    assert {name[:9] for name in names(model, "last_blocks:1")} == {"layers.0."}


@pytest.mark.parametrize(
    "stack",
    [
        lambda: nn.Sequential(Block(), Block()),
        lambda: nn.ModuleDict({"0": Block(), "1": Block()}),
        lambda: nn.ModuleDict({"h": nn.ModuleList([Block(), Block()])}),
    ],
)
def test_other_containers_of_blocks(stack: Callable[[], nn.Module]) -> None:
    model = nn.Module()
    model.project = nn.Sequential(nn.Linear(9, 90), nn.ReLU(), nn.Linear(90, WIDTH))
    model.net = stack()
    first, last = transformer_blocks(model)
    assert first[0].startswith("net.")
    assert last[0].endswith("1")


def test_a_model_that_is_its_stack() -> None:
    model = nn.ModuleList([Block(), Block()])
    assert transformer_blocks(model) == (("0",), ("1",))
    assert names(model, "last_blocks:1+mlp")[:2] == ["{0-1}.mlp.up.weight", "{0-1}.mlp.down.weight"]


def test_missing_elements_are_no_blocks() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList([Block(), Block()])
    model.layers.add_module("2", None)
    assert transformer_blocks(model) == (("layers.0",), ("layers.1",))


def test_stacks_of_one_kind_of_block_follow_each_other() -> None:
    model = nn.Module()
    model.low, model.high = Decoder(2), Decoder(1)
    model.medusa = nn.ModuleList(nn.Linear(WIDTH, 2) for _ in range(4))
    assert [block for (block,) in transformer_blocks(model)] == [
        "low.blocks.0",
        "low.blocks.1",
        "high.blocks.0",
    ]


def test_classes_of_torch_do_not_make_stacks_alike() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
    model.exits = nn.ModuleList(nn.Linear(WIDTH, 2) for _ in range(3))
    assert transformer_blocks(model) == tuple((f"layers.{i}",) for i in range(4))


def test_blocks_kept_in_parts() -> None:
    model = nn.Module()
    model.attentions = nn.ModuleList(Mixing() for _ in range(2))
    model.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
    model.ffns = nn.ModuleList(FeedForward() for _ in range(2))
    model.exits = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(3))
    assert transformer_blocks(model) == tuple(
        (f"attentions.{i}", f"norms.{i}", f"ffns.{i}") for i in range(2)
    )
    assert names(model, "blocks:1+norms")[-2:] == ["ffns.1.up.weight", "ffns.1.down.weight"]
    assert names(model, "mlp") == ["ffns.{0-1}.up.weight", "ffns.{0-1}.down.weight"]


def tower(blocks: int = 9, **attributes: Any) -> nn.Module:
    model = Decoder(blocks)
    for name, value in attributes.items():
        object.__setattr__(model, name, value)
    return model


def test_towers_of_other_modalities_are_left_out() -> None:
    around = nn.Module()
    around.eyes = tower(input_modalities=("image",))
    around.projector = nn.LayerNorm(WIDTH)
    text = Decoder(2)
    text.extra = around
    model = Telling(text=text)
    assert [block for (block,) in transformer_blocks(model)] == ["text.blocks.0", "text.blocks.1"]
    for scope in ("attention", "mlp", "norms", "embeddings", "biases"):
        assert not [name for name in names(model, scope) if "extra" in name]
    assert "text.extra.projector.weight" in names(model, "full")
    assert "text.extra.projector.weight" in names(model, "regex:projector")


@pytest.mark.parametrize("name", ["vision_tower", "visual", "audio", "speech_encoder"])
def test_towers_are_known_by_their_names_too(name: str) -> None:
    model = nn.Module()
    model.add_module(name, Decoder(9))
    model.visualise, model.text = nn.LayerNorm(WIDTH), Decoder(2)
    assert [block for (block,) in transformer_blocks(model)] == ["text.blocks.0", "text.blocks.1"]
    assert {name.split(".")[0] for name in names(model, "norms")} == {"visualise", "text"}


def test_whole_models_inside_the_decoder_are_left_out() -> None:
    text = Decoder(2)
    text.patcher = tower()
    text.patcher.get_input_embeddings = lambda: text.patcher.words
    text.image = tower()
    text.image.get_input_embeddings = lambda: text.image.lm_head
    model = Telling(text=text)
    assert [block for (block,) in transformer_blocks(model)] == ["text.blocks.0", "text.blocks.1"]
    assert names(model, "embeddings") == ["text.pos_emb", "text.words.weight"]


def test_a_decoder_that_is_none_is_not_believed() -> None:
    """One architecture has its output layer under the name `decoder`, and gives that."""
    model = Telling(text=Decoder(2), vision=Decoder(9), decoder=nn.Linear(WIDTH, 10))
    model.get_decoder = lambda: model.decoder
    assert [block for (block,) in transformer_blocks(model)] == ["text.blocks.0", "text.blocks.1"]

    def refuse() -> nn.Module:
        raise KeyError("decoder")

    model.get_decoder = refuse
    assert len(transformer_blocks(model)) == 2


def test_the_head_is_all_that_follows_the_decoder() -> None:
    head = nn.Module()
    head.dense, head.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
    out = nn.Linear(WIDTH, 10, bias=False)
    model = Telling(before=nn.Linear(2, 2), text=Decoder(1), predictions=head, out=out)
    model.heads = nn.ModuleList([nn.Linear(WIDTH, 10)])
    model.get_output_embeddings = lambda: out
    assert names(model, "head") == [
        "predictions.dense.weight",
        "predictions.dense.bias",
        "out.weight",
    ]
    assert "predictions.norm.weight" in names(model, "norms")


def test_an_output_layer_inside_the_decoder_is_the_head() -> None:
    model = Tied()
    model.get_input_embeddings = lambda: model.words
    model.get_output_embeddings = lambda: model.lm_head
    assert names(model, "head") == ["words.weight"]
    model = Telling(text=Decoder(1))
    model.get_output_embeddings = lambda: model.text.lm_head
    assert names(model, "head") == ["text.lm_head.weight"]
