"""How much a stage computes: floating-point operations, and entries that are drawn and formed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_linearity.numerics.lockstep.products import FEW_ROWS
from pytest_linearity.plan.forward import Forward, Linear
from pytest_linearity.plan.stages import Stage
from pytest_linearity.plan.workload import BatchSize


@dataclass(frozen=True)
class LayerWork:
    """What one round does with one linear layer."""

    use: Linear
    """The layer."""
    rows: int
    """Rows of one product."""
    products: float
    """Products of so many rows."""
    formed: int
    """How often W + rδ is formed."""
    drawn: int
    """Along how many directions a part is drawn."""

    @property
    def entries(self) -> int:
        """Of the matrix."""
        return self.use.inputs * self.use.outputs

    @property
    def flops(self) -> float:
        """Floating-point operations of all products."""
        return 2.0 * self.rows * self.entries * self.products


def work_of(
    stage: Stage,
    forward: Forward,
    scopes: Sequence[frozenset[str]],
    batches: Sequence[BatchSize],
    directions: int,
    prefix: int,
) -> Iterator[LayerWork]:
    """The work of one round, layer by layer.

    Args:
        stage: What is measured.
        forward: The model's forward.
        scopes: The parameters of each scope.
        batches: Those of the round.
        directions: How many in it, of all scopes together.
        prefix: Tokens that all prompts share, beside the batches.
    """
    share = directions // len(scopes)
    trunks = [forward.trunk(scope) for scope in scopes]
    for place, use in enumerate(forward.linears):
        # Before the first perturbed parameter all evaluations are the baseline's.
        along = share * sum(place >= trunk for trunk in trunks)
        moved = share * sum(use.name in scope for scope in scopes)
        rows = [use.rows(batch.prompts, batch.tokens) for batch in batches]
        if prefix and use.per_token and not use.in_tail:
            rows.append(prefix * use.per_token)
        yield _work(stage, use, rows, along, moved)


def _work(stage: Stage, use: Linear, rows: Sequence[float], along: int, moved: int) -> LayerWork:
    """A JVP takes dx Wᵀ and x δᵀ, and one away from θ* its own primal as well."""
    primals = 1 + along * (stage.radii + 2 * stage.curvature)
    tangents = along * stage.duals
    total = max(1, round(sum(rows)))
    if max(rows) <= FEW_ROWS:
        # All rows in one product with W, and with δ all of its direction's.
        stacked = total * (primals + tangents)
        return LayerWork(
            use, stacked, 1 + moved * stage.per_direction / (primals + tangents), 0, moved
        )
    mean = max(1, total // len(rows))
    products = len(rows) * (primals + tangents + moved * stage.duals)
    return LayerWork(use, mean, products, moved * (stage.radii + 2 * stage.curvature), moved)
