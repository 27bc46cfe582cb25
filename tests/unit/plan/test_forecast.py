"""What a plan adds up for a whole run, and what it reads of a config, files and prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, MixtralConfig, Qwen3Config

from pytest_linearity.checkpoint.headers import Stored, read_headers
from pytest_linearity.errors import CheckpointError
from pytest_linearity.numerics.calibration.trial import TAIL_CANDIDATES
from pytest_linearity.plan import Case, forecast, stages
from pytest_linearity.plan import workload as workloads
from pytest_linearity.plan.duration import Clock
from pytest_linearity.plan.forecast import Planner
from pytest_linearity.plan.forward import TOKENS as TRIED
from pytest_linearity.plan.forward import follow
from pytest_linearity.plan.model import PlannedModel
from pytest_linearity.plan.skeleton import skeleton
from pytest_linearity.plan.workload import BatchSize, workload_of
from tests.support.plans import (
    ALL_TOKENS,
    BATCHES,
    HIDDEN,
    LAST_TOKENS,
    LINEARS,
    MLP,
    PROMPTS,
    STAGE,
    TOKENS,
    VOCABULARY,
    WORKLOAD,
    Rates,
    config,
)

STORED = 1000
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": MLP,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
}


@pytest.fixture(scope="module")
def subject() -> PlannedModel:
    declared = LlamaConfig(**SIZES, tie_word_embeddings=False)
    model = skeleton(declared, trust_remote_code=False)
    return PlannedModel(Path("ckpt"), declared, model, Stored(STORED, "bfloat16"), True)


@pytest.fixture
def cases(subject: PlannedModel) -> Callable[..., tuple[Case, ...]]:
    def planned(
        *, ranks: int = 1, base: int = 0, padded: bool = False, timed: bool = False, **keys: Any
    ) -> tuple[Case, ...]:
        asked = config(**{"num_directions": 2, "radii": (0.1, 1.0), "precision": "float32", **keys})
        workload = replace(WORKLOAD, padded=padded)
        device = torch.device("cpu")
        planner = Planner(asked, subject, workload, ranks=ranks, device=device, base=base)
        return planner.plan(timed=timed).cases

    return planned


class TestCases:
    def test_each_rank_has_baselines_of_its_own(self, cases: Any) -> None:
        for keys in ({}, {"second_order": True, "precision": "float64"}):
            (one,), (three,) = cases(**keys), cases(ranks=3, **keys)
            assert three.evaluations - one.evaluations == 2 * len(BATCHES)
            baseline = 2 * (TOKENS * ALL_TOKENS + PROMPTS * LAST_TOKENS)
            assert three.flops - one.flops == pytest.approx(2 * baseline)

    @pytest.mark.parametrize("precision", ["float32", "float64", "auto"])
    def test_second_derivatives_are_along_the_same_directions(
        self, precision: str, cases: Any
    ) -> None:
        ways = cases(second_order=True, precision=precision)
        assert {case.directions for case in ways} == {2}

    def test_weights_are_read_to_check_to_calibrate_and_in_every_round(self, cases: Any) -> None:
        both = {"param_scopes": ("full", "attention"), "num_directions": {"min": 2, "max": 7}}
        assert [case.bytes_read for case in cases()] == [STORED * (1 + 3 + 1)]
        bytes_read = [case.bytes_read for case in cases(padded=True, **both)]
        assert bytes_read == [STORED * (1 + 1 + 2 * 3 + rounds) for rounds in (1, 3)]

    @pytest.mark.parametrize("peaks", [(3, 2, 1), (1, 3, 2), (1, 2, 3)])
    def test_the_peak_is_where_most_is_held(
        self, peaks: tuple[int, int, int], cases: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it is calibrated, while it embeds or while it measures; base comes on top."""
        for name, peak in zip(("slices", "looked_up", "peak_of"), peaks, strict=True):
            monkeypatch.setattr(forecast, name, lambda *_, peak=peak: peak)
        assert [case.peak_memory for case in cases(base=10)] == [13]

    def test_time_is_that_of_checking_calibrating_and_measuring(
        self, cases: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Fixed:
            def check(self) -> float:
                return 1.0

            def calibration(self, dtype: torch.dtype, *, tails: bool) -> float:
                assert tails is (dtype == torch.float32)
                return 10.0 if tails else 20.0

            def stage(self, *_: object) -> float:
                return 1000.0

        monkeypatch.setattr(Planner, "_clock", lambda _: Fixed())
        assert [case.seconds for case in cases(timed=True)] == [1030]
        both = {"param_scopes": ("full", "attention"), "precision": "auto"}
        assert [case.seconds for case in cases(timed=True, padded=True, **both)] == [1061, 2061]

    def test_scopes_share_the_memory_of_a_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        each = 2 * 4 * (1 + 2 * 4)  # two bytes' worth of a float32, at every point of a direction
        monkeypatch.setattr(stages, "MEMORY_BUDGET", each * TOKENS)
        first, second = BATCHES
        assert list(STAGE.rounds(WORKLOAD, 1)) == [([first, second], 2)]
        both = list(replace(STAGE, scopes=2).rounds(WORKLOAD, 1))
        assert both == [([first], 2), ([first], 2), ([second], 4)]


class TestTrial:
    """One prompt with and without a tangent, in two arithmetics and with candidate tails."""

    def clock(self, costly: str, subject: PlannedModel) -> Clock:
        forward = follow(subject.model)
        names = frozenset(name for name, _ in subject.model.named_parameters())
        rates: Any = Rates(costly)
        return Clock(rates, forward, {2: nn.Module()}, 2, torch.bfloat16, [names])

    @pytest.mark.parametrize(
        ("costly", "expected"),
        [
            ("plain", 2 + TAIL_CANDIDATES),
            ("dual", 1),
            ("serving", (3 + TAIL_CANDIDATES) * LINEARS),
            ("drawing", ALL_TOKENS + LAST_TOKENS),
            ("widening", ALL_TOKENS + LAST_TOKENS),
        ],
    )
    def test_in_float32(self, costly: str, expected: int, subject: PlannedModel) -> None:
        count = self.clock(costly, subject).calibration(torch.float32, tails=True)
        assert count == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("costly", "expected"),
        [("plain", 5), ("dual", 1), ("widening", 2 * (ALL_TOKENS + LAST_TOKENS))],
    )
    def test_in_float64(self, costly: str, expected: int, subject: PlannedModel) -> None:
        count = self.clock(costly, subject).calibration(torch.float64, tails=False)
        assert count == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("costly", "expected"),
        [
            ("plain", 2),
            ("dual", 0),
            ("widening", ALL_TOKENS + LAST_TOKENS),
            ("products", 2 * 2 * TRIED * (ALL_TOKENS + LAST_TOKENS)),
        ],
    )
    def test_of_padding(self, costly: str, expected: int, subject: PlannedModel) -> None:
        assert self.clock(costly, subject).check() == pytest.approx(expected)


