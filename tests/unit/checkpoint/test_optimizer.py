"""The state of an optimizer: read as trainers and loops save it, refused where it is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_linearity.checkpoint.optimizer.find import read_optimizer_state
from pytest_linearity.checkpoint.optimizer.naming import Unmatched, names_of_groups
from pytest_linearity.checkpoint.trainer_state import read_trainer_state
from pytest_linearity.errors import CheckpointError
from tests.support.checkpoints import llama


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return llama()


def decays(name: str) -> bool:
    return "norm" not in name and "bias" not in name


def optimizer(
    model: nn.Module, kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW, **more: Any
) -> torch.optim.Optimizer:
    """One that has made two steps, in the two groups of a trainer."""
    generator = torch.Generator().manual_seed(1)
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": 0.1},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    made = kind(groups, lr=0.0, **more)
    for _ in range(2):
        for _, parameter in named:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        made.step()
    model.zero_grad()
    return made


def saved(path: Path, made: torch.optim.Optimizer) -> Path:
    torch.save(made.state_dict(), path)
    return path


def refusal(place: Path, model: nn.Module, step: int | None = None) -> str:
    with pytest.raises(CheckpointError) as error:
        read_optimizer_state(place, model, step=step)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_each_parameter_has_its_own_moments(model: nn.Module, tmp_path: Path) -> None:
    made = optimizer(model, betas=(0.8, 0.95), eps=1e-6)
    saved(tmp_path / "optimizer.pt", made)
    state = read_optimizer_state(tmp_path, model, step=2)
    assert (state.step, state.name) == (2, "AdamW")
    assert list(state.moments) != []
    for name, parameter in model.named_parameters():
        entry = state.moments[name]
        assert torch.equal(entry.first, made.state[parameter]["exp_avg"])
        assert torch.equal(entry.second, made.state[parameter]["exp_avg_sq"])
        settings = entry.settings
        assert (settings.beta1, settings.beta2, settings.eps) == (0.8, 0.95, 1e-6)
        assert settings.weight_decay == (0.1 if decays(name) else 0.0)
        assert settings.decoupled
    assert set(state.moments) == {name for name, _ in model.named_parameters()}


def test_adam_that_decays_through_the_gradient_is_told_from_adamw(
    model: nn.Module, tmp_path: Path
) -> None:
    saved(tmp_path / "optimizer.pt", optimizer(model, torch.optim.Adam))
    assert read_optimizer_state(tmp_path / "optimizer.pt", model, step=None).name == "Adam"


def test_amsgrad_divides_by_the_maximum(model: nn.Module, tmp_path: Path) -> None:
    made = optimizer(model, amsgrad=True)
    saved(tmp_path / "optimizer.pt", made)
    state = read_optimizer_state(tmp_path, model, step=2)
    for name, parameter in model.named_parameters():
        assert torch.equal(state.moments[name].second, made.state[parameter]["max_exp_avg_sq"])


class TestNames:
    def test_one_shape_in_two_groups_is_settled_by_the_trainers_rule(self) -> None:
        """A norm over one feature of a matrix of one column: both of shape [1], say."""
        model = nn.Module()
        model.proj = nn.Linear(3, 3)
        model.norm = nn.LayerNorm(3)
        shapes = [[(3, 3)], [(3,), (3,), (3,)]]
        names = [["proj.weight"], ["proj.bias", "norm.weight", "norm.bias"]]
        assert names_of_groups(model, shapes) == names

        class Square(nn.Module):
            """A norm whose weight has the shape of a matrix."""

            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Parameter(torch.ones(2, 2))
                self.norm = nn.LayerNorm((2, 2), bias=False)
                self.last = nn.Parameter(torch.ones(2, 2))

        square = Square()
        groups = [[(2, 2), (2, 2)], [(2, 2)]]
        assert names_of_groups(square, groups) == [["first", "last"], ["norm.weight"]]
        with pytest.raises(Unmatched, match="parameters of one shape in several groups"):
            names_of_groups(square, [[(2, 2)], [(2, 2)], [(2, 2)]])

    def test_one_group_is_in_the_models_order(self, model: nn.Module) -> None:
        shapes = [tuple(p.shape) for p in model.parameters()]
        assert names_of_groups(model, [shapes]) == [[n for n, _ in model.named_parameters()]]
        with pytest.raises(Unmatched, match="in another order than the model"):
            names_of_groups(model, [shapes[::-1]])


class TestSafetensors:
    def write(self, directory: Path, model: nn.Module, facts: dict[str, str] | None) -> None:
        directory.mkdir(exist_ok=True)
        for place, name in enumerate(("exp_avg", "exp_avg_sq")):
            tensors = {
                n: torch.full(p.shape, place + 1.0, dtype=torch.bfloat16)
                for n, p in model.named_parameters()
            }
            save_file(tensors, directory / f"{name}.safetensors", facts)

    def test_a_loop_of_ones_own(self, model: nn.Module, tmp_path: Path) -> None:
        self.write(tmp_path, model, {"step": "7", "beta1": "0.95", "weight_decay": "0.2"})
        state = read_optimizer_state(tmp_path, model, step=7)
        for name, parameter in model.named_parameters():
            entry = state.moments[name]
            assert (entry.first == 1).all()
            assert (entry.second == 2).all()
            assert entry.settings.beta1 == 0.95
            assert entry.settings.beta2 == 0.999
            assert entry.settings.weight_decay == (0.2 if parameter.dim() > 1 else 0.0)

    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            (None, "lacks step"),
            ({"step": "many"}, "step 'many', which is no number"),
            ({"step": "0"}, "a whole number of at least 1"),
            ({"step": "3", "beta2": "1"}, "beta2 1"),
        ],
    )
    def test_facts_that_are_none(
        self, model: nn.Module, tmp_path: Path, facts: dict[str, str] | None, words: str
    ) -> None:
        self.write(tmp_path, model, facts)
        assert words in refusal(tmp_path, model)

    def test_tensors_of_another_model(self, model: nn.Module, tmp_path: Path) -> None:
        self.write(tmp_path, nn.Linear(2, 2), {"step": "3"})
        assert "lacks model.embed_tokens.weight" in refusal(tmp_path, model)
        (tmp_path / "exp_avg_sq.safetensors").unlink()
        assert "exp_avg_sq.safetensors: there is no such file" in refusal(tmp_path, model)
        (tmp_path / "exp_avg.safetensors").write_bytes(b"no tensors")
        assert "cannot be read as safetensors" in refusal(tmp_path, model)


class TestRefusals:
    def test_none(self, model: nn.Module, tmp_path: Path) -> None:
        assert "holds no state of an optimizer" in refusal(tmp_path, model)
        assert "cannot be read as the state" in refusal(tmp_path / "absent.pt", model)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("global_step20", "sharded by ZeRO: save it whole"),
            ("optimizer_0", "sharded by FSDP: save it whole"),
            ("optimizer.bin", "sharded by FSDP: save it whole"),
        ],
    )
    def test_sharded(self, model: nn.Module, tmp_path: Path, name: str, words: str) -> None:
        (tmp_path / name).mkdir()
        assert words in refusal(tmp_path, model)

    def test_another_step(self, model: nn.Module, tmp_path: Path) -> None:
        saved(tmp_path / "optimizer.pt", optimizer(model))
        message = refusal(tmp_path, model, step=500)
        assert "has made 2 steps, the weights are those of step 500" in message

    def test_another_model(self, model: nn.Module, tmp_path: Path) -> None:
        saved(tmp_path / "optimizer.pt", optimizer(nn.Sequential(nn.Linear(4, 4))))
        assert "is of another model: it holds 2 parameters" in refusal(tmp_path, model)
        with torch.random.fork_rng():
            wider = llama(hidden=48)
        saved(tmp_path / "optimizer.pt", optimizer(wider))
        message = refusal(tmp_path, model)
        assert "is of another model" in message
        assert "model.embed_tokens.weight" in message

    @pytest.mark.parametrize(
        ("kind", "more", "words"),
        [
            (torch.optim.SGD, {"momentum": 0.9}, "SGD with momentum"),
            (torch.optim.Adagrad, {}, "Adagrad"),
            (torch.optim.RMSprop, {}, "RMSprop"),
        ],
    )
    def test_another_optimizer(
        self, model: nn.Module, tmp_path: Path, kind: Any, more: dict[str, Any], words: str
    ) -> None:
        saved(tmp_path / "optimizer.pt", optimizer(model, kind, **more))
        assert f"is the state of {words}" in refusal(tmp_path, model)

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"state1": torch.zeros(2, dtype=torch.uint8)}, "an 8-bit optimizer"),
            ({"exp_avg_sq_row": torch.zeros(2)}, "Adafactor"),
            ({"exp_avg": torch.zeros(2)}, "another optimizer"),
            ({"exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(3)}, "another optimizer"),
        ],
    )
    def test_states_that_are_not_adams(
        self, tmp_path: Path, entry: dict[str, Any], words: str
    ) -> None:
        document = {"state": {0: entry}, "param_groups": [{"params": [0]}]}
        torch.save(document, tmp_path / "optimizer.pt")
        assert f"is the state of {words}" in refusal(tmp_path, nn.Linear(2, 1, bias=False))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda d: d["param_groups"][0].pop("betas"), "lack betas, eps and weight_decay"),
            (lambda d: d["param_groups"][0].update(betas=(1.0, 0.9)), "must lie in [0, 1)"),
            (lambda d: d["state"].pop(0), "has no state for parameter 0"),
            (lambda d: d["state"][0].update(step=0), "has seen no step"),
            (lambda d: d.pop("state"), "is no state of an optimizer"),
            (lambda d: d.update(param_groups=[3]), "is no state of an optimizer"),
            (lambda d: d["param_groups"][0].update(amsgrad=True), "lacks max_exp_avg_sq"),
        ],
    )
    def test_damage(
        self, model: nn.Module, tmp_path: Path, change: Callable[[Any], Any], words: str
    ) -> None:
        document = optimizer(model).state_dict()
        change(document)
        torch.save(document, tmp_path / "optimizer.pt")
        assert words in refusal(tmp_path, model)

    def test_code_is_not_run(self, model: nn.Module, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"state": {}, "param_groups": [Evil()]}, tmp_path / "optimizer.pt")
        refusal(tmp_path, model)
        assert not (tmp_path / "ran").exists()


class TestTrainerState:
    def test_rates_and_step(self, tmp_path: Path) -> None:
        history = [
            {"learning_rate": 1e-5, "step": 1},
            {"learning_rate": 5e-5, "step": 2},
            {"eval_loss": 3.0},
            {"learning_rate": 2e-5, "step": 3},
            {"learning_rate": 0.0, "step": 4},
            {"learning_rate": "none"},
            None,
        ]
        document = {"global_step": 4, "log_history": history}
        (tmp_path / "trainer_state.json").write_text(json.dumps(document))
        state = read_trainer_state(tmp_path)
        assert (state.step, state.learning_rate, state.peak_learning_rate) == (4, 2e-5, 5e-5)

    @pytest.mark.parametrize("content", [None, "", "[]", '{"global_step": true}', "{" * 100_000])
    def test_what_is_missing_or_damaged_says_nothing(
        self, tmp_path: Path, content: str | None
    ) -> None:
        if content is not None:
            (tmp_path / "trainer_state.json").write_text(content)
        state = read_trainer_state(tmp_path)
        assert (state.step, state.learning_rate, state.peak_learning_rate) == (None, None, None)
