"""What other tools leave in place of a checkpoint, refused with the command that converts it."""

from __future__ import annotations

import runpy
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pytest_linearity.checkpoint.load import CheckpointWarning, load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError
from tests.support.checkpoints import tiny_llama

WEIGHTS = "model.safetensors"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A checkpoint without weights, in a directory whose name a shell would split."""
    directory = tiny_llama(tmp_path / "my ckpt")
    (directory / WEIGHTS).unlink()
    return directory


def refusal(directory: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(Config(model_name_or_path=str(directory)))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(directory))
    return message


def touch(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()


class TestCommands:
    def test_fsdp(self, empty: Path) -> None:
        touch(empty, "pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata")
        touch(empty, "optimizer_0/__0_0.distcp", "optimizer_0/.metadata")
        command = f"accelerate merge-weights '{empty}/pytorch_model_fsdp_0' OUT, then copy config"
        assert command in refusal(empty)
        inside = refusal(empty / "pytorch_model_fsdp_0")
        assert "has no config.json" in inside
        assert command in inside

    def test_a_distributed_checkpoint(self, empty: Path) -> None:
        touch(empty, "step-100/__0_0.distcp", "step-100/.metadata")
        assert (
            "run python -m torch.distributed.checkpoint.format_utils dcp_to_torch "
            f"'{empty}/step-100' OUT/pytorch_model.bin"
        ) in refusal(empty)

    @pytest.mark.parametrize("script", [True, False])
    def test_zero(self, empty: Path, script: bool) -> None:
        for step in (5, 10):
            touch(empty, f"global_step{step}/zero_pp_rank_0_mp_rank_00_optim_states.pt")
        if script:
            touch(empty, "zero_to_fp32.py")
        program = f"'{empty}/zero_to_fp32.py'" if script else "-m deepspeed.utils.zero_to_fp32"
        command = f"run python {program} '{empty}' OUT -t global_step10 --safe_serialization"
        assert command in refusal(empty)
        assert command in refusal(empty / "global_step10")

    def test_zero_beside_empty_tensors(self, empty: Path) -> None:
        from safetensors.torch import save_file

        touch(empty, "global_step5/mp_rank_00_model_states.pt", "zero_to_fp32.py")
        name = "model.norm.weight"
        save_file({name: torch.zeros(0)}, empty / WEIGHTS, metadata={"format": "pt"})
        message = refusal(empty)
        assert f"{name} is empty (shape [0])" in message
        assert f"python '{empty}/zero_to_fp32.py' '{empty}' OUT --safe_serialization" in message

    def test_llama_as_meta_saves_it(self, empty: Path) -> None:
        touch(empty, "consolidated.00.pth", "consolidated.01.pth", "params.json")
        assert (
            "python src/transformers/models/llama/convert_llama_weights_to_hf.py "
            f"--input_dir '{empty}' --output_dir OUT --num_shards 2"
        ) in refusal(empty)

    def test_mistral_as_mistral_saves_it(self, empty: Path) -> None:
        touch(empty, "consolidated.safetensors")
        assert f"convert_mistral_weights_to_hf.py '{empty}' OUT" in refusal(empty)

    def test_gguf(self, empty: Path) -> None:
        touch(empty, "model-q4.gguf")
        assert "model-q4.gguf is made for inference" in refusal(empty)

    def test_nothing_known(self, empty: Path) -> None:
        touch(empty, "weights.pt")
        assert refusal(empty).endswith("model.safetensors.index.json, are needed")


def test_the_command_for_a_distributed_checkpoint_converts_it(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed.checkpoint as dcp

    state = load_file(tiny_llama(tmp_path / "other") / WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=str(empty / "dcp"))
    command = refusal(empty).split("run python -m ")[1].split(", then")[0]
    module, *arguments = shlex.split(command)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "OUT").mkdir()
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_module(module, run_name="__main__")
    for path in (*empty.glob("*.json"), *empty.glob("*.jinja")):
        shutil.copy(path, tmp_path / "OUT")
    loaded = load_checkpoint(Config(model_name_or_path="OUT")).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


class TestWhatLiesBesideFullWeights:
    @pytest.mark.parametrize("content", ['{"base_model_name_or_path": "a/b"}', "{"])
    def test_an_adapter(self, tmp_path: Path, content: str) -> None:
        directory = tiny_llama(tmp_path / "ckpt")
        (directory / "adapter_config.json").write_text(content)
        (directory / "adapter_model.safetensors").write_bytes(b"")
        with pytest.warns(CheckpointWarning, match="the full weights are measured, without the"):
            loaded = load_checkpoint(Config(model_name_or_path=str(directory))).model
        assert loaded.name_or_path == str(directory)
        for name, tensor in load_file(directory / WEIGHTS).items():
            assert torch.equal(loaded.state_dict()[name], tensor)

    def test_an_adapter_where_warnings_are_errors(self, tmp_path: Path) -> None:
        directory = tiny_llama(tmp_path / "ckpt")
        (directory / "adapter_config.json").write_text("{}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "the full weights are measured" in refusal(directory)

    @pytest.fixture
    def both(self, tmp_path: Path) -> Path:
        """Good shards, and a single file beside them."""
        directory = tiny_llama(tmp_path / "ckpt", max_shard_size="20KB")
        shutil.copy(tiny_llama(tmp_path / "old", seed=1) / WEIGHTS, directory)
        return directory

    def test_a_single_file_of_the_same_tensors(self, both: Path) -> None:
        with pytest.warns(CheckpointWarning, match=f"{WEIGHTS} is measured, as transformers"):
            loaded = load_checkpoint(Config(model_name_or_path=str(both))).model.state_dict()
        assert all(torch.equal(loaded[n], t) for n, t in load_file(both / WEIGHTS).items())

    @pytest.mark.parametrize("kept", [0, 100, 20_000])
    def test_a_single_file_that_is_cut(self, both: Path, kept: int) -> None:
        (both / WEIGHTS).write_bytes((both / WEIGHTS).read_bytes()[:kept])
        message = refusal(both)
        assert message.startswith(f"{both / WEIGHTS}: is cut or corrupt")
        assert message.endswith(
            "without it the shards of model.safetensors.index.json are measured"
        )

    def test_a_single_file_of_another_model(self, both: Path, tmp_path: Path) -> None:
        shutil.copy(tiny_llama(tmp_path / "small", blocks=1) / WEIGHTS, both)
        message = refusal(both)
        assert message.startswith(f"{both / WEIGHTS}: is in the way of the shards beside it")
        assert "holds 12 tensors and model.safetensors.index.json lists 21" in message

    def test_a_stale_index_without_its_shards_is_no_matter(self, both: Path) -> None:
        for shard in both.glob("model-*.safetensors"):
            shard.unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = load_checkpoint(Config(model_name_or_path=str(both))).model.state_dict()
        assert all(torch.equal(loaded[n], t) for n, t in load_file(both / WEIGHTS).items())
