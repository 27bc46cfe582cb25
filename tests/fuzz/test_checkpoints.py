"""Damaged checkpoints: one clear refusal, or the very model that the files hold.

What the files hold is read by the formats' own libraries, which know nothing of models. Where those
cannot read them, nothing may be measured.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_linearity.checkpoint.load import CheckpointWarning, load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import LinearityError
from pytest_linearity.run.analysis import analyze
from tests.support.checkpoints import tiny_llama

CASES = int(os.environ.get("LINEARITY_FUZZ_CASES", "40"))
SINGLE, PICKLE, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"

Damage = Callable[[random.Random, Path], str]
"""Damages a directory, and says how."""


# --- whole checkpoints -------------------------------------------------------------------------


def plain(directory: Path) -> None:
    tiny_llama(directory, hidden=16, blocks=1)


def mixed(directory: Path) -> None:
    plain(directory)
    state = load_file(directory / SINGLE)
    state = {n: t if "norm" in n else t.bfloat16() for n, t in state.items()}
    save_file(state, directory / SINGLE, metadata={"format": "pt"})


def sharded(directory: Path) -> None:
    tiny_llama(directory, hidden=16, blocks=1, max_shard_size="5KB")


def pickled(directory: Path) -> None:
    plain(directory)
    torch.save(load_file(directory / SINGLE), directory / PICKLE)
    (directory / SINGLE).unlink()


WHOLE = {make.__name__: make for make in (plain, mixed, sharded, pickled)}


@dataclass(frozen=True)
class Outcome:
    """What is measured of a directory."""

    state: dict[str, Tensor]
    tokens: list[Any]
    figures: Any


def outcome(directory: Path) -> Outcome:
    config = Config(
        model_name_or_path=str(directory),
        prompts=["1+1=", "ab"],
        num_directions=1,
        radii=[0.1],
        precision="float32",
        param_scope="norms",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        state = load_checkpoint(config).model.state_dict()
        report = analyze(config)
    return Outcome(state, report.probes["rows"], report.pairs)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Outcome]]:
    made = {}
    for name, make in WHOLE.items():
        directory = tmp_path_factory.mktemp(name) / "ckpt"
        make(directory)
        made[name] = directory, outcome(directory)
    return made


# --- ways to damage one ------------------------------------------------------------------------


def any_file(rng: random.Random, directory: Path) -> Path:
    return rng.choice(sorted(path for path in directory.iterdir() if path.is_file()))


def weights_file(rng: random.Random, directory: Path) -> Path:
    return rng.choice(sorted([*directory.glob("*.safetensors"), *directory.glob("*.bin")]))


def truncate(rng: random.Random, directory: Path) -> str:
    path = rng.choice([any_file, weights_file])(rng, directory)
    content = path.read_bytes()
    kept = rng.choice([0, 1, 7, 8, 9, rng.randrange(len(content)), len(content) - 1])
    path.write_bytes(content[:kept])
    return f"{path.name} cut to {kept} bytes"


def flip(rng: random.Random, directory: Path) -> str:
    path = rng.choice([any_file, weights_file])(rng, directory)
    content = bytearray(path.read_bytes())
    places = [rng.randrange(min(len(content), rng.choice([8, 400, 10**9]))) for _ in range(3)]
    for place in places[: rng.choice([1, 1, 3])]:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"{path.name}: bits of the bytes {places} flipped"


def lengthen(rng: random.Random, directory: Path) -> str:
    path = any_file(rng, directory)
    more = rng.choice([b"\0", b"}", b"garbage" * 99])
    path.write_bytes(path.read_bytes() + more)
    return f"{path.name} with {len(more)} bytes more"


def remove(rng: random.Random, directory: Path) -> str:
    path = any_file(rng, directory)
    path.unlink()
    return f"{path.name} removed"


def move(rng: random.Random, directory: Path) -> str:
    path = any_file(rng, directory)
    name = rng.choice([f"{path.name}.bak", f"old-{path.name}", path.name.upper()])
    path.rename(directory / name)
    return f"{path.name} renamed {name}"


def exchange(rng: random.Random, directory: Path) -> str:
    one, other = any_file(rng, directory), any_file(rng, directory)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.name} and {other.name} exchanged"


def turn_into_something_else(rng: random.Random, directory: Path) -> str:
    path = any_file(rng, directory)
    path.unlink()
    kind = rng.choice(["directory", "dangling link", "link to itself", "noise", "text", "pointer"])
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(directory / "nowhere")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "noise":
        path.write_bytes(rng.randbytes(300))
    elif kind == "text":
        path.write_text(rng.choice(["null", "[]", "{}", "3", '"text"', "[[[", "NaN", "{" * 5000]))
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return f"{path.name} is now a {kind}"


WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    3,
    2.5,
    float("nan"),
    "",
    "text",
    "3",
    "é\u0000",
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
    [[[]]],
    10**30,
)


def places_in(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every key or index in a document, with what holds it; long lists and mappings in part."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for number, (key, value) in enumerate(entries):
        if number < 40:
            yield node, key
            if isinstance(value, (dict, list)):
                yield from places_in(value)


def retype(rng: random.Random, directory: Path) -> str:
    """A value of another JSON type, anywhere in any JSON file; a key gone, or one more."""
    path = rng.choice(sorted(directory.glob("*.json")))
    document = json.loads(path.read_bytes())
    shallow = [(document, key) for key in document]
    holder, key = rng.choice(rng.choice([shallow, list(places_in(document))]))
    old = holder[key]
    other = [value for value in WRONG if type(value) is not type(old)]
    if isinstance(holder, dict) and rng.random() < 0.1:
        del holder[key]
        said = f"{path.name}: {key} removed"
    else:
        holder[key] = rng.choice(other)
        said = f"{path.name}: {key} is {holder[key]!r} in place of {str(old)[:60]!r}"
    path.write_text(json.dumps(document))
    return said


def with_header(path: Path, change: Callable[[dict[str, Any]], str]) -> str:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    said = change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return f"{path.name}: {said}"


def reshape(rng: random.Random, directory: Path) -> str:
    """A tensor's entry in a header of safetensors."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        return repickle(rng, directory)

    def change(header: dict[str, Any]) -> str:
        name = rng.choice([name for name in header if name != "__metadata__"])
        entry = header[name]
        start, stop = entry["data_offsets"]
        kind = rng.choice(["dtype", "shape", "data_offsets", "name", "gone", "more", "metadata"])
        dtypes = ["F64", "F32", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "X", 3, None]
        shapes = [
            entry["shape"][::-1],
            [*entry["shape"], 1],
            [stop - start],
            [],
            [0],
            [-1],
            [2.5],
            "a",
            [10**15],
        ]
        offsets = [[stop, start], [start, stop + 4], [start, start], [-4, stop], ["a", "b"], [0]]
        if kind == "dtype":
            entry["dtype"] = rng.choice(dtypes)
        elif kind == "shape":
            entry["shape"] = rng.choice(shapes)
        elif kind == "data_offsets":
            entry["data_offsets"] = rng.choice(offsets)
        elif kind == "name":
            prefix = rng.choice(["module.", "x.", "model.", "_orig_mod."])
            header[rng.choice([prefix + name, name.upper(), ""])] = header.pop(name)
        elif kind == "gone":
            del entry[rng.choice(sorted(entry))]
        elif kind == "more":
            entry["more"] = rng.choice(WRONG[:5])
        else:
            header["__metadata__"] = rng.choice([{}, {"format": "tf"}, {"format": "mlx"}, {"a": 1}])
        return f"{kind} of {name} changed: {header.get(name, header.get('__metadata__'))}"

    return with_header(rng.choice(files), change)


