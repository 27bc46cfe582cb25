"""Which part of the network the parameters of plain modules belong to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pytest_linearity.errors import ConfigError
from tests.support.scope_models import WIDTH, Decoder, FeedForward, Mixing, names


def test_torch_encoder_layers() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(WIDTH, 2, 8), 2, enable_nested_tensor=False
    )
    assert names(model, "attention") == [
        f"layers.{{0-1}}.self_attn.{end}"
        for end in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    ]
    assert {name[13:20] for name in names(model, "mlp")} == {"linear1", "linear2"}
    assert {name[13:18] for name in names(model, "norms")} == {"norm1", "norm2"}
    biases = {"self_attn.in_proj_bias", "self_attn.out_proj.bias"} | {
        f"{name}.bias" for name in ("linear1", "linear2", "norm1", "norm2")
    }
    assert {name[13:] for name in names(model, "biases")} == biases


class Layers(FeedForward):
    """A class that says nothing."""


class Mixer(Mixing):
    """A class that says what it is, under a name that does not."""


@pytest.mark.parametrize(
    ("children", "attention", "mlp"),
    [
        ({"operator": Layers, "mlp": Layers}, ["operator"], ["mlp"]),
        ({"attn": Layers, "fc1": Layers, "fc2": Layers}, ["attn"], ["fc1", "fc2"]),
        ({"attn": Layers, "mlp": Layers, "gate": Layers}, ["attn"], ["mlp"]),
        ({"attn": Layers, "scale": nn.LayerNorm}, ["attn"], []),
        ({"operator": Layers, "lift": Layers}, [], []),
        ({"mixer": Layers}, ["mixer"], []),
        ({"mixer": FeedForward}, [], ["mixer"]),
        ({"Attn": Layers, "MLP": Layers, "Gate": Layers}, ["Attn"], ["MLP"]),
        ({"core": Mixer}, ["core"], []),
        ({"core": Mixer, "rest": FeedForward}, ["core"], ["rest"]),
        ({"att": Layers, "post_attention_mlp": Layers}, ["att"], ["post_attention_mlp"]),
        ({"mamba": Layers, "moe": Layers, "post_attention_norm": nn.LayerNorm}, ["mamba"], ["moe"]),
    ],
)
def test_halves_of_a_block(
    children: dict[str, Callable[..., nn.Module]], attention: list[str], mlp: list[str]
) -> None:
    block = nn.Module()
    for name, kind in children.items():
        block.add_module(name, kind(WIDTH) if kind is nn.LayerNorm else kind())
    model = nn.Module()
    model.layers = nn.ModuleList([block])
    for scope, expected in (("attention", attention), ("mlp", mlp)):
        if expected:
            assert list(dict.fromkeys(n.split(".")[2] for n in names(model, scope))) == expected
        else:
            with pytest.raises(ConfigError, match=f"'{scope}' matches no parameter"):
                names(model, scope)


def test_parameters_of_the_block_itself_are_in_neither_half() -> None:
    model = Decoder()
    for block in model.blocks:
        del block.mlp
        block.scale = nn.Parameter(torch.ones(WIDTH))
    with pytest.raises(ConfigError, match="'mlp' matches no parameter"):
        names(model, "mlp")
    assert "blocks.{0-2}.scale" in names(model, "first_blocks:3")


def test_only_tables_are_embeddings() -> None:
    model = Decoder()
    model.embed_projection = nn.Linear(WIDTH, WIDTH)
    model.blocks[0].mask_emb = nn.Parameter(torch.zeros(WIDTH))
    assert names(model, "embeddings") == ["pos_emb", "words.weight"]


class RotaryNorm(nn.Module):
    """Without parameters, as rotary embeddings and some norms are."""


class NormedEmbedding(nn.Embedding):
    """No norm by its class, though its name has the word."""

    def __init__(self) -> None:
        super().__init__(10, WIDTH)
        self.norm = nn.RMSNorm(WIDTH)


class NormalisedTable(nn.Embedding):
    """Nor is this one."""


class NormAttentionNorm(nn.Module):
    """A container that is called after the norms in it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.attn = nn.LayerNorm(WIDTH), Mixing()


class GatedRMSNorm(nn.Module):
    """A norm with layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.RMSNorm(WIDTH), FeedForward()


def test_norms_are_known_by_their_class() -> None:
    block = nn.Module()
    block.first, block.norm_attn_norm, block.mlp = (
        GatedRMSNorm(),
        NormAttentionNorm(),
        FeedForward(),
    )
    block.none = RotaryNorm()
    model = nn.Module()
    model.embed, model.layers = NormedEmbedding(), nn.ModuleList([block])
    model.types = NormalisedTable(2, WIDTH)
    assert names(model, "norms") == [
        "embed.norm.weight",
        "layers.0.first.norm.weight",
        "layers.0.first.mlp.up.weight",
        "layers.0.first.mlp.down.weight",
        "layers.0.norm_attn_norm.norm_1.weight",
        "layers.0.norm_attn_norm.norm_1.bias",
        "layers.0.norm_attn_norm.attn.q_norm.weight",
    ]
    assert names(model, "embeddings") == ["embed.weight", "types.weight"]
    assert names(model, "mlp") == ["layers.0.mlp.up.weight", "layers.0.mlp.down.weight"]


def test_a_table_of_relative_positions_is_an_embedding() -> None:
    model = Decoder()
    model.position_bias = nn.Module()
    model.position_bias.relative_attention_bias = nn.Parameter(torch.zeros(8, 2))
    assert "position_bias.relative_attention_bias" in names(model, "embeddings")
    assert not [name for name in names(model, "biases") if "position" in name]