class TestModels:
    def test_the_widest_layer_is_one_that_sees_every_token(self, subject: PlannedModel) -> None:
        assert follow(subject.model).widest() == HIDDEN + MLP

    def test_routers_could_look_at_what_a_tail_leaves_out(self, subject: PlannedModel) -> None:
        assert any(use.in_tail for use in follow(subject.model).linears)
        routed = skeleton(MixtralConfig(**SIZES, num_local_experts=4), trust_remote_code=False)
        assert not any(use.in_tail for use in follow(routed).linears)

    def test_a_sample_has_as_much_of_every_list(self) -> None:
        declared = Qwen3Config(**SIZES, head_dim=4)
        assert len(declared.layer_types) == 2
        short = skeleton(declared, layers=1, trust_remote_code=False)
        assert len(short.config.layer_types) == 1  # type: ignore[arg-type, union-attr]
        assert len(declared.layer_types) == 2


class TestHeaders:
    HALF, WHOLE = torch.zeros(30, dtype=torch.float16), torch.zeros(10)

    @pytest.fixture(autouse=True)
    def _config(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")

    def test_of_all_shards(self, tmp_path: Path) -> None:
        """The dtype is that of most bytes."""
        parts = {"a": self.HALF, "b": self.WHOLE}
        placed = {name: f"model-{name}.safetensors" for name in parts}
        for name, path in placed.items():
            save_file({name: parts[name]}, tmp_path / path)
        index = {"weight_map": placed}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        assert read_headers(tmp_path) == Stored(60 + 40, "float16")

    def test_of_a_pickle(self, tmp_path: Path) -> None:
        torch.save({"a": self.HALF, "b": self.WHOLE}, tmp_path / "pytorch_model.bin")
        assert read_headers(tmp_path) == Stored(60 + 40, "float16")


class TestWorkload:
    FIRST = (5,) * 40
    ALIKE = ((*FIRST, 1), (*FIRST, 2), (*FIRST, 3))

    def made(self, prompts: Any, *, shares: bool = True, **keys: Any) -> Any:
        return workloads._workload(prompts, config(**keys), shares=shares, assumed=False)

    def test_what_all_share_is_no_part_of_a_batch(self) -> None:
        workload = self.made(self.ALIKE, batch_size=2)
        assert workload.prefix == 40
        assert workload.batches == (BatchSize(2, 1), BatchSize(1, 1))
        assert workload.tokens == 43

    @pytest.mark.parametrize("how", [{"shares": False}, {"share_prefix": False}])
    def test_it_is_where_it_cannot_be_shared_or_must_not(self, how: dict[str, Any]) -> None:
        workload = self.made(self.ALIKE, **how)
        assert (workload.prefix, workload.tokens) == (0, 3 * 41)

    def test_padding_is_seen(self) -> None:
        assert not self.made(self.ALIKE).padded
        assert self.made([(1, 2), (3,)], batch_size=2).padded

    def assumed(self, place: Path, **keys: Any) -> Any:
        asked = {"longest": None, "shares": True, "prompts": None, "tokens": None, **keys}
        return workload_of(config(cutoff_len=48), place, **asked)

    def test_assumed_prompts_are_as_long_as_real_ones_at_most(self, tmp_path: Path) -> None:
        workload = self.assumed(tmp_path, prompts=3, tokens=100)
        assert (workload.prompts, workload.tokens, workload.prefix) == (3, 3 * 48, 0)
        assert self.assumed(tmp_path, prompts=3, tokens=20).tokens == 60
        assert self.assumed(tmp_path).assumed

    def test_a_broken_tokenizer_is_no_missing_one(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{")
        with pytest.raises(CheckpointError):
            self.assumed(tmp_path)
