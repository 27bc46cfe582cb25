"""Broken checkpoints, each refused in one line that says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_linearity.checkpoint.headers import check_dtypes
from pytest_linearity.checkpoint.load import load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError
from tests.support.checkpoints import character_tokenizer, tiny_llama

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SECOND = "model-00002-of-00007.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("sharded"), max_shard_size="20KB")


def refusal(directory: Path | str, **keys: Any) -> str:
    """The one line that a checkpoint is refused with."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(Config(model_name_or_path=str(directory), **keys))
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- ways to break one -------------------------------------------------------------------------

Break = Callable[[Path], None]


def cut(name: str, kept: int) -> Break:
    """Keeps the first bytes of a file, or all but the last."""

    def break_it(directory: Path) -> None:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[:kept])

    return break_it


def write(name: str, content: bytes | str | dict[str, Any] | list[Any]) -> Break:
    """Replaces a file."""

    def break_it(directory: Path) -> None:
        text = json.dumps(content) if isinstance(content, (dict, list)) else content
        (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return break_it


def alone(name: str, content: bytes | str | dict[str, Any]) -> Break:
    """Writes a file where the weights were."""

    def break_it(directory: Path) -> None:
        (directory / WEIGHTS).unlink()
        write(name, content)(directory)

    return break_it


def remove(name: str) -> Break:
    """Removes a file."""
    return lambda directory: (directory / name).unlink()


def config(**keys: Any) -> Break:
    """Sets keys of config.json."""

    def break_it(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return break_it


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Break:
    """Edits the tensors in the weights."""

    def break_it(directory: Path) -> None:
        state = load_file(directory / WEIGHTS)
        change(state)
        save_file(state, directory / WEIGHTS, metadata={"format": "pt"})

    return break_it


def plant(value: float, name: str) -> Break:
    """Sets one weight."""
    return tensors(lambda state: state[name][1, 2:3].fill_(value))


def index(change: Callable[[dict[str, str]], object]) -> Break:
    """Edits the index of the shards."""

    def break_it(directory: Path) -> None:
        document = json.loads((directory / INDEX).read_text())
        change(document["weight_map"])
        (directory / INDEX).write_text(json.dumps(document))

    return break_it


OTHER = "model-00008-of-00007.safetensors"


def copied_shard(directory: Path) -> None:
    """Names a copy of a shard in the index, for one of its tensors."""
    shutil.copy(directory / SECOND, directory / OTHER)
    index(lambda placed: placed.update({next(n for n in placed if placed[n] == SECOND): OTHER}))(
        directory
    )


UP = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"


def stored_as(dtype: torch.dtype, name: str) -> Break:
    """Stores one tensor in another dtype."""
    return tensors(lambda state: state.update({name: state[name].to(dtype)}))


BROKEN: dict[str, tuple[Break, list[str]]] = {
    "weights are int8": (stored_as(torch.int8, UP), [f"{UP} is stored as int8", "unquantised"]),
    "weights are uint8": (stored_as(torch.uint8, UP), [f"{UP} is stored as uint8"]),
    "a norm is bool": (stored_as(torch.bool, NORM), [f"{NORM} is stored as bool"]),
    "weights are float8": (
        stored_as(torch.float8_e4m3fn, UP),
        [f"{UP} is stored as float8_e4m3fn", "as float32 or bfloat16"],
    ),
    "weights cut at the end": (cut(WEIGHTS, -100), [WEIGHTS, "cut", "not fully covered"]),
    "weights cut in the header": (cut(WEIGHTS, 50), [WEIGHTS, "invalid header length"]),
    "weights empty": (cut(WEIGHTS, 0), [WEIGHTS, "header too small"]),
    "weights are noise": (write(WEIGHTS, b"\xff" * 999), [WEIGHTS, "header too large"]),
    "weights are a pointer": (
        write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        [WEIGHTS, "git lfs pull"],
    ),
    "weights gone": (remove(WEIGHTS), ["has no weights", WEIGHTS]),
    "head missing": (
        tensors(lambda state: state.pop("lm_head.weight")),
        ["missing, and would be random: lm_head.weight"],
    ),
    "five tensors missing": (
        tensors(lambda state: [state.pop(name) for name in list(state) if ".1.self_attn" in name]),
        ["missing", "model.layers.1.self_attn.k_proj.weight", "and 1 more"],
    ),
    "a tensor left over": (
        tensors(lambda state: state.update({"model.extra.weight": torch.zeros(2)})),
        ["left over that LlamaForCausalLM does not use: model.extra.weight"],
    ),
    "a whole block left over": (config(num_hidden_layers=1), ["left over", "layers.1"]),
    "a tensor of another shape": (
        tensors(lambda state: state.update({UP: torch.zeros(64, 16)})),
        [UP, "but LlamaForCausalLM needs [64, 32]"],
    ),
    "a tensor that was not gathered": (
        tensors(lambda state: state.update({UP: torch.zeros(0)})),
        [f"{WEIGHTS}: {UP} is empty (shape [0])", "stage3_gather_16bit_weights_on_model_save"],
    ),
    "a NaN": (plant(float("nan"), UP), [f"{UP} holds weights that are NaN or infinite"]),
    "an infinity": (plant(float("inf"), "lm_head.weight"), ["lm_head.weight", "NaN or infinite"]),
    "a minus infinity": (plant(float("-inf"), UP), [UP, "NaN or infinite"]),
    "no config": (remove("config.json"), ["has no config.json"]),
    "config cut": (cut("config.json", 40), ["config.json: is not readable JSON"]),
    "config a list": (write("config.json", []), ["config.json: holds no JSON object"]),
    "config not UTF-8": (write("config.json", b"\xff\xfe\xff"), ["config.json: is not readable"]),
    "config empty": (write("config.json", {}), ["config.json", "model_type"]),
    "an unknown kind": (config(model_type="nonesuch"), ["config.json", "nonesuch"]),
    "a nonsensical size": (config(hidden_size="wide"), []),
    "heads that do not divide": (config(num_attention_heads=5), []),
    "true for a number": (
        config(rms_norm_eps=True),
        ["config.json", "rms_norm_eps"],
    ),
    "true for an angle": (
        config(rope_theta=True),
        ["config.json: rope_theta: True is not a number"],
    ),
    "true for a number inside": (
        config(rope_scaling={"rope_type": "linear", "factor": True}),
        ["config.json: rope_scaling.factor: True is not a number"],
    ),
    "text for a switch": (config(tie_word_embeddings="no"), ["config.json", "tie_word_embeddings"]),
    "another head": (
        config(architectures=["LlamaForSequenceClassification"]),
        ["LlamaForSequenceClassification is not a causal language model"],
    ),
    "no head": (config(architectures=["LlamaModel"]), ["LlamaModel is not a causal"]),
    "quantised": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        ["is quantised (bitsandbytes)", "take the unquantised checkpoint"],
    ),
    "an adapter": (
        alone("adapter_config.json", {"base_model_name_or_path": "some/base"}),
        ["is an adapter, not a full checkpoint: merge it into some/base first"],
    ),
    "a broken adapter": (
        alone("adapter_config.json", "{"),
        ["adapter_config.json: is not readable JSON"],
    ),
    "no tokenizer": (
        lambda directory: [path.unlink() for path in directory.glob("tokenizer*")] and None,
        ["holds no tokenizer: set tokenizer_name_or_path"],
    ),
    "a broken tokenizer": (
        write("tokenizer.json", "{}"),
        ["its tokenizer cannot be loaded", "tokenizer_name_or_path"],
    ),
}
BROKEN_SHARDS: dict[str, tuple[Break, list[str]]] = {
    "a shard missing": (remove(SECOND), ["shards are missing: " + SECOND]),
    "a shard cut": (cut(SECOND, -1), [SECOND, "is cut or corrupt"]),
    "index names a tensor in the wrong shard": (
        index(lambda placed: placed.update({"model.norm.weight": SECOND})),
        [f"{SECOND}: lacks model.norm.weight, which {INDEX} says is in it"],
    ),
    "index names a shard that is not there": (
        index(lambda placed: placed.update({"model.norm.weight": "other.safetensors"})),
        ["shards are missing: other.safetensors"],
    ),
    "index leads out of the directory": (
        index(lambda placed: placed.update({"model.norm.weight": "../../etc/passwd"})),
        ["'../../etc/passwd' is not the name of a file beside it"],
    ),
    "index without a map": (write(INDEX, {"metadata": {}}), [INDEX, "has no weight_map"]),
    "index cut": (cut(INDEX, 100), [INDEX, "is not readable JSON"]),
    "a tensor in two shards": (
        copied_shard,
        [f"{OTHER}: holds model.", f", which {SECOND} holds, too: one of them is stale"],
    ),
    "all of a shard unknown to the index": (
        index(lambda placed: [placed.pop(k) for k, v in list(placed.items()) if v == SECOND]),
        ["missing, and would be random"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    broken = shutil.copytree(whole, tmp_path / "ckpt")
    break_it, words = BROKEN[name]
    break_it(broken)
    message = refusal(broken)
    assert message.startswith(str(broken))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update({3: state.pop(NORM)}), "other names than text"),
        (lambda state: state.update({NORM: state[NORM].to_sparse()}), "not all dense"),
        (lambda state: state.update({NORM: 3}), "not a mapping of names to tensors"),
        (lambda state: state.update({NORM: state[NORM].to(torch.complex64)}), "complex64"),
    ],
)
def test_a_pickle_of_something_else_is_refused(
    whole: Path, tmp_path: Path, change: Callable[[dict[Any, Any]], object], words: str
) -> None:
    broken = shutil.copytree(whole, tmp_path / "ckpt")
    state: dict[Any, Any] = load_file(broken / WEIGHTS)
    (broken / WEIGHTS).unlink()
    change(state)
    torch.save(state, broken / "pytorch_model.bin")
    assert words in refusal(broken)


@pytest.mark.parametrize("name", BROKEN_SHARDS)
def test_broken_shards_are_refused(sharded: Path, tmp_path: Path, name: str) -> None:
    broken = shutil.copytree(sharded, tmp_path / "ckpt")
    break_it, words = BROKEN_SHARDS[name]
    break_it(broken)
    message = refusal(broken)
    for word in words:
        assert word in message


def test_training_output_lists_its_checkpoints(whole: Path, tmp_path: Path) -> None:
    for step in (1000, 500):
        shutil.copytree(whole, tmp_path / f"checkpoint-{step}")
    words = "give one of the checkpoints in it: checkpoint-500, checkpoint-1000"
    assert refusal(tmp_path).endswith(f"has no config.json; {words}")
    shutil.copy(whole / "config.json", tmp_path)
    assert refusal(tmp_path).endswith(words)
    shutil.copy(whole / WEIGHTS, tmp_path)
    for path in whole.glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    assert load_checkpoint(Config(model_name_or_path=str(tmp_path))).parameters == 25184


def test_paths_that_are_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "there is no such directory" in refusal(tmp_path / "none")
    assert "there is no such directory" in refusal("./a/b")
    assert "there is no such directory" in refusal("a/b/c")
    assert "has no config.json" in refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "is a file, but a checkpoint's directory is needed" in refusal(tmp_path / "file")
    message = refusal("no-one/nothing")
    assert "no-one/nothing is no directory here" in message
    assert "forbidden by HF_HUB_OFFLINE" in message
    ckpt = tiny_llama(tmp_path / "ckpt")
    for name in ("./none", "no-one/nothing"):
        assert f"tokenizer_name_or_path: {name}: " in refusal(ckpt, tokenizer_name_or_path=name)


def test_more_tokens_than_embeddings(tmp_path: Path) -> None:
    message = refusal(tiny_llama(tmp_path, vocab=64))
    assert "embeds 64 tokens, but its tokenizer has ids up to 102" in message


def test_integers_beside_the_weights_are_fine(whole: Path, tmp_path: Path) -> None:
    """Masks and positions that older versions of transformers saved along with the weights."""
    shutil.copytree(whole, tmp_path / "copy")
    state = load_file(tmp_path / "copy" / WEIGHTS)
    save_file(
        {**state, "model.layers.0.self_attn.bias": torch.ones(2, 2, dtype=torch.uint8)},
        tmp_path / "copy" / WEIGHTS,
        metadata={"format": "pt"},
    )
    check_dtypes(tmp_path / "copy", tmp_path / "copy" / WEIGHTS)


def test_padded_embeddings_are_fine(tmp_path: Path) -> None:
    directory = tiny_llama(tmp_path, vocab=128)
    assert load_checkpoint(Config(model_name_or_path=str(directory))).parameters > 25184


def tiny(kind: str) -> dict[str, Any]:
    """Keys of a config that make a model of two hidden units or so."""
    if kind == "t5":
        return {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    if kind == "bart":
        layers = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        return {**layers, **heads, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    return {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }


@pytest.mark.parametrize(
    ("kind", "architecture", "words"),
    [
        ("bert", "BertForMaskedLM", "not a causal language model"),
        ("bert", "BertLMHeadModel", "an encoder (is_decoder is false)"),
        ("roberta", "RobertaForCausalLM", "an encoder (is_decoder is false)"),
        ("t5", "T5ForConditionalGeneration", "a sequence-to-sequence model"),
        ("bart", "BartForConditionalGeneration", "a sequence-to-sequence model"),
        ("vit", "ViTForImageClassification", "not a causal language model"),
    ],
)
def test_models_that_are_not_causal(
    tmp_path: Path, kind: str, architecture: str, words: str
) -> None:
    import transformers

    settings = transformers.AutoConfig.for_model(kind, **tiny(kind))
    if kind != "vit":
        settings.vocab_size = 103
    getattr(transformers, architecture)(settings).save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    assert f"{architecture} is {words}" in refusal(tmp_path)