def repickle(rng: random.Random, directory: Path) -> str:
    """A pickle of other things."""
    path = directory / PICKLE
    if not path.is_file():
        return reshape(rng, directory)
    state: dict[Any, Any] = torch.load(path, weights_only=True)
    name = rng.choice(sorted(state))
    tensor = state[name]
    values: list[Any] = [
        tensor.to_sparse(),
        tensor.int(),
        tensor.bfloat16(),
        tensor.double(),
        tensor.to(torch.complex64),
        tensor.T,
        tensor[:0],
        tensor.flatten(),
        tensor.to("meta"),
        torch.nn.Parameter(tensor),
        3,
        None,
        {"a": tensor},
        [tensor],
        torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    ]
    kind = rng.choice(["value", "key", "nested", "list", "module"])
    if kind == "value":
        state[name] = rng.choice(values)
        kind = f"{name} is {type(state[name]).__name__} {getattr(state[name], 'dtype', '')}"
    elif kind == "key":
        state[rng.choice([3, None, ("a",), b"a", f"module.{name}"])] = state.pop(name)
    contents: dict[str, Any] = {
        "nested": {"state_dict": state},
        "list": list(state.values()),
        "module": torch.nn.Linear(2, 2),
    }
    torch.save(contents.get(kind, state), path, _use_new_zipfile_serialization=rng.random() < 0.5)
    return f"{path.name}: {kind}"


