"""How much a stage computes: floating-point operations, and entries that are drawn and formed.

The counts are those of `lockstep.products`, and hold as long as its two methods do:

- An evaluation away from θ* has a product x(W + rδ)ᵀ of its own, its *primal*; the JVP at θ* takes
  the baseline's. The two JVPs of a second derivative lie away from θ*.
- A JVP has a *tangent* besides, dx Wᵀ + x δᵀ.
- For many rows W + rδ is formed once per direction and step, so that a primal is one product and a
  tangent two. For few rows all primals and tangents are stacked: W meets all rows of all of them in
  one product, and δ all rows of its direction's in another.
- A direction that does not move W has tangents dx Wᵀ, and no product with δ.
"""

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
    """What a round does with one use of a linear layer.

    Args:
        stage: What is measured.
        use: The layer.
        rows: Rows of its input, in each batch.
        along: Along how many directions evaluations are past the trunk.
        moved: How many of these move the matrix.
    """
    steps = stage.radii + 2 * stage.curvature
    per_direction = steps + stage.duals  # primals and tangents
    lines = 1 + along * per_direction
    total = max(1, round(sum(rows)))
    if max(rows) <= FEW_ROWS:
        return LayerWork(use, total * lines, 1 + moved * per_direction / lines, 0, moved)
    mean = max(1, total // len(rows))
    products = len(rows) * (lines + moved * stage.duals)
    return LayerWork(use, mean, products, moved * steps, moved)
