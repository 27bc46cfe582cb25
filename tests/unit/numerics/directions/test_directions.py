"""Directions: uniform on the unit sphere, the same however they are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pytest_linearity import Directions
from pytest_linearity.errors import ConfigError


class Tied(nn.Module):
    """An embedding whose matrix is also the output layer's, between two other layers."""

    def __init__(self, width: int = 48, vocabulary: int = 2000) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight


@pytest.fixture(scope="module")
def model() -> Tied:
    return Tied()


def flat(directions: Directions, k: int) -> torch.Tensor:
    return torch.cat([directions.tensor(k, name).flatten().double() for name in directions.names])


def test_every_direction_has_unit_norm(model: Tied) -> None:
    directions = Directions(model, 3)
    for k in range(3):
        # Values are float32, and each draw block is normalised in float32.
        assert flat(directions, k).norm().item() == pytest.approx(1.0, abs=1e-6)


def test_a_tied_tensor_is_there_once_under_its_first_name(model: Tied) -> None:
    names = Directions(model, 1).names
    assert "embed.weight" in names
    assert "head.weight" not in names
    assert len(names) == len(set(names)) == 7


def test_values_do_not_depend_on_order_or_repetition(model: Tied) -> None:
    one, other = Directions(model, 4, seed=7), Directions(model, 4, seed=7)
    forward = [one.tensor(k, n) for k in range(4) for n in one.names]
    backward = [other.tensor(k, n) for k in reversed(range(4)) for n in reversed(one.names)]
    for a, b in zip(forward, reversed(backward), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one.tensor(2, "embed.weight"), one.tensor(2, "embed.weight"))


def test_values_do_not_depend_on_the_order_of_the_parameters() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(48, 5)
            self.blocks = nn.ModuleList(nn.Linear(48, 48) for _ in range(2))

    class Straight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(48, 48) for _ in range(2))
            self.head = nn.Linear(48, 5)

    a, b = Directions(Reversed(), 1), Directions(Straight(), 1)
    for name in a.names:
        assert torch.equal(a.tensor(0, name), b.tensor(0, name))


def test_a_scope_changes_a_direction_by_its_norm_only(model: Tied) -> None:
    full, last = Directions(model, 1), Directions(model, 1, scope="last_blocks:1")
    name = "blocks.2.weight"
    assert set(last.names) == {"blocks.2.weight", "blocks.2.bias"}
    ratio = last.tensor(0, name) / full.tensor(0, name)
    assert ratio.std().item() == pytest.approx(0, abs=1e-4 * ratio.mean().item())


def test_rows_are_those_of_the_whole_tensor(model: Tied) -> None:
    directions = Directions(model, 2)
    whole, part = directions.tensor(1, "embed.weight"), directions.part(1, "embed.weight")
    assert torch.equal(part.rows(700, 1500), whole[700:1500])
    some = torch.tensor([0, 1, 681, 682, 683, 1365, 1999])
    assert torch.equal(part.gather(some), whole[some])


def test_default_dtype_and_threads_change_nothing(model: Tied) -> None:
    expected = Directions(model, 1).tensor(0, "embed.weight")
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    try:
        assert torch.equal(Directions(model, 1).tensor(0, "embed.weight"), expected)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)


def test_seeds_and_indices_give_other_directions(model: Tied) -> None:
    a, b = Directions(model, 2, seed=1), Directions(model, 2, seed=2)
    dimension = a.parameters
    for one, other in ((flat(a, 0), flat(a, 1)), (flat(a, 0), flat(b, 0))):
        # Independent unit vectors: their product has standard deviation 1/√d.
        assert abs(float(one @ other)) < 5 / math.sqrt(dimension)


def test_the_distribution_is_isotropic() -> None:
    """Energy and signs in every part of the space, against what the sphere prescribes."""
    parts = nn.ParameterDict(
        {
            "a": torch.zeros(3),
            "b": torch.zeros(4, 5),
            "c": torch.zeros(2, 2, 7),
            "d": torch.zeros(()),
        }
    )
    count = 4000
    directions = Directions(parts, count, seed=3)
    draws = torch.stack([flat(directions, k) for k in range(count)])
    dimension = draws.shape[1]
    assert dimension == 3 + 20 + 28 + 1
    # Mean 0 and covariance I/d, entry by entry: five standard errors of 4,000 draws.
    mean, covariance = draws.mean(0) * math.sqrt(dimension), draws.T @ draws * dimension / count
    assert mean.abs().max() < 5 / math.sqrt(count)
    assert (covariance - torch.eye(dimension)).abs().max() < 5 * math.sqrt(2 / count)
    # The share of energy in "b" is Beta(20/2, 32/2): mean and variance.
    share = draws[:, 3:23].square().sum(1)
    a, b = 10.0, 16.0
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    assert abs(share.mean() - a / (a + b)) < 5 * math.sqrt(variance / count)
    assert share.var().item() == pytest.approx(variance, rel=0.15)


def test_blocks_of_one_tensor_share_its_energy_at_random() -> None:
    """Draw blocks differ in norm as chi-squared draws do, not by construction equal."""
    parameter = nn.ParameterDict({"w": torch.zeros(64, 32768)})
    tensor = Directions(parameter, 1).tensor(0, "w").double()
    # 64 draw blocks; s/Σs has relative standard deviation √(2/32768).
    spread = tensor.square().sum(1).std() * 64 / math.sqrt(2 / 32768)
    assert 0.7 < spread.item() < 1.3


def test_the_blocks_are_those_of_the_text_decoder() -> None:
    class Towers(nn.Module):
        def __init__(self, tells: bool) -> None:
            super().__init__()
            self.vision = nn.ModuleList(nn.Linear(90, 90) for _ in range(4))
            self.text = Tied()
            if tells:
                self.get_decoder = lambda: self.text

    for tells in (True, False):  # by its name, where the model does not tell
        assert set(Directions(Towers(tells), 1, scope="last_blocks:1").names) == {
            "text.blocks.2.weight",
            "text.blocks.2.bias",
        }


def test_what_cannot_be() -> None:
    model = Tied()
    directions = Directions(model, 1)
    with pytest.raises(KeyError):
        directions.tensor(0, "head.weight")
    with pytest.raises(IndexError):
        directions.tensor(1, "embed.weight")
    with pytest.raises(ValueError, match="count is 0"):
        Directions(model, 0)
    with pytest.raises(ConfigError, match=r"'last_blocks:4' asks for 4 blocks, the model has 3"):
        Directions(model, 1, scope="last_blocks:4")
    for scope in ("last_blocks:0", "last_blocks:-1", "first", "", "full "):
        with pytest.raises(ConfigError, match="is not a scope"):
            Directions(model, 1, scope=scope)
