"""When the figures are looked at, which directions are there then, and what config asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.config.sampling import SamplingPlan
from tests.support.configs import refusal, write

MODEL = "model_name_or_path: ckpt\n"


class TestPlan:
    @pytest.mark.parametrize(
        ("least", "most", "counts"),
        [
            (2, 64, (2, 4, 7, 13, 23, 41, 64)),
            (2, 32, (2, 4, 7, 13, 23, 32)),
            (4, 5, (4, 5)),
            (8, 8, (8,)),
            (1, 1, (1,)),
        ],
    )
    def test_counts(self, least: int, most: int, counts: tuple[int, ...]) -> None:
        assert SamplingPlan.planned(least, most, 0.95).counts == counts

    def test_one_look_has_the_stated_confidence(self) -> None:
        assert SamplingPlan.planned(8, 8, 0.9).level == pytest.approx(0.9)

    def test_several_share_the_rate_of_error(self) -> None:
        looks = SamplingPlan.planned(2, 64, 0.95)
        assert (1 - looks.level) * len(looks.counts) == pytest.approx(0.05)

    def test_looks_taken(self) -> None:
        looks = SamplingPlan.planned(2, 64, 0.95)
        assert looks.counts_up_to(7) == (2, 4, 7)
        assert looks.counts_up_to(64) == looks.counts
        assert looks.counts_up_to(0) == ()


class TestRounds:
    def test_each_direction_is_in_one_round(self) -> None:
        looks = SamplingPlan.planned(2, 64, 0.95)
        rounds = looks.rounds(["gaussian"] * 64)
        assert [len(ks) for ks in rounds] == [2, 2, 3, 6, 10, 18, 23]
        assert [k for ks in rounds for k in ks] == list(range(64))

    def test_random_kinds_grow_alike_and_fixed_ones_come_first(self) -> None:
        kinds = ["update", *["gaussian"] * 4, *["layerwise"] * 4, "-gradient"]
        rounds = SamplingPlan.planned(2, 4, 0.95).rounds(kinds)
        assert rounds == [[0, 1, 2, 5, 6, 9], [3, 4, 7, 8]]

    def test_fixed_ones_alone_are_one_round(self) -> None:
        assert SamplingPlan.planned(2, 64, 0.95).rounds(["update", "gradient"]) == [[0, 1]]


class TestConfig:
    def read(self, tmp_path: Path, text: str, *overrides: str) -> Config:
        return load_config(write(tmp_path, MODEL + text), overrides)

    def test_defaults(self, tmp_path: Path) -> None:
        config = self.read(tmp_path, "")
        assert (config.num_directions, config.confidence, config.verdict) == (8, 0.95, "mean")
        assert config.sampling == SamplingPlan((8,), 0.95)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("{min: 2, max: 64}", {"min": 2, "max": 64}),
            ("{min: 4}", {"min": 4, "max": 64}),
            ("{max: '16'}", {"min": 2, "max": 16}),
            ("{min: 8, max: 8}", {"min": 8, "max": 8}),
        ],
    )
    def test_a_range(self, tmp_path: Path, text: str, found: dict[str, int]) -> None:
        config = self.read(tmp_path, f"num_directions: {text}")
        assert config.num_directions == found == config.to_dict()["num_directions"]
        assert (config.sampling.counts[0], config.sampling.most) == (found["min"], found["max"])

    def test_overrides(self, tmp_path: Path) -> None:
        ends = ("num_directions.min=3", "num_directions.max=5")
        assert self.read(tmp_path, "", *ends).num_directions == {"min": 3, "max": 5}
        assert self.read(tmp_path, "num_directions: 4", *ends).sampling.counts == (3, 5)
        given = self.read(tmp_path, "num_directions: {min: 2, max: 9}", "num_directions=4")
        assert given.num_directions == 4
        sure = self.read(tmp_path, "", "confidence=0.99", "verdict=confident")
        assert (sure.confidence, sure.verdict) == (0.99, "confident")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("num_directions: {min: 8, max: 4}", "num_directions: min 8 is above max 4"),
            ("num_directions: {min: 100}", "num_directions: min 100 is above max 64, its default"),
            ("num_directions: 1e30", "num_directions: '1e30' is out of range: at most 1000000"),
            (
                "num_directions: {max: 2000000}",
                "num_directions: max: 2000000 is out of range: at most 1000000",
            ),
            ("num_directions: {min: 1}", "num_directions: min: 1 is out of range: at least 2"),
            ("num_directions: {max: 2.5}", "num_directions: max: 2.5 is not a whole number"),
            ("num_directions: {min: true}", "num_directions: min: True is not a whole number"),
            ("num_directions: {least: 2}", "num_directions: 'least' is neither min nor max"),
            ("num_directions: [2, 64]", "num_directions: [2, 64] is not a whole number"),
            ("num_directions: 0", "num_directions: 0 is out of range: at least 1"),
            ("confidence: 1", "confidence: 1 is not between 0 and 1, both excluded"),
            ("confidence: 0", "confidence: 0 is not between 0 and 1, both excluded"),
            ("confidence: 95", "confidence: 95 is not between 0 and 1, both excluded"),
            ("confidence: high", "confidence: 'high' is not a finite number"),
            ("verdict: sure", "verdict: 'sure' is not one of mean, confident"),
            (
                "verdict: confident\nnum_directions: 1",
                "verdict: confident needs an interval, which a single direction does not have: "
                "set num_directions to 2 or more",
            ),
        ],
    )
    def test_refused_in_one_line(self, tmp_path: Path, text: str, said: str) -> None:
        path = write(tmp_path, MODEL + text)
        assert refusal(path) == f"{path}: {said}"

    def test_a_confident_verdict_on_fixed_directions_needs_no_sample(self, tmp_path: Path) -> None:
        text = "verdict: confident\nnum_directions: 1\ndirections: gradient"
        assert self.read(tmp_path, text).sampling.most == 1
