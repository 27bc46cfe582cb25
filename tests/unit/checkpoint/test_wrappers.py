"""Names that training tools put around a model's own are taken off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pytest_linearity.checkpoint.headers import Header
from pytest_linearity.checkpoint.load import load_checkpoint
from pytest_linearity.checkpoint.model import _Loader
from pytest_linearity.checkpoint.wrappers import rename, renamed, without_wrappers
from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError
from tests.support.checkpoints import tiny_llama

WEIGHTS = "model.safetensors"
OWN = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight")
Wrap = Callable[[str], str]

WRAPPED: dict[str, Wrap] = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DDP": lambda name: f"module.{name}",
    "DDP around torch.compile": lambda name: f"module._orig_mod.{name}",
    "torch.compile around DDP": lambda name: f"_orig_mod.module.{name}",
    "blocks compiled each": lambda name: name.replace("layers.0.", "layers.0._orig_mod."),
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}".replace(
        "layers.0.", "layers.0._fsdp_wrapped_module."
    ),
    "FSDP around checkpointing": lambda name: name.replace(
        "layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
    "Lightning": lambda name: f"_forward_module.{name}",
    "peft": lambda name: f"base_model.model.{name}",
    "text and images": lambda name: name.replace("model.", "model.language_model.", 1),
    "text and images, before": lambda name: f"language_model.{name}",
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_patterns_undo_each_wrapper(kind: str) -> None:
    wrapped = [WRAPPED[kind](name) for name in OWN]
    assert renamed(wrapped, without_wrappers(wrapped)) == list(OWN)


@pytest.mark.parametrize(
    "names",
    [
        OWN,
        (),
        ("module.a.weight", "b.weight"),  # not before every name: a module of the model's own
        ("model.my_orig_mod.weight", "model.submodule.weight"),
    ],
)
def test_names_of_a_models_own_stay(names: tuple[str, ...]) -> None:
    assert not without_wrappers(names)


def test_a_module_of_the_same_name_stays() -> None:
    names = ["module.module.weight", "module.module.bias"]
    assert [rename(name, without_wrappers(names)) for name in names] == [
        "module.weight",
        "module.bias",
    ]


def wrapped(directory: Path, wrap: Wrap) -> dict[str, torch.Tensor]:
    """A checkpoint whose tensors have wrapped names, and the tensors by their own."""
    path = tiny_llama(directory) / WEIGHTS
    state = load_file(path)
    # One that would be rounded to the dtype of the others, so that it is looked for by name.
    state = {name: t if "norm" in name else t.bfloat16() for name, t in state.items()}
    state["model.norm.weight"] += 1e-4
    save_file({wrap(name): t for name, t in state.items()}, path, metadata={"format": "pt"})
    return state


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 renames fewer")
@pytest.mark.parametrize("kind", WRAPPED)
def test_a_checkpoint_is_loaded_without_them(kind: str, tmp_path: Path) -> None:
    state = wrapped(tmp_path, WRAPPED[kind])
    loaded = load_checkpoint(Config(model_name_or_path=str(tmp_path))).model.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    state = wrapped(tmp_path, WRAPPED["torch.compile"])
    path = tmp_path / WEIGHTS
    both = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
    both["lm_head.weight"] = torch.zeros_like(state["lm_head.weight"])
    save_file(both, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"both lm_head\.weight and _orig_mod\.lm_head"):
        load_checkpoint(Config(model_name_or_path=str(tmp_path)))


def test_what_is_left_over_is_refused_as_ever(tmp_path: Path) -> None:
    state = wrapped(tmp_path, WRAPPED["text and images"])
    names = {WRAPPED["text and images"](name): tensor for name, tensor in state.items()}
    names["model.visual.patch_embed.weight"] = torch.zeros(2)
    save_file(names, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"left over .* model\.visual\.patch_embed\.weight"):
        load_checkpoint(Config(model_name_or_path=str(tmp_path)))


def test_a_model_that_has_such_names_itself_keeps_them(tmp_path: Path) -> None:
    """Models of text and images keep their language model under `model.language_model`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {**sizes, "vocab_size": 103, "num_key_value_heads": 2, "head_dim": 8}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=sizes)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        state = AutoModelForCausalLM.from_config(config).state_dict()
    headers = [
        Header(name, "float32", tuple(tensor.shape), tensor.nbytes, tmp_path)
        for name, tensor in state.items()
    ]
    assert without_wrappers([header.name for header in headers])
    assert _Loader(tmp_path, tmp_path / WEIGHTS, False).patterns(headers) == {}
