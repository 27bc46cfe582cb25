"""Scopes on plain modules: what they hold, and what is said when they hold nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from pytest_linearity import Directions, measure
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.scope.match import match_scope, parameters_in_scope
from pytest_linearity.numerics.scope.parse import parse_scope
from tests.support.scope_models import WIDTH, Decoder, Tied, names


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("embeddings", ["pos_emb", "words.weight"]),
        ("head", ["lm_head.weight"]),
        ("attention", ["blocks.{0-2}.attn.qkv.weight", "blocks.{0-2}.attn.qkv.bias"]),
        ("mlp", ["blocks.{0-2}.mlp.up.weight", "blocks.{0-2}.mlp.down.weight"]),
        ("biases", ["blocks.{0-2}.ln_1.bias", "blocks.{0-2}.attn.qkv.bias"]),
        (
            "norms",
            [
                "blocks.{0-2}.ln_1.weight",
                "blocks.{0-2}.ln_1.bias",
                "blocks.{0-2}.attn.q_norm.weight",
                "blocks.{0-2}.ln_2.weight",
                "norm.weight",
            ],
        ),
        ("regex:mlp.*down|^norm", ["blocks.{0-2}.mlp.down.weight", "norm.weight"]),
        ("regex:^blocks.1.mlp", ["blocks.1.mlp.up.weight", "blocks.1.mlp.down.weight"]),
        ("head+regex:1.mlp.up", ["blocks.1.mlp.up.weight", "lm_head.weight"]),
        ("lm_head", None),
    ],
)
def test_kinds(scope: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="is not a scope"):
            names(Decoder(), scope)
    else:
        assert names(Decoder(), scope) == expected


@pytest.mark.parametrize(
    ("scope", "blocks"),
    [
        ("last_blocks:1", [2]),
        ("last_blocks:3", [0, 1, 2]),
        ("first_blocks:1", [0]),
        ("first_blocks:2", [0, 1]),
        ("blocks:0-2", [0, 1, 2]),
        ("blocks:1-2", [1, 2]),
        ("blocks:1-1", [1]),
        ("blocks:1", [1]),
        ("first_blocks:1+last_blocks:1", [0, 2]),
        ("blocks:0-1+blocks:1-2", [0, 1, 2]),
    ],
)
def test_blocks(scope: str, blocks: list[int]) -> None:
    model = Decoder()
    expected = [
        name
        for name, _ in model.named_parameters()
        if name.startswith("blocks.") and int(name[7]) in blocks
    ]
    assert list(parameters_in_scope(model, parse_scope(scope))) == expected


def test_full_is_every_parameter() -> None:
    model = Tied()
    assert list(parameters_in_scope(model, parse_scope("full"))) == [
        name for name, _ in model.named_parameters()
    ]


def test_a_tied_tensor_is_in_both_scopes_and_once_in_their_sum() -> None:
    model = Tied()
    assert names(model, "head") == ["words.weight"]
    assert names(model, "embeddings") == ["pos_emb", "words.weight"]
    assert names(model, "head+embeddings") == ["pos_emb", "words.weight"]
    match = match_scope(model, parse_scope("head+embeddings"))
    assert (match.tensors, match.parameters) == (2, 8 * WIDTH + 10 * WIDTH)


def test_regex_finds_a_tied_tensor_under_each_name() -> None:
    assert names(Tied(), "regex:lm_head") == ["words.weight"]


def test_describe() -> None:
    match = match_scope(Decoder(), parse_scope("mlp+last_blocks:1"))
    block = 2 * WIDTH + WIDTH * WIDTH + WIDTH + WIDTH + WIDTH + 4 * WIDTH * WIDTH
    assert match.describe() == {
        "param_scope": "mlp+last_blocks:1",
        "tensors": 6 + 6,
        "parameters": 2 * 4 * WIDTH * WIDTH + block,
        "names": [
            "blocks.{0-2}.mlp.up.weight",
            "blocks.{0-2}.mlp.down.weight",
            "blocks.2.ln_1.weight",
            "blocks.2.ln_1.bias",
            "blocks.2.attn.qkv.weight",
            "blocks.2.attn.qkv.bias",
            "blocks.2.attn.q_norm.weight",
            "blocks.2.ln_2.weight",
        ],
        "parts": [
            {
                "param_scope": "mlp",
                "tensors": 6,
                "parameters": 3 * 4 * WIDTH * WIDTH,
                "names": ["blocks.{0-2}.mlp.up.weight", "blocks.{0-2}.mlp.down.weight"],
            },
            match.parts[1].describe(),
        ],
    }
    assert match.parts[1].parameters == block
    assert "parts" not in match.parts[1].describe()


@pytest.mark.parametrize(
    ("model", "scope", "message"),
    [
        (
            Decoder,
            "last_blocks:4",
            "'last_blocks:4' asks for 4 blocks, the model has 3; "
            "accepted are `last_blocks:1` to `last_blocks:3`",
        ),
        (
            Decoder,
            "first_blocks:9",
            "'first_blocks:9' asks for 9 blocks, the model has 3; "
            "accepted are `first_blocks:1` to `first_blocks:3`",
        ),
        (
            Decoder,
            "norms+blocks:1-3",
            "'blocks:1-3' asks for block 3, the model has 3, counted from 0; "
            "accepted are numbers from 0 to 2",
        ),
        (
            lambda: nn.Linear(2, 2),
            "last_blocks:1",
            "'last_blocks:1' on a model without repeated blocks; use `full` or `regex:…`",
        ),
        (
            lambda: nn.Linear(2, 2),
            "attention",
            "'attention' matches no parameter of Linear; "
            "it has `full` (2 tensors), `biases` (1 tensor)",
        ),
        (
            Decoder,
            "regex:fc9",
            "'regex:fc9' matches no parameter of Decoder; it has `full` (28 tensors), "
            "`blocks:0-2` (24 tensors), `embeddings` (2 tensors), `attention` (6 tensors), "
            "`mlp` (6 tensors), `norms` (13 tensors), `head` (1 tensor), `biases` (6 tensors), "
            "names such as 'blocks.1.attn.q_norm.weight'",
        ),
        (Decoder, "mlp+regex:fc9", "'regex:fc9' in 'mlp+regex:fc9' matches no parameter of"),
        (nn.ReLU, "full", "'full' matches no parameter of ReLU; it has no parameters at all"),
    ],
)
def test_what_does_not_match(model: Callable[[], nn.Module], scope: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        match_scope(model(), parse_scope(scope))
    assert str(caught.value).startswith(f"param_scope: {message}")
    assert "\n" not in str(caught.value)


def test_directions_and_measurement_take_a_sum() -> None:
    model = Tied().double().requires_grad_(False)
    directions = Directions(model, 2, scope="embeddings+attention")
    assert set(directions.names) == set(
        parameters_in_scope(model, parse_scope("attention+head+regex:pos_emb"))
    )
    measured = measure(model, model, directions, [1e-4], "float64")
    assert float(measured.relative_error.max()) < 1e-2
