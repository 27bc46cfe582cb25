"""Which part of the network each parameter belongs to.

Norms, embeddings, token mixing (attention), feed-forward layers and the head are disjoint, up to
tensors that two of them share; biases are in those and in a kind of their own. What belongs to none
(projections between the embedding and the blocks, gates of residual streams) is in no kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_linearity.numerics.scope.norms import is_norm
from pytest_linearity.numerics.scope.structure import Structure, inside, parent

if TYPE_CHECKING:
    from torch import nn

KINDS = ("embeddings", "attention", "mlp", "norms", "head", "biases")

_MLP = re.compile(r"mlp|ffn|feed_?forward|moe|^ff$|^(shared_)?experts?$|^router$")
_ATTENTION = re.compile(r"attn|attention|(^|_)att(_|$)|mamba")
"""Names of what mixes features of one token, and of what mixes tokens."""

_MLP_CLASS = re.compile(r"(MLP|Mlp|MoE|Moe|FFN|FeedForward|Experts)(Block|Layer)?$")
_ATTENTION_CLASS = re.compile(r"(Attention|Mixer|Mamba|MHA|SSM)\d*$")
"""Class names, for modules whose own names tell nothing, as `mixer`."""

_EMBEDDING = re.compile(r"emb(ed|$|_)|^w[tp]e$|^pos(ition)?(_|$)")
_BIAS = re.compile(r"(^|_)bias$")


def parameters_by_kind(model: nn.Module, structure: Structure) -> dict[str, set[int]]:
    """The parameters of each kind in the text part of a model, by `id`."""
    modules = dict(_text_modules(model, structure))
    kinds = _named(modules, structure)
    _complete(model, structure, kinds)
    members: dict[str, set[int]] = {kind: set() for kind in KINDS}
    for name, module in modules.items():
        for key, parameter in module.named_parameters(recurse=False):
            kind = kinds[id(module)]
            if kind is None and _is_table(module, f"{name}.{key}", structure):
                kind = "embeddings"
            if kind is not None:
                members[kind].add(id(parameter))
            if _BIAS.search(key) and kind != "embeddings":
                members["biases"].add(id(parameter))
    return members


def _text_modules(model: nn.Module, structure: Structure) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        in_decoder = inside(name, structure.decoder)
        if any(inside(name, other) for other in structure.others):
            continue
        if in_decoder or any(inside(name, head) for head in structure.head):
            yield name, module


def _named(modules: dict[str, nn.Module], structure: Structure) -> dict[int, str | None]:
    """The kind of each module, by `id`, as far as its own name or one around it tells."""
    from torch import nn

    within_blocks = tuple(f"{part}." for block in structure.blocks for part in block)
    kinds: dict[int, str | None] = {}
    for name, module in modules.items():
        around = modules.get(parent(name))
        inherited = None if around is None or not name else kinds[id(around)]
        if is_norm(module):
            kind: str | None = "norms"
        elif name in structure.head:
            kind = "head"
        elif inherited is not None or name == structure.decoder:
            kind = inherited
        elif isinstance(module, nn.Embedding):
            kind = "embeddings"
        else:
            kind = _by_words(name, module, within_block=name.startswith(within_blocks))
        kinds[id(module)] = kind
    return kinds


def _by_words(name: str, module: nn.Module, *, within_block: bool) -> str | None:
    own, of_class = name.rpartition(".")[2].lower(), type(module).__name__
    # `post_attention_mlp` is a feed-forward layer: the other word tells where.
    if _MLP.search(own):
        return "mlp"
    if _ATTENTION.search(own):
        return "attention"
    if within_block and _MLP_CLASS.search(of_class):
        return "mlp"
    if own == "mixer" or (within_block and _ATTENTION_CLASS.search(of_class)):
        return "attention"
    return None


def _complete(model: nn.Module, structure: Structure, kinds: dict[int, str | None]) -> None:
    """Where only one of the two halves of a block has a name that tells, the rest is the other."""
    for block in structure.blocks:
        rest: list[nn.Module] = []
        named: set[str] = set()
        for part in block:
            for name, module in model.get_submodule(part).named_modules():
                kind = kinds.get(id(module))
                if kind in ("attention", "mlp"):
                    named.add(kind)
                elif kind is None and name:
                    rest.append(module)
        if len(named) == 1:
            other = "mlp" if "attention" in named else "attention"
            kinds.update((id(module), other) for module in rest)


def _is_table(module: nn.Module, name: str, structure: Structure) -> bool:
    """Whether a parameter outside the blocks is looked up rather than multiplied."""
    from torch import nn

    if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return False
    if any(inside(name, part) for block in structure.blocks for part in block):
        return False
    own = name[len(structure.decoder) :] if inside(name, structure.decoder) else name
    return any(_EMBEDDING.search(word) for word in own.split("."))
