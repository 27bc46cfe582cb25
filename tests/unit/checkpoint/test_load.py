"""Checkpoints of every form that can be measured load as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from pytest_linearity.checkpoint import weights
from pytest_linearity.checkpoint.load import Checkpoint, load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError
from pytest_linearity.probes.load import load_probes
from tests.support.checkpoints import character_tokenizer, llama, tiny_llama


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("plain"))


def load(directory: Path | str, **keys: object) -> Checkpoint:
    return load_checkpoint(Config(model_name_or_path=str(directory), **keys))  # type: ignore[arg-type]


def test_what_a_checkpoint_says_of_itself(plain: Path) -> None:
    checkpoint = load(plain)
    assert checkpoint.describe() == {
        "path": str(plain),
        "architecture": "LlamaForCausalLM",
        "parameters": 25184,
        "dtype": "float32",
    }
    assert checkpoint.max_length == 512


def test_a_model_is_ready_to_be_measured(plain: Path) -> None:
    model = load(plain).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config._attn_implementation == "eager"
    assert model.config.use_cache is False


def test_weights_are_those_on_disk(plain: Path) -> None:
    state = load(plain).model.state_dict()
    for name, tensor in load_file(plain / "model.safetensors").items():
        assert torch.equal(state[name], tensor)


def test_loading_says_nothing(plain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(plain)
    assert capfd.readouterr() == ("", "")


def test_weights_stay_mapped_from_their_file(tmp_path: Path) -> None:
    model = load(tiny_llama(tmp_path / "ckpt")).model
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        pytest.skip("needs /proc")
    ranges = [
        tuple(int(edge, 16) for edge in line.split()[0].split("-"))
        for line in mapped.read_text().splitlines()
        if line.endswith(str(tmp_path / "ckpt" / "model.safetensors"))
    ]
    for name, parameter in model.named_parameters():
        place = parameter.data_ptr()
        assert any(low <= place < high for low, high in ranges), name


def test_the_checkpoints_own_dtype_is_kept(tmp_path: Path) -> None:
    checkpoint = load(tiny_llama(tmp_path, dtype=torch.bfloat16))
    assert checkpoint.dtype == "bfloat16"
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.bfloat16}


def edited(directory: Path, name: str, **keys: Any) -> Path:
    """A checkpoint with keys of one of its JSON files set."""
    path = directory / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return directory


def test_an_architecture_as_fsdp2_names_it(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    sharded = edited(copy, "config.json", architectures=["FSDPLlamaForCausalLM"])
    assert load(sharded).architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("kernel", ["flash_attention_2", "sdpa"])
def test_a_kernel_that_the_config_names_is_not_needed(
    plain: Path, tmp_path: Path, kernel: str
) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    model = load(edited(copy, "config.json", _attn_implementation=kernel)).model
    assert model.config._attn_implementation == "eager"


def test_a_longest_length_that_is_written_as_text(plain: Path, tmp_path: Path) -> None:
    copy = edited(
        shutil.copytree(plain, tmp_path / "copy"), "tokenizer_config.json", model_max_length="5"
    )
    config = Config(model_name_or_path=str(copy), prompts=["one and one is two"])
    checkpoint = load_checkpoint(config)
    probes = load_probes(config, checkpoint.tokenizer, max_length=checkpoint.max_length)
    assert len(probes.probes[0].token_ids) > 5


def test_shards(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path, max_shard_size="20KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    assert load(directory).parameters == 25184


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_of_tensors_only(plain: Path, tmp_path: Path, zipped: bool) -> None:
    directory = shutil.copytree(plain, tmp_path / "ckpt")
    (directory / "model.safetensors").unlink()
    state = load_file(plain / "model.safetensors")
    pickled = directory / "pytorch_model.bin"
    torch.save(state, pickled, _use_new_zipfile_serialization=zipped)
    loaded = load(directory).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_tied_weight_is_one(tmp_path: Path) -> None:
    checkpoint = load(tiny_llama(tmp_path, tie=True))
    model = checkpoint.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert checkpoint.parameters == 25184 - 103 * 32


@pytest.mark.parametrize("names", [("lm_head", "model.embed_tokens"), ("lm_head",)])
def test_a_tied_weight_may_be_saved_under_either_name(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    if len(names) == 1 and transformers.__version__ < "5":
        pytest.skip("transformers 4 finds the embedding under its own name only")
    path = tiny_llama(tmp_path, tie=True) / "model.safetensors"
    state = load_file(path)
    embedding = state.pop("model.embed_tokens.weight")
    for name in names:
        state[f"{name}.weight"] = embedding.clone()
    save_file(state, path, metadata={"format": "pt"})
    assert torch.equal(load(tmp_path).model.get_input_embeddings().weight, embedding)


def test_the_tokenizer_may_lie_elsewhere(tmp_path: Path) -> None:
    bare = tiny_llama(tmp_path / "bare", tokenizer=False)
    character_tokenizer().save_pretrained(tmp_path / "tokenizer")
    checkpoint = load(bare, tokenizer_name_or_path=str(tmp_path / "tokenizer"))
    assert checkpoint.tokenizer("Ab")["input_ids"] == [1, 41, 74]


def test_a_relative_path_may_start_at_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(tmp_path / "configs" / "ckpt")
    monkeypatch.chdir(tmp_path)
    config = Config(model_name_or_path="ckpt", source=tmp_path / "configs" / "cfg.yaml")
    assert load_checkpoint(config).path == "ckpt"


def save(model: PreTrainedModel, directory: Path) -> None:
    """Makes a checkpoint of a model."""
    model.save_pretrained(directory)
    character_tokenizer().save_pretrained(directory)


def test_experts_are_eager(tmp_path: Path) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    if not hasattr(PreTrainedModel, "set_experts_implementation"):
        pytest.skip("this transformers has one implementation of experts")
    config = MixtralConfig(
        vocab_size=103,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    save(MixtralForCausalLM(config), tmp_path)
    assert load(tmp_path).model.config._experts_implementation == "eager"


def test_a_decoder_cut_out_of_an_encoder_decoder_is_causal(tmp_path: Path) -> None:
    from transformers import BartConfig, BartForCausalLM

    config = BartConfig(
        vocab_size=103,
        d_model=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
    )
    save(BartForCausalLM(config), tmp_path)
    assert load(tmp_path).architecture == "BartForCausalLM"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 7, 8, 100, 103 * 32 - 1])
def test_one_weight_that_is_not_finite_is_found_anywhere(
    monkeypatch: pytest.MonkeyPatch, bad: float, place: int
) -> None:
    monkeypatch.setattr(weights, "_ENTRIES_AT_ONCE", 8)  # less than a row, so rows are cut too
    model = llama(dtype=torch.bfloat16)
    weights.check_finite(Path("ckpt"), model)
    model.lm_head.weight.data.view(-1)[place] = bad
    with pytest.raises(CheckpointError, match=r"ckpt: lm_head\.weight holds weights that are NaN"):
        weights.check_finite(Path("ckpt"), model)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (100, 7), (2, 3, 50), (1, 1000)])
def testpieces_are_small_views_that_make_up_the_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(weights, "_ENTRIES_AT_ONCE", 16)
    whole = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    pieces = list(weights.pieces(whole))
    assert all(piece.numel() <= 16 for piece in pieces)
    assert all(
        piece.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr() for piece in pieces
    )
    flat = torch.cat([piece.reshape(-1) for piece in pieces]) if pieces else torch.empty(0)
    assert torch.equal(flat, whole.reshape(-1))
