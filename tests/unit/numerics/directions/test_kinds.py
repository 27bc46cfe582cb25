"""The random kinds of directions, each against what it is defined to be."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.parts import Part, rows_of
from pytest_linearity.numerics.directions.vectors.tensors import TensorVector

RANDOM = ("gaussian", "rademacher", "layerwise", "filterwise")


def parameters(seed: int = 0) -> nn.ParameterDict:
    """Of many shapes: several draw blocks, one, a row longer than a block, three dimensions."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "wide": (3, 40_000),
        "tall": (2_000, 48),
        "stacked": (4, 5, 6),
        "bias": (48,),
        "scalar": (),
    }
    tensors = {
        name: torch.randn(shape, generator=generator) * (3.0 + number)
        for number, (name, shape) in enumerate(shapes.items())
    }
    return nn.ParameterDict({**tensors, "zero": torch.zeros(7, 9), "still": torch.zeros(4)})


@pytest.fixture(scope="module")
def model() -> nn.ParameterDict:
    return parameters()


def of(model: nn.Module, kind: str, count: int = 2, **more: object) -> Directions:
    return Directions(model, count, seed=5, kinds=[kind], **more)  # type: ignore[arg-type]


def whole(directions: Directions, k: int) -> Tensor:
    parts = [directions.tensor(k, name).flatten().double() for name in directions.names]
    return torch.cat(parts)


def norm(tensor: Tensor) -> float:
    return math.sqrt(float(tensor.detach().double().square().sum()))