def replace(rng: random.Random, directory: Path) -> str:
    """Where the index says that tensors are."""
    path = directory / INDEX
    if not path.is_file():
        return add(rng, directory)
    document = json.loads(path.read_text())
    placed = document["weight_map"]
    name = rng.choice(sorted(placed))
    shard = rng.choice(
        [*set(placed.values()), "config.json", "", ".", "..", "/etc/passwd", "a/b", None, 3, []]
    )
    if rng.random() < 0.3:
        del placed[name]
    else:
        placed[name] = shard
    path.write_text(json.dumps(document))
    return f"{path.name}: {name} is in {placed.get(name, 'no file')!r}"


def add(rng: random.Random, directory: Path) -> str:
    """Something that does not belong there."""
    name = rng.choice(
        [
            "adapter_config.json",
            "adapter_model.safetensors",
            "generation_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "preprocessor_config.json",
            "processor_config.json",
            "trainer_state.json",
            "quantize_config.json",
            "chat_template.json",
            "chat_template.jinja",
            "vocab.json",
            "merges.txt",
            "tokenizer.model",
            "optimizer.pt",
            "model.safetensors",
            "model-00009-of-00009.safetensors",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "modeling_llama.py",
            "additional_chat_templates",
        ]
    )
    path = directory / name
    if path.exists():
        return remove(rng, directory)
    kind = rng.choice(["empty", "noise", "object", "list", "of wrong types", "directory"])
    if kind == "directory":
        path.mkdir()
    else:
        wrong = {"adapters": 3, "bos_token": 3, "weight_map": {"a": "b"}, "chat_template": []}
        contents = {
            "empty": b"",
            "noise": rng.randbytes(200),
            "object": b"{}",
            "list": b"[]",
            "of wrong types": json.dumps(wrong).encode(),
        }
        path.write_bytes(contents[kind])
    return f"{name} added: {kind}"


DAMAGES: tuple[Damage, ...] = (
    truncate,
    flip,
    lengthen,
    remove,
    move,
    exchange,
    turn_into_something_else,
    retype,
    retype,
    retype,
    reshape,
    repickle,
    replace,
    add,
)


def damage(rng: random.Random, directory: Path) -> str:
    """One of them, of what the ones before it have left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return rng.choice(DAMAGES)(rng, directory)
        except (LookupError, TypeError, ValueError, RuntimeError, struct.error, UnpicklingError):
            return "nothing, as there was nothing whole"


# --- what may come of it -----------------------------------------------------------------------


def held(directory: Path) -> dict[str, Tensor] | None:
    """The tensors in a directory's files, where their own libraries can read them."""
    try:
        if (directory / SINGLE).is_file():
            return load_file(directory / SINGLE)
        if (directory / INDEX).is_file():
            placed = json.loads((directory / INDEX).read_text())["weight_map"]
            shards = [load_file(directory / shard) for shard in sorted(set(placed.values()))]
            return {name: tensor for shard in shards for name, tensor in shard.items()}
        return dict(torch.load(directory / PICKLE, weights_only=True))
    except Exception:
        return None


def bare(name: str) -> str:
    """A name without what may stand before it, or be missing there."""
    return re.sub(r"^((module|_orig_mod|model)\.)+", "", name)


@pytest.mark.parametrize("case", range(CASES))
def test_a_damaged_checkpoint(
    case: int, wholes: dict[str, tuple[Path, Outcome]], tmp_path: Path
) -> None:
    rng = random.Random(f"checkpoint {case}")
    whole, expected = wholes[rng.choice(sorted(wholes))]
    damaged = shutil.copytree(whole, tmp_path / "ckpt")
    said = "; ".join(damage(rng, damaged) for _ in range(rng.choice([1, 1, 1, 2])))
    stored = held(damaged)
    try:
        measured = outcome(damaged)
    except LinearityError as error:
        message = str(error)
        assert "\n" not in message, said
        assert str(damaged) in message, f"{said}: {message}"
        assert len(message) < 600, f"{said}: {message}"
        return
    assert stored is not None, f"{said}: measured what cannot be read"
    stored = {bare(name): tensor for name, tensor in stored.items()}
    for name, tensor in measured.state.items():
        assert bare(name) in stored, f"{said}: {name} is made up"
        assert torch.equal(stored[bare(name)], tensor), f"{said}: {name} is another"
    unchanged = all(torch.equal(measured.state[n], t) for n, t in expected.state.items())
    if unchanged and measured.tokens == expected.tokens:
        for name, figures in expected.figures["0.1"].items():
            ours = torch.tensor(measured.figures["0.1"][name])
            # Weights of the same values in float64 are measured in float64.
            near = torch.allclose(ours, torch.tensor(figures), rtol=1e-3, atol=0)
            assert near, f"{said}: the model is another"
