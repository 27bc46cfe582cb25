"""Weights have the values of their files, whatever dtypes those have and the config says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from pytest_linearity.checkpoint import dtypes, model
from pytest_linearity.checkpoint.headers import Header, main_dtype, read_headers
from pytest_linearity.checkpoint.load import Checkpoint, load_base, load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError
from pytest_linearity.run.analysis import analyze
from tests.support.checkpoints import character_tokenizer, llama, tiny_llama

State = dict[str, Tensor]
WEIGHTS = "model.safetensors"
five = pytest.mark.skipif(transformers.__version__ < "5", reason="names of transformers 5")


def load(directory: Path, **keys: Any) -> Checkpoint:
    return load_checkpoint(Config(model_name_or_path=str(directory), **keys))


def exact(seed: int = 0, **options: Any) -> State:
    """Weights of a tiny Llama in float32, nearly all of which bfloat16 would round."""
    state = {name: t.clone() for name, t in llama(seed=seed, **options).state_dict().items()}
    noise = torch.Generator().manual_seed(seed)
    return {name: t + 1e-4 * torch.randn(t.shape, generator=noise) for name, t in state.items()}


def mixed(state: State, narrow: torch.dtype, keep: Callable[[str], bool]) -> State:
    """All but some of the weights in a narrower dtype."""
    return {name: t if keep(name) else t.to(narrow) for name, t in state.items()}


def is_norm(name: str) -> bool:
    return "norm" in name


def save(state: State, directory: Path, says: str = "bfloat16", **options: Any) -> Path:
    """A checkpoint of weights as they are, whose config says a dtype."""
    tiny_llama(directory, **options)
    save_file(state, directory / WEIGHTS, metadata={"format": "pt"})
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": says}))
    return directory


def same(loaded: PreTrainedModel, state: State) -> None:
    """Bit for bit, and in the dtype of the file."""
    ours = loaded.state_dict()
    assert ours.keys() == state.keys()
    for name, tensor in state.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


class TestOneDtype:
    @pytest.mark.parametrize("says", ["bfloat16", "float16", "float64", "auto", "torch.bfloat16"])
    def test_float32_whatever_the_config_says(self, tmp_path: Path, says: str) -> None:
        state = exact()
        checkpoint = load(save(state, tmp_path, says))
        same(checkpoint.model, state)
        assert checkpoint.describe()["dtype"] == "float32"
        assert "dtypes" not in checkpoint.describe()
        assert checkpoint.model.dtype == checkpoint.model.config.dtype == torch.float32

    def test_bfloat16_under_a_config_of_float32(self, tmp_path: Path) -> None:
        state = mixed(exact(), torch.bfloat16, lambda name: False)
        checkpoint = load(save(state, tmp_path, "float32"))
        same(checkpoint.model, state)
        assert checkpoint.dtype == "bfloat16"

    def test_its_figures_are_not_those_of_rounded_weights(self, tmp_path: Path) -> None:
        """What `zero_to_fp32` leaves: a config of bfloat16 beside weights of float32."""
        state = exact()
        rounded = {name: tensor.bfloat16().float() for name, tensor in state.items()}
        figures = {
            name: analyze(
                Config(
                    model_name_or_path=str(save(weights, tmp_path / name, says)),
                    prompts=["1+1="],
                    num_directions=2,
                    radii=[0.1],
                )
            ).pairs
            for name, weights, says in (
                ("gathered", state, "bfloat16"),
                ("declared", state, "float32"),
                ("rounded", rounded, "float32"),
            )
        }
        assert figures["gathered"] == figures["declared"]
        assert figures["gathered"] != figures["rounded"]


@pytest.mark.parametrize(
    "says", ["auto", "torch.float32", "bf16", "", None, 3, ["x"], {"": "auto"}, "Tensor", "int8"]
)
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_dtype_of_the_config_is_never_in_the_way(tmp_path: Path, key: str, says: Any) -> None:
    tiny_llama(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["dtype" if "dtype" in config else "torch_dtype"]
    path.write_text(json.dumps({**config, key: says}))
    checkpoint = load(tmp_path)
    same(checkpoint.model, load_file(tmp_path / WEIGHTS))
    assert checkpoint.model.name_or_path == checkpoint.tokenizer.name_or_path == str(tmp_path)
    assert json.loads(path.read_text())[key] == says


def with_norms(directory: Path) -> State:
    """A checkpoint of bfloat16 with norms in float32."""
    state = mixed(exact(), torch.bfloat16, is_norm)
    save(state, directory)
    return state


def in_shards(directory: Path) -> State:
    state = mixed(exact(), torch.bfloat16, is_norm)
    names = sorted(state)
    tiny_llama(directory)
    (directory / WEIGHTS).unlink()
    placed = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(placed.values()):
        part = {name: state[name] for name in names if placed[name] == shard}
        save_file(part, directory / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": placed}
    (directory / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return state


def pickled(directory: Path, *, zipped: bool) -> State:
    state = with_norms(directory)
    (directory / WEIGHTS).unlink()
    torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return state


class TestSeveralDtypes:
    @pytest.mark.parametrize(
        "make",
        [
            with_norms,
            in_shards,
            lambda path: pickled(path, zipped=True),
            lambda path: pickled(path, zipped=False),
        ],
        ids=["one file", "shards", "zipped pickle", "old pickle"],
    )
    def test_are_kept_tensor_by_tensor(self, tmp_path: Path, make: Callable[[Path], State]) -> None:
        state = make(tmp_path)
        checkpoint = load(tmp_path)
        same(checkpoint.model, state)
        assert checkpoint.describe()["dtype"] == "bfloat16"
        assert checkpoint.describe()["dtypes"] == {"bfloat16": 25024, "float32": 160}
        assert not any(p.requires_grad for p in checkpoint.model.parameters())

    def test_of_which_most_is_wider(self, tmp_path: Path) -> None:
        state = mixed(exact(), torch.bfloat16, lambda name: not is_norm(name))
        checkpoint = load(save(state, tmp_path))
        loaded = checkpoint.model.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
        assert checkpoint.describe()["dtypes"] == {"float32": 25024, "bfloat16": 160}

    def test_neither_of_which_holds_the_other(self, tmp_path: Path) -> None:
        state = {n: t.half() if is_norm(n) else t.bfloat16() for n, t in exact().items()}
        same(load(save(state, tmp_path)).model, state)

    def test_float64_among_them(self, tmp_path: Path) -> None:
        state = mixed(exact(), torch.bfloat16, is_norm)
        state["model.norm.weight"] = torch.linspace(0.9, 1.1, 32, dtype=torch.float64)
        same(load(save(state, tmp_path)).model, state)

    def test_stay_mapped_from_their_file(self, tmp_path: Path) -> None:
        if not Path("/proc/self/maps").exists():
            pytest.skip("needs /proc")
        with_norms(tmp_path)
        loaded = load(tmp_path).model
        ranges = [
            tuple(int(edge, 16) for edge in line.split()[0].split("-"))
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.endswith(str(tmp_path / WEIGHTS))
        ]
        for name, parameter in loaded.named_parameters():
            place = parameter.data_ptr()
            assert any(low <= place < high for low, high in ranges), name

    def test_a_tied_weight_stays_tied(self, tmp_path: Path) -> None:
        name = "model.embed_tokens.weight"
        state = mixed(exact(tie=True), torch.bfloat16, lambda other: other == name)
        del state["lm_head.weight"]
        checkpoint = load(save(state, tmp_path, tie=True))
        assert checkpoint.dtype == "bfloat16"  # and not that of the first weight
        loaded = checkpoint.model
        head, embedding = loaded.get_output_embeddings(), loaded.get_input_embeddings()
        assert head.weight is embedding.weight
        assert torch.equal(head.weight, state[name])

    def test_a_tied_weight_counts_once(self, tmp_path: Path) -> None:
        state = mixed(exact(tie=True), torch.bfloat16, is_norm)
        del state["lm_head.weight"]
        checkpoint = load(save(state, tmp_path, tie=True))
        assert checkpoint.dtypes == {"bfloat16": 21888 - 160, "float32": 160}
        assert sum(checkpoint.dtypes.values()) == checkpoint.parameters

    def test_names_without_those_of_the_base_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = loads(monkeypatch)
        state = mixed(exact(tie=True), torch.bfloat16, is_norm)
        del state["lm_head.weight"]
        for name in filter(is_norm, state):
            state[name] = torch.full((32,), 1.001)  # by its values it would not be told apart
        bare = {name.removeprefix("model."): tensor for name, tensor in state.items()}
        loaded = load(save(bare, tmp_path, tie=True)).model.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
        assert asked == [torch.bfloat16]

    def test_the_base_of_an_update_has_them_too(self, tmp_path: Path) -> None:
        state = with_norms(tmp_path)
        config = Config(model_name_or_path="x", base_model_name_or_path=str(tmp_path))
        same(load_base(config), state)

    def test_are_measured_as_the_same_values_in_one_dtype_are(self, tmp_path: Path) -> None:
        state = with_norms(tmp_path / "mixed")
        wide = {name: tensor.float() for name, tensor in state.items()}
        rounded = {name: tensor.bfloat16().float() for name, tensor in state.items()}
        save(wide, tmp_path / "wide")
        save(rounded, tmp_path / "rounded")
        figures = {
            name: analyze(
                Config(
                    model_name_or_path=str(tmp_path / name),
                    prompts=["1+1="],
                    num_directions=2,
                    radii=[0.1],
                    precision="float64",
                )
            ).pairs["0.1"]["relative_error"]
            for name in ("mixed", "wide", "rounded")
        }
        assert figures["mixed"] == figures["wide"]
        assert figures["mixed"] != figures["rounded"]


def mixtral(directory: Path, change: Callable[[str, Tensor], Tensor]) -> State:
    """A tiny Mixtral, of which transformers stacks the experts and renames the routers."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=103,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        MixtralForCausalLM(config).save_pretrained(directory)
    character_tokenizer().save_pretrained(directory)
    state = {n: change(n, t) for n, t in load_file(directory / WEIGHTS).items()}
    save_file(state, directory / WEIGHTS, metadata={"format": "pt"})
    return state


