"""Plain modules for tests of scopes: a decoder that tells nothing of itself, and one that does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.scope.match import parameters_in_scope
from pytest_linearity.numerics.scope.names import compact
from pytest_linearity.numerics.scope.parse import parse_scope

WIDTH = 4


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, WIDTH)
        self.q_norm = nn.RMSNorm(WIDTH)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = Mixing()
        self.ln_2 = nn.LayerNorm(WIDTH, bias=False)
        self.mlp = FeedForward()


class Decoder(nn.Module):
    """Tells nothing of itself, as a model of one's own."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.zeros(8, WIDTH))
        self.words = nn.Embedding(10, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.RMSNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, 10, bias=False)


class Tied(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self.lm_head.weight = self.words.weight

    def forward(self) -> Tensor:
        hidden = self.words.weight[:2] + self.pos_emb[:2]
        for block in self.blocks:
            hidden = hidden + block.attn.qkv(block.ln_1(hidden))
        return self.lm_head(self.norm(hidden))


class Telling(nn.Module):
    """Tells of itself what models of transformers tell."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def get_input_embeddings(self) -> nn.Module:
        return self.get_submodule("text.words")


def names(model: nn.Module, scope: str) -> list[str]:
    """The names a scope holds, joined as the report has them."""
    return compact(parameters_in_scope(model, parse_scope(scope)))