@pytest.mark.parametrize("kind", RANDOM)
class TestEveryRandomKind:
    def test_has_unit_norm(self, model: nn.ParameterDict, kind: str) -> None:
        for k in range(2):
            assert float(whole(of(model, kind), k).norm()) == pytest.approx(1, abs=1e-6)

    def test_has_unit_norm_over_the_parameters_in_scope(self, kind: str) -> None:
        """The rest of the model must not take a share of it."""
        blocks = nn.ModuleList(nn.Linear(30, 20) for _ in range(4))
        directions = of(nn.ModuleDict({"blocks": blocks}), kind, scope="last_blocks:1")
        assert directions.names == ("blocks.3.weight", "blocks.3.bias")
        for k in range(2):
            assert float(whole(directions, k).norm()) == pytest.approx(1, abs=1e-6)

    def test_is_the_same_however_it_is_drawn(self, model: nn.ParameterDict, kind: str) -> None:
        directions, again = of(model, kind), of(model, kind, count=1)
        assert torch.equal(directions.tensor(0, "tall"), again.tensor(0, "tall"))
        for name in ("tall", "wide", "stacked", "bias", "zero"):
            matrix = directions.tensor(1, name)
            matrix = matrix.reshape(-1, matrix.shape[-1]) if matrix.dim() > 1 else matrix[None]
            part = directions.part(1, name)
            rows = len(matrix)
            for start, stop in ((0, rows), (rows // 2, rows), (rows - 1, rows), (0, 1)):
                assert torch.equal(part.rows(start, stop), matrix[start:stop])
            some = torch.tensor(sorted({0, rows // 3, rows - 1}))
            assert torch.equal(part.gather(some), matrix[some])

    def test_seeds_and_indices_give_unrelated_ones(
        self, model: nn.ParameterDict, kind: str
    ) -> None:
        directions = of(model, kind)
        other = Directions(model, 1, seed=6, kinds=[kind])
        mine = whole(directions, 0)
        # The standard deviation where signs are random and sizes are not; 1/√d if all are alike.
        for second in (whole(directions, 1), whole(other, 0)):
            assert abs(float(mine @ second)) < 5 * math.sqrt(float(mine.square().square().sum()))

    def test_does_not_depend_on_what_else_runs(self, model: nn.ParameterDict, kind: str) -> None:
        alone = of(model, kind)
        together = Directions(model, 2, seed=5, kinds=[k for k in RANDOM if k != kind] + [kind])
        assert together.count == 8
        assert together.kinds[-2:] == (kind, kind)
        for k in range(2):
            assert torch.equal(together.tensor(6 + k, "tall"), alone.tensor(k, "tall"))

    def test_does_not_move_the_model(self, kind: str) -> None:
        model, same = parameters(), parameters()
        whole(of(model, kind), 0)
        for name, parameter in model.items():
            assert torch.equal(parameter, same[name])


def test_gaussian_values_are_pinned(model: nn.ParameterDict) -> None:
    """Reports of earlier versions were measured along these."""
    directions = Directions(model, 2)
    for name, k, places, expected in (
        (
            "tall",
            1,
            ([0, 999, 1999], [7, 7, 7]),
            [-4.903104855e-4, 9.238520579e-5, -9.457403794e-4],
        ),
        ("wide", 0, ([0, 2], [5, 39_999]), [-3.294348e-3, 1.940919e-3]),
    ):
        entries = directions.tensor(k, name)[places]
        torch.testing.assert_close(entries, torch.tensor(expected), rtol=1e-5, atol=0)
    assert float(directions.tensor(1, "scalar")) == pytest.approx(2.00021e-4, rel=1e-5)


def test_rademacher_moves_every_entry_by_the_same(model: nn.ParameterDict) -> None:
    direction = whole(of(model, "rademacher"), 0)
    entries = len(direction)
    size = 1 / math.sqrt(entries)
    assert torch.equal(direction.abs().float(), torch.full((entries,), size))
    # As many of either sign as chance gives: five standard errors.
    assert abs(float(direction.sign().sum())) < 5 * math.sqrt(entries)
    # No pattern from entry to entry, nor from row to row of a matrix.
    signs = of(model, "rademacher").tensor(0, "tall").sign()
    for one, other in ((signs[:, :-1], signs[:, 1:]), (signs[:-1], signs[1:])):
        assert abs(float((one * other).sum())) < 5 * math.sqrt(one.numel())


def test_layerwise_gives_every_tensor_its_share(model: nn.ParameterDict) -> None:
    directions = of(model, "layerwise")
    everything = math.sqrt(sum(norm(p) ** 2 for p in model.values()))
    for name, parameter in model.items():
        for k in range(2):
            share = norm(directions.tensor(k, name))
            assert share == pytest.approx(norm(parameter) / everything, rel=1e-5), name


def test_layerwise_is_the_gaussian_draw_within_a_tensor(model: nn.ParameterDict) -> None:
    layerwise, gaussian = of(model, "layerwise"), of(model, "gaussian")
    for name in ("tall", "wide", "bias"):
        ratio = layerwise.tensor(1, name) / gaussian.tensor(1, name)
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)


def test_filterwise_gives_every_row_its_share(model: nn.ParameterDict) -> None:
    """By hand: a Gaussian row over its norm, times the row's norm, the whole normalised."""
    directions, gaussian = of(model, "filterwise"), of(model, "gaussian")
    matrices = {n: p.detach().double() for n, p in model.items() if p.dim() > 1}
    everything = math.sqrt(sum(norm(matrix) ** 2 for matrix in matrices.values()))
    for name, matrix in matrices.items():
        rows, drawn = matrix.reshape(-1, matrix.shape[-1]), gaussian.tensor(1, name).double()
        drawn = drawn.reshape(rows.shape)
        expected = drawn / drawn.norm(dim=1, keepdim=True) * rows.norm(dim=1, keepdim=True)
        direction = directions.tensor(1, name).double().reshape(rows.shape)
        torch.testing.assert_close(direction, expected / everything, rtol=1e-4, atol=1e-9)


def test_filterwise_leaves_biases_and_norms_alone(model: nn.ParameterDict) -> None:
    directions = of(model, "filterwise")
    for name in ("bias", "scalar", "still", "zero"):
        assert not directions.tensor(0, name).any()


class TestAKindThatLeadsNowhere:
    def test_layerwise_of_zeros(self) -> None:
        nothing = nn.ParameterDict({"w": torch.zeros(3, 3)})
        with pytest.raises(ConfigError, match=r"directions: layerwise: every parameter in scope"):
            of(nothing, "layerwise")

    def test_filterwise_without_matrices(self) -> None:
        norms = nn.ParameterDict({"w": torch.ones(3)})
        with pytest.raises(ConfigError, match=r"filterwise: moves weight matrices alone, and none"):
            of(norms, "filterwise")
        with pytest.raises(ConfigError, match=r"filterwise: .* and all in scope are zero"):
            of(nn.ParameterDict({"w": torch.zeros(3, 3)}), "filterwise")

    def test_unknown(self, model: nn.ParameterDict) -> None:
        with pytest.raises(ConfigError, match=r"directions: 'gausian' is not one of gaussian, rad"):
            of(model, "gausian")


def test_norm_of_the_scope_is_taken_in_float64(model: nn.ParameterDict) -> None:
    assert Directions(model, 1).norm == pytest.approx(
        math.sqrt(sum(norm(parameter) ** 2 for parameter in model.values())), rel=1e-12
    )
    many = nn.ParameterDict({"w": torch.full((3_000_000,), 0.1, dtype=torch.bfloat16)})
    value = float(torch.tensor(0.1, dtype=torch.bfloat16))
    expected = value * math.sqrt(3_000_000)
    assert Directions(many, 1).norm == pytest.approx(expected, rel=1e-12)


class TestAGivenVector:
    @pytest.fixture
    def tensors(self, model: nn.ParameterDict) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1)
        return {
            name: torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            for name, parameter in model.items()
        }

    def test_is_normalised_and_may_be_reversed(
        self, model: nn.ParameterDict, tensors: dict[str, Tensor]
    ) -> None:
        kept = {name: tensor.clone() for name, tensor in tensors.items()}
        vector = TensorVector("mine", "nothing", tensors)
        directions = Directions(
            model, 3, kinds=["mine", "gaussian", "-mine"], vectors={"mine": vector}
        )
        assert directions.count == 5
        assert directions.kinds == ("mine", *["gaussian"] * 3, "-mine")
        length = math.sqrt(sum(norm(tensor) ** 2 for tensor in tensors.values()))
        for name, tensor in tensors.items():
            expected = (tensor / length).float()
            torch.testing.assert_close(directions.tensor(0, name), expected)
            assert torch.equal(directions.tensor(4, name), -directions.tensor(0, name))
            assert torch.equal(tensor, kept[name])
        kinds = directions.describe()["directions"]["kinds"]
        assert [(kind["kind"], kind["count"]) for kind in kinds] == [
            ("mine", 1),
            ("gaussian", 3),
            ("-mine", 1),
        ]
        assert kinds[0]["norm"] == kinds[2]["norm"] == pytest.approx(length, rel=1e-12)

    def test_is_normalised_over_the_scope(
        self, model: nn.ParameterDict, tensors: dict[str, Tensor]
    ) -> None:
        vector = TensorVector("mine", "nothing", tensors)
        directions = Directions(
            model, scope="regex:^tall|bias", kinds=["mine"], vectors={"mine": vector}
        )
        assert set(directions.names) == {"tall", "bias"}
        assert float(whole(directions, 0).norm()) == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("start", [0, 1, 700, 1999])
    def test_any_rows_are_those_of_the_whole(
        self, model: nn.ParameterDict, tensors: dict[str, Tensor], start: int
    ) -> None:
        directions = Directions(
            model, 1, kinds=["mine"], vectors={"mine": TensorVector("mine", "nothing", tensors)}
        )
        part, matrix = directions.part(0, "tall"), directions.tensor(0, "tall")
        assert torch.equal(part.rows(start, 2000), matrix[start:])
        assert torch.equal(part.gather(torch.tensor([start])), matrix[[start]])

    def test_of_zeros_or_nan_is_refused(
        self, model: nn.ParameterDict, tensors: dict[str, Tensor]
    ) -> None:
        def refused(changed: dict[str, Tensor], match: str) -> None:
            vector = TensorVector("mine", "it is zero", changed)
            with pytest.raises(ConfigError, match=match):
                Directions(model, 1, kinds=["mine"], vectors={"mine": vector})

        zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        refused(zeros, r"^directions: mine: it is zero$")
        for bad in (math.nan, math.inf):
            tensors["tall"][1999, 3] = bad
            refused(tensors, r"^directions: mine: tall holds values that are NaN or infinite$")


def test_kinds_are_made_together(model: nn.ParameterDict) -> None:
    """The engine asks for the same rows of all directions at once, in memory it uses again."""
    ones = TensorVector("ones", "", {n: torch.ones(p.shape) for n, p in model.items()})
    directions = Directions(model, 2, kinds=[*RANDOM, "ones"], vectors={"ones": ones})
    memory = torch.full((9 * 2000 * 48,), math.nan)
    for name in ("tall", "wide", "bias", "zero"):
        parts: list[Part] = [directions.part(k, name) for k in range(directions.count)]
        for start, stop in ((0, parts[0].count), (parts[0].count - 1, parts[0].count)):
            together = rows_of(parts, start, stop, out=memory)
            for part, rows in zip(parts, together, strict=True):
                assert torch.equal(rows, part.rows(start, stop))


def test_describe_is_what_it_was_for_gaussian_directions(model: nn.ParameterDict) -> None:
    described = Directions(model, 4, seed=9).describe()
    assert described["directions"] == {
        "kind": "uniform on the unit sphere",
        "count": 4,
        "seed": 9,
    }


def test_describe_tells_all_kinds_apart(model: nn.ParameterDict) -> None:
    labels = [of(model, kind).describe()["directions"]["kind"] for kind in RANDOM]
    assert len(set(labels)) == len(RANDOM)
    both = Directions(model, 2, kinds=["layerwise", "gaussian"]).describe()["directions"]
    assert both["kind"] == f"{labels[2]}, {labels[0]}"
    assert list(chain.from_iterable(entry.items() for entry in both["kinds"])) == [
        ("kind", "layerwise"),
        ("count", 2),
        ("kind", "gaussian"),
        ("count", 2),
    ]