def loads(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes that transformers is asked to load models in from here on."""
    asked: list[torch.dtype] = []
    load_in = model._Loader.load

    def spy(self: Any, dtype: torch.dtype, patterns: dict[str, str]) -> PreTrainedModel:
        asked.append(dtype)
        return load_in(self, dtype, patterns)

    monkeypatch.setattr(model._Loader, "load", spy)
    return asked


class TestWeightsOfOtherNames:
    def test_a_router_that_transformers_renames(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = loads(monkeypatch)
        state = mixtral(tmp_path, lambda n, t: t if "gate.weight" in n else t.bfloat16())
        loaded = load(tmp_path).model.state_dict()
        routers = [t for n, t in loaded.items() if "gate.weight" in n]
        stored = [t for n, t in state.items() if "gate.weight" in n]
        assert all(map(torch.equal, routers, stored))
        assert asked == [torch.bfloat16]

    @five
    def test_experts_that_are_stacked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of them in float32: the stack has room for its digits only if it is float32."""
        asked = loads(monkeypatch)
        one = "layers.0.block_sparse_moe.experts.1."
        state = mixtral(tmp_path / "mixed", lambda n, t: t if one in n else t.bfloat16())
        mixtral(tmp_path / "wide", lambda n, t: state[n].float())
        ours, wide = (load(tmp_path / name).model.state_dict() for name in ("mixed", "wide"))
        assert all(torch.equal(ours[name].float(), wide[name]) for name in wide)
        assert asked == [torch.bfloat16, torch.float32, torch.float32]

    def test_what_no_model_uses_any_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Old Llama checkpoints hold frequencies in float32, which are computed now."""
        asked = loads(monkeypatch)
        state = mixed(exact(), torch.bfloat16, lambda name: False)
        old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.rand(4)}
        same(load(save({**state, **old}, tmp_path)).model, state)
        assert asked == [torch.bfloat16]

    def test_what_no_model_of_experts_uses_any_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = loads(monkeypatch)
        state = mixtral(tmp_path, lambda n, t: t.bfloat16())
        old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.rand(4)}
        save_file({**state, **old}, tmp_path / WEIGHTS, metadata={"format": "pt"})
        assert load(tmp_path).dtype == "bfloat16"
        assert asked == [torch.bfloat16]


def test_an_integer_bias_is_refused(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=103,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        attention_bias=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    name = "model.layers.0.self_attn.q_proj.bias"
    state = load_file(tmp_path / WEIGHTS)
    state[name] = torch.ones_like(state[name], dtype=torch.int8)
    save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf'{name} is stored as int8|named "bias"'):
        load(tmp_path)


def test_a_plan_reads_the_dtype_of_most_bytes(tmp_path: Path) -> None:
    state = with_norms(tmp_path)
    assert read_headers(tmp_path).dtype == "bfloat16"
    assert read_headers(tmp_path).bytes == sum(tensor.nbytes for tensor in state.values())


def headers(**sizes: int) -> list[Header]:
    """A header for each dtype, with so many bytes."""
    return [Header("", dtype, (), size, Path()) for dtype, size in sizes.items()]


def test_the_main_dtype_is_that_of_most_bytes() -> None:
    assert main_dtype([*3 * headers(bfloat16=10), *headers(float32=31, int64=99)]) == "float32"
    assert main_dtype([*3 * headers(bfloat16=10), *headers(float32=29, int64=99)]) == "bfloat16"
    assert main_dtype(headers(int64=1)) == "float32"


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        ({"bfloat16": 9, "float32": 1}, torch.float32),
        ({"float16": 1, "bfloat16": 1}, torch.float32),
        ({"bfloat16": 1, "int64": 1}, torch.bfloat16),
        ({"float32": 1, "float64": 1}, torch.float64),
    ],
)
def test_the_widest_dtype_holds_them_all(stored: dict[str, int], dtype: torch.dtype) -> None:
    assert dtypes.widest(headers(**stored)) == dtype


def test_weights_of_equal_values_are_told_apart_by_no_guess() -> None:
    tensor = torch.full((2,), 1.001)
    free = {"a": tensor.bfloat16(), "b": tensor.bfloat16(), "c": torch.zeros(2).bfloat16()}
    assert dtypes._of_same_values(tensor, free) is None
    assert dtypes._of_same_values(tensor, {k: free[k] for k in "ac"}) == "a"
    assert dtypes._of_same_values(tensor, {"c": free["c"]}) is None
