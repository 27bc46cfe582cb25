"""Where the text decoder of a model is, and its repeated blocks and its head.

Everything is found by the structure of the module tree and by what transformers' models say of
themselves, not by the names of one architecture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.numerics.scope.norms import is_norm

if TYPE_CHECKING:
    from torch import nn


_OTHER_INPUT = re.compile(r"(^|_)(vision|visual|image|img|audio|video|speech)(_|$)")
"""Names of modules for what is no text."""


@dataclass(frozen=True)
class Structure:
    """The text part of a model, as names of modules."""

    decoder: str
    """What holds the input embedding and the blocks; empty when that is the model itself."""
    others: tuple[str, ...]
    """Inside the decoder: towers of other modalities, and whole models of their own."""
    blocks: tuple[tuple[str, ...], ...]
    """The blocks, first to last, each the modules that make it up: one, except in models that keep
    the layers of a block in lists of their own."""
    head: tuple[str, ...]
    """What makes logits of the decoder's output; empty where the model does not tell."""


def transformer_blocks(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The names of the model's repeated blocks, first to last; empty when it has none.

    Each block is the names of its modules: mostly one, and several in the order in which they run
    in models that keep all attention layers in one list and all feed-forward layers in another.
    In a model of several towers only the text decoder counts.
    """
    return structure_of(model).blocks


def structure_of(model: nn.Module) -> Structure:
    """Find the text decoder of a model, its blocks and its head."""
    modules = dict(model.named_modules())
    names = {id(module): name for name, module in modules.items()}
    embedding = names.get(id(_ask(model, "get_input_embeddings")))
    output = names.get(id(_ask(model, "get_output_embeddings")))
    stacks = _stacks(modules)
    decoder = _decoder(names.get(id(_ask(model, "get_decoder"))), embedding, stacks)
    others = _others(modules, decoder, embedding)
    within = [s for s in stacks if inside(s, decoder)]
    text = [s for s in within if not any(inside(s, other) for other in others)]
    return Structure(
        decoder, others, _blocks(modules, text), _head(modules, decoder, output, stacks)
    )


def inside(name: str, outer: str) -> bool:
    """Whether a module is another or lies in it, by their names."""
    return not outer or name == outer or name.startswith(f"{outer}.")


def parent(name: str) -> str:
    """The name of the module that holds a module or parameter."""
    return name.rpartition(".")[0]


def ancestors(name: str) -> Iterator[str]:
    """The modules around a module, the nearest first and the model itself last."""
    while name:
        name = parent(name)
        yield name


def _ask(module: nn.Module, method: str) -> object:
    """What a method of transformers' models gives; None without it or without an answer."""
    call = getattr(module, method, None)
    if not callable(call):
        return None
    try:
        answer: object = call()
    except Exception:  # models without the thing asked for raise as they like
        return None
    return answer


def _stacks(modules: Mapping[str, nn.Module]) -> list[str]:
    """The outermost containers of alike modules with parameters."""
    stacks: list[str] = []
    outer: tuple[str, ...] = ()
    for name, module in modules.items():
        if not name.startswith(outer) and _is_stack(module):
            outer += (f"{name}." if name else "",)
            if _has_parameters(module):
                stacks.append(name)
    return stacks


def _is_stack(module: nn.Module) -> bool:
    from torch import nn

    if isinstance(module, nn.ModuleList):
        return True
    if not isinstance(module, (nn.ModuleDict, nn.Sequential)):
        return False
    classes = {type(child) for child in module.children()}
    return len(module) > 1 and len(classes) == 1 and all(map(str.isdecimal, _keys(module)))


def _keys(module: nn.Module) -> list[str]:
    """The names of a module's children; not `named_children`, where one that recurs is once."""
    return [key for key, child in module._modules.items() if child is not None]


def _within(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _decoder(declared: str | None, embedding: str | None, stacks: list[str]) -> str:
    """What the model calls its decoder, or else the nearest with a stack around its embedding."""
    around = [declared] if declared else []
    around += ancestors(embedding) if embedding else []
    return next((name for name in around if any(inside(s, name) for s in stacks)), "")


def _others(
    modules: Mapping[str, nn.Module], decoder: str, embedding: str | None
) -> tuple[str, ...]:
    """What lies inside the decoder and is not on the way from token ids to logits."""
    others: list[str] = []
    for name, module in modules.items():
        if name == decoder or not inside(name, decoder) or _holds(name, embedding):
            continue
        if _takes_other_input(name, module, modules.get(embedding or "")):
            outer = [a for a in ancestors(name) if inside(a, decoder) and a != decoder]
            # With the projections around it.
            apart = [a for a in outer if embedding is not None and not _holds(a, embedding)]
            others.append(apart[-1] if apart else name)
    return tuple(dict.fromkeys(others))


def _holds(name: str, embedding: str | None) -> bool:
    return embedding is not None and inside(embedding, name)


def _takes_other_input(name: str, module: nn.Module, embedding: nn.Module | None) -> bool:
    """Whether a module is for what is no text, or a model in itself with embeddings of its own."""
    modalities = getattr(module, "input_modalities", None)
    if modalities and "text" not in modalities:
        return True
    if _OTHER_INPUT.search(name.rpartition(".")[2]):
        return True
    own = _ask(module, "get_input_embeddings")
    return own is not None and embedding is not None and own is not embedding


def _blocks(modules: Mapping[str, nn.Module], stacks: list[str]) -> tuple[tuple[str, ...], ...]:
    """The elements of the stack that holds the most parameters, and of all stacks like it."""
    if not stacks:
        return ()
    sizes = {s: sum(p.numel() for p in modules[s].parameters()) for s in stacks}
    largest = max(stacks, key=lambda stack: sizes[stack])
    classes = _own_classes(modules[largest])
    alike = [s for s in stacks if s == largest or _own_classes(modules[s]) & classes]
    groups = dict.fromkeys(_beside(modules, stacks, stack) for stack in alike)
    return tuple(block for group in groups for block in _elements(modules, group))


def _own_classes(stack: nn.Module) -> set[type]:
    """The classes of a stack's elements but torch's own, which do not tell what they are for."""
    classes = {type(child) for child in stack.children()}
    return {one for one in classes if not one.__module__.startswith("torch.")}


def _beside(modules: Mapping[str, nn.Module], stacks: list[str], stack: str) -> tuple[str, ...]:
    """The stacks that hold parts of the same blocks: blocks in parts have their norms in a list."""
    beside = tuple(
        s
        for s in stacks
        if parent(s) == parent(stack) and len(_keys(modules[s])) == len(_keys(modules[stack]))
    )
    parts = any(is_norm(child) for s in beside for child in modules[s].children())
    return beside if parts else (stack,)


def _elements(
    modules: Mapping[str, nn.Module], stacks: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    for keys in zip(*(_keys(modules[stack]) for stack in stacks), strict=True):
        yield tuple(_within(stack, key) for stack, key in zip(stacks, keys, strict=True))


def _head(
    modules: Mapping[str, nn.Module], decoder: str, output: str | None, stacks: list[str]
) -> tuple[str, ...]:
    """What comes after the decoder, up to the module that the model calls its output embeddings."""
    if output is None or inside(output, decoder):
        return (output,) if output is not None else _named_head(modules, stacks)
    around = next(a for a in ancestors(output) if inside(decoder, a))
    children = [
        _within(around, key)
        for key, child in modules[around].named_children()
        if _has_parameters(child)
    ]
    behind = children[1 + next(i for i, c in enumerate(children) if inside(decoder, c)) :]
    return tuple(
        child
        for child in children
        if inside(output, child) or (child in behind and not any(inside(s, child) for s in stacks))
    )


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _named_head(modules: Mapping[str, nn.Module], stacks: list[str]) -> tuple[str, ...]:
    """The last module called a head outside the stacks, in models that do not tell."""
    heads = [
        name
        for name in modules
        if name.endswith("head") and not any(inside(name, stack) for stack in stacks)
    ]
    return tuple(heads[-1:])
