"""Directions that a checkpoint gives: its update from a base, its gradient, a file."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from pytest_linearity.errors import CheckpointError, ConfigError, MeasurementError
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.directions.vectors.update import Update
from pytest_linearity.probes.gradient import loss_gradient
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import llama, tiny_llama
from tests.support.configs import small_config


def directions_of(checkpoint: Path, **keys: Any) -> Directions:
    return Analysis(small_config(checkpoint, **keys)).directions


def length(tensors: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors.values()))


def difference(tuned: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() - base[name].double() for name, tensor in tuned.items()}


class TestUpdate:
    @pytest.mark.parametrize("scope", ["full", "last_blocks:1", "mlp"])
    def test_is_the_normalised_difference_of_the_files(
        self, tiny_checkpoint: Path, base_checkpoint: Path, scope: str
    ) -> None:
        directions = directions_of(
            tiny_checkpoint,
            directions="update",
            base_model_name_or_path=str(base_checkpoint),
            param_scope=scope,
        )
        files = (tiny_checkpoint, base_checkpoint)
        tuned, base = (load_file(path / "model.safetensors") for path in files)
        expected = difference({name: tuned[name] for name in directions.names}, base)
        norm = length(expected)
        assert directions.count == 1
        for name, tensor in expected.items():
            direction = directions.tensor(0, name).double()
            torch.testing.assert_close(direction, tensor / norm, rtol=1e-6, atol=1e-9)
        (kind,) = directions.describe()["directions"]["kinds"]
        assert kind["norm"] == pytest.approx(norm, rel=1e-12)

    def test_reversed_it_leads_to_the_base_itself(
        self, tiny_checkpoint: Path, base_checkpoint: Path
    ) -> None:
        directions = directions_of(
            tiny_checkpoint, directions="-update", base_model_name_or_path=str(base_checkpoint)
        )
        radius = directions.describe()["directions"]["kinds"][0]["norm"]
        files = (tiny_checkpoint, base_checkpoint)
        tuned, base = (load_file(path / "model.safetensors") for path in files)
        for name in directions.names:
            moved = tuned[name] + radius * directions.tensor(0, name)
            torch.testing.assert_close(moved, base[name], rtol=1e-5, atol=1e-6)

    def test_shards_pickles_and_other_dtypes(self, tmp_path: Path, tiny_checkpoint: Path) -> None:
        """The same base in other files is the same base; in bfloat16 it is a rounded one."""
        model = llama(seed=3)
        model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
        assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
        (tmp_path / "pickle").mkdir()
        shutil.copy(tmp_path / "shards" / "config.json", tmp_path / "pickle")
        torch.save(model.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
        llama(seed=3, dtype=torch.bfloat16).save_pretrained(tmp_path / "narrow")
        parts = {}
        for name in ("shards", "pickle", "narrow"):
            directions = directions_of(
                tiny_checkpoint,
                directions="update",
                base_model_name_or_path=str(tmp_path / name),
            )
            parts[name] = directions.tensor(0, directions.names[0])
        assert torch.equal(parts["shards"], parts["pickle"])
        assert not torch.equal(parts["shards"], parts["narrow"])
        torch.testing.assert_close(parts["shards"], parts["narrow"], rtol=0, atol=1e-3)

    def test_ties(self) -> None:
        """A base may tie what the checkpoint does not; the other way round it must agree."""
        tied, untied = llama(tie=True, seed=1), llama(tie=False, seed=2)
        away = Directions(untied, kinds=["update"], vectors={"update": Update(untied, tied, "b")})
        state = dict(untied.named_parameters())
        embedding = tied.get_parameter("model.embed_tokens.weight")
        expected = state["lm_head.weight"] - embedding
        direction = away.tensor(0, "lm_head.weight")
        torch.testing.assert_close(direction / direction.norm(), expected / expected.norm())
        with pytest.raises(
            ConfigError,
            match=r"^base_model_name_or_path: model.embed_tokens.weight and lm_head.weight differ "
            r"in b, but are one tensor in the checkpoint$",
        ):
            Directions(tied, kinds=["update"], vectors={"update": Update(tied, untied, "b")})
        agreeing = copy.deepcopy(untied)
        with torch.no_grad():
            agreeing.lm_head.weight.copy_(agreeing.model.embed_tokens.weight)
        Directions(tied, kinds=["update"], vectors={"update": Update(tied, agreeing, "b")})

    def test_of_narrow_weights_is_not_rounded_to_them(self) -> None:
        tuned, base = (llama(seed=seed, dtype=torch.bfloat16) for seed in (1, 2))
        name = "model.layers.0.mlp.up_proj.weight"
        exact = tuned.get_parameter(name).double() - base.get_parameter(name).double()
        assert torch.equal(Update(tuned, base, "b").rows(name, 3, 9), exact[3:9])

    def test_digest_is_of_the_base_alone(self) -> None:
        one, two, base, other = (llama(seed=seed) for seed in (0, 1, 2, 3))

        def digest(model: nn.Module, base: nn.Module, scope: str = "full") -> str:
            vector = Update(model, base, "b")
            made = Directions(model, scope=scope, kinds=["update"], vectors={"update": vector})
            value: str = made.describe()["directions"]["kinds"][0]["digest"]
            return value

        assert digest(one, base) == digest(two, base) != digest(one, other)
        assert digest(one, base, "mlp") != digest(one, base)


class TestGradient:
    def test_is_that_of_the_models_own_loss(self, tiny_checkpoint: Path) -> None:
        analysis = Analysis(small_config(tiny_checkpoint, directions="gradient"))
        directions = analysis.directions
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).double().eval()
        prompts = [torch.tensor([probe.token_ids]) for probe in analysis.subject.probes.probes]
        tokens = sum(prompt.shape[1] - 1 for prompt in prompts)
        losses = [model(prompt, labels=prompt).loss * (prompt.shape[1] - 1) for prompt in prompts]
        loss = sum(losses) / tokens
        loss.backward()
        expected = {name: p.grad for name, p in model.named_parameters()}
        norm = length(expected)
        for name in directions.names:
            direction = directions.tensor(0, name).double()
            torch.testing.assert_close(direction, expected[name] / norm, rtol=1e-3, atol=1e-6)
        (kind,) = directions.describe()["directions"]["kinds"]
        assert kind["norm"] == pytest.approx(norm, rel=1e-4)
        assert kind["loss"] == pytest.approx(loss.item(), rel=1e-5)

    def test_within_a_scope(self, tiny_checkpoint: Path) -> None:
        full = directions_of(tiny_checkpoint, directions="gradient")
        part = directions_of(tiny_checkpoint, directions="gradient", param_scope="attention")
        assert set(part.names) < set(full.names)
        ratios = [part.tensor(0, n).norm() / full.tensor(0, n).norm() for n in part.names]
        torch.testing.assert_close(torch.stack(ratios), ratios[0].expand(len(ratios)))

    def test_of_tied_weights_has_both_parts(self) -> None:
        model = llama(tie=True, seed=4)
        gradient = loss_gradient(model, [[1, 50, 60, 70]], ["model.embed_tokens.weight"], CPU)
        wide = copy.deepcopy(model).double()
        ids = torch.tensor([[1, 50, 60, 70]])
        wide(ids, labels=ids).loss.backward()
        expected = wide.get_parameter("model.embed_tokens.weight").grad
        torch.testing.assert_close(
            gradient.tensors["model.embed_tokens.weight"].double(), expected, rtol=1e-3, atol=1e-6
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
    def test_leaves_the_model_as_it_was(self, dtype: torch.dtype) -> None:
        model = llama(seed=4, dtype=dtype)
        model.lm_head.weight.requires_grad_(False)
        before = {n: t.clone() for n, t in [*model.named_parameters(), *model.named_buffers()]}
        flags = {name: p.requires_grad for name, p in model.named_parameters()}
        with torch.no_grad():
            gradient = loss_gradient(model, [[1, 50, 60]], list(flags), CPU)
            assert not torch.is_grad_enabled()
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert {tensor.dtype for tensor in gradient.tensors.values()} == {wide}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            assert torch.equal(tensor, before[name])
            assert tensor.dtype == before[name].dtype
        for name, parameter in model.named_parameters():
            assert parameter.grad is None
            assert parameter.requires_grad is flags[name]

    def test_of_bfloat16_weights_is_not_rounded_to_them(self) -> None:
        narrow = llama(seed=4, dtype=torch.bfloat16)
        wide = copy.deepcopy(narrow).float()
        name = "model.layers.0.mlp.up_proj.weight"
        gradient = loss_gradient(narrow, [[1, 50, 60, 70]], [name], CPU).tensors[name]
        ids = torch.tensor([[1, 50, 60, 70]])
        wide(ids, labels=ids).loss.backward()
        torch.testing.assert_close(gradient, wide.get_parameter(name).grad, rtol=1e-3, atol=1e-7)

    def test_out_of_memory_names_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr("pytest_linearity.probes.gradient.cross_entropy", fails)
        with pytest.raises(MeasurementError, match=r"gradient: out of memory: .* `param_scope`"):
            loss_gradient(llama(), [[1, 50, 60]], ["lm_head.weight"], CPU)

    def test_what_has_none(self, tiny_checkpoint: Path) -> None:
        with pytest.raises(ConfigError, match=r"directions: gradient: every prompt is a single"):
            loss_gradient(llama(), [[1], [2]], ["lm_head.weight"], CPU)

        class Fixed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used = nn.Parameter(torch.ones(3, 5))
                self.unused = nn.Parameter(torch.ones(2, 2))

            def forward(self, input_ids: Tensor) -> tuple[Tensor]:
                return (self.used[input_ids],)

        model = Fixed()
        vector = loss_gradient(model, [[1, 2]], ["unused"], CPU)
        with pytest.raises(ConfigError, match=r"gradient: the loss on the probes does not depend"):
            Directions(
                model, scope="regex:unused", kinds=["gradient"], vectors={"gradient": vector}
            )


CPU = torch.device("cpu")


class TestFile:
    @pytest.fixture
    def tensors(self, tiny_checkpoint: Path) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(2)
        state = load_file(tiny_checkpoint / "model.safetensors")
        return {name: torch.randn(t.shape, generator=generator) for name, t in state.items()}

    @pytest.fixture
    def made(
        self, tiny_checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path
    ) -> Callable[..., Directions]:
        def make(scope: str = "full", kind: str | None = None, **changes: Any) -> Directions:
            changed = {name.replace("__", "."): value for name, value in changes.items()}
            kept = {n: t for n, t in {**tensors, **changed}.items() if t is not None}
            save_file(kept, tmp_path / "d.safetensors")
            return directions_of(
                tiny_checkpoint,
                directions=kind or f"file:{tmp_path / 'd.safetensors'}",
                param_scope=scope,
            )

        return make

    @pytest.mark.parametrize("scope", ["full", "mlp"])
    def test_is_normalised(
        self, made: Callable[..., Directions], tensors: dict[str, Tensor], scope: str
    ) -> None:
        directions = made(scope)
        expected = {name: tensors[name] for name in directions.names}
        norm = length(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(directions.tensor(0, name), tensor / norm)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_of_other_dtypes(
        self, made: Callable[..., Directions], tensors: dict[str, Tensor], dtype: torch.dtype
    ) -> None:
        name = "model.norm.weight"
        directions = made("norms", **{n: t.to(dtype) for n, t in tensors.items()})
        expected = {n: tensors[n].to(dtype) for n in directions.names}
        direction = directions.tensor(0, name).double()
        torch.testing.assert_close(
            direction, expected[name].double() / length(expected), atol=1e-6, rtol=0
        )

    def test_relative_paths_and_a_minus(
        self,
        made: Callable[..., Directions],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        forth = made("norms").tensor(0, "model.norm.weight")
        monkeypatch.chdir(tmp_path)
        back = made("norms", "-file:d.safetensors").tensor(0, "model.norm.weight")
        assert torch.equal(back, -forth)

    BAD = (
        ({"lm_head.weight": None}, r"lacks lm_head.weight, which is in scope"),
        ({"extra": torch.ones(2)}, r"'extra' is no parameter of LlamaForCausalLM"),
        (
            {"model.norm.weight": torch.ones(31)},
            r"model.norm.weight has shape \[31\], the parameter \[32\]",
        ),
        (
            {"model.norm.weight": torch.ones(32, dtype=torch.int64)},
            r"model.norm.weight is of int64, but floats are needed",
        ),
        (
            {"model.norm.weight": torch.full((32,), math.nan)},
            r"model.norm.weight holds values that are NaN or infinite",
        ),
        (
            {"model.norm.weight": torch.full((32,), -math.inf)},
            r"model.norm.weight holds values that are NaN or infinite",
        ),
    )

    @pytest.mark.parametrize(("changes", "message"), BAD)
    def test_refusals(
        self, made: Callable[..., Directions], changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=rf"^directions: file:.*d\.safetensors: {message}$"):
            made(**changes)

    def test_zeros_are_refused_and_what_is_not_in_scope_may_be_missing(
        self, made: Callable[..., Directions], tensors: dict[str, Tensor]
    ) -> None:
        zeros = {n: torch.zeros_like(t) for n, t in tensors.items() if "mlp" in n}
        with pytest.raises(ConfigError, match=r"file:.*: it is zero in every parameter in scope$"):
            made("mlp", **zeros)
        made("norms", **zeros, **{"lm_head.weight": None})

    def test_an_alias_is_named(self, tmp_path: Path) -> None:
        from pytest_linearity.numerics.directions.vectors.file import FileVector

        with pytest.raises(
            ConfigError, match=r"lm_head.weight is the same tensor as model.embed_tokens.weight"
        ):
            FileVector("file:x", {"lm_head.weight": torch.ones(1)}, llama(tie=True))

    @pytest.mark.parametrize("content", [None, b"", b"no tensors", b"\xff" * 64])
    def test_a_file_that_is_none(
        self, tiny_checkpoint: Path, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "d.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"^directions: .*") as caught:
            directions_of(tiny_checkpoint, directions=f"file:{path}")
        expected = "there is no such file" if content is None else "cannot be read as safetensors"
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


class TestBadBases:
    """Messages name the key, and the first tensor that differs."""

    def refusal(self, checkpoint: Path, base: object) -> str:
        with pytest.raises((ConfigError, CheckpointError)) as caught:
            directions_of(checkpoint, directions="update", base_model_name_or_path=str(base))
        message = str(caught.value)
        assert "\n" not in message
        return message

    def test_of_other_shapes(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        tiny_llama(tmp_path / "b", vocab=110, seed=1, tokenizer=False)
        assert self.refusal(tiny_checkpoint, tmp_path / "b") == (
            "base_model_name_or_path: model.embed_tokens.weight has shape [110, 32] in "
            f"{tmp_path / 'b'}, but [103, 32] in the checkpoint"
        )

    def test_with_fewer_blocks(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        tiny_llama(tmp_path / "b", blocks=1, seed=1, tokenizer=False)
        assert self.refusal(tiny_checkpoint, tmp_path / "b") == (
            f"base_model_name_or_path: {tmp_path / 'b'} has no parameter "
            "model.layers.1.self_attn.q_proj.weight, the checkpoint has"
        )

    def test_that_is_the_checkpoint(self, tiny_checkpoint: Path) -> None:
        assert self.refusal(tiny_checkpoint, tiny_checkpoint) == (
            f"directions: update: base_model_name_or_path {tiny_checkpoint} equals the checkpoint "
            "in every parameter in scope, so there is no update to follow"
        )

    def test_that_is_not_there(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        message = self.refusal(tiny_checkpoint, tmp_path / "none")
        assert message == (
            f"base_model_name_or_path: {tmp_path / 'none'}: there is no such directory"
        )

    def test_that_is_an_adapter(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        assert "is an adapter, not a full checkpoint" in self.refusal(tiny_checkpoint, tmp_path)

    def test_that_is_not_finite(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        model: PreTrainedModel = llama(seed=1)
        with torch.no_grad():
            model.get_parameter("model.norm.weight")[3] = math.nan
        model.save_pretrained(tmp_path)
        assert self.refusal(tiny_checkpoint, tmp_path) == (
            "directions: update: model.norm.weight holds values that are NaN or infinite"
        )
