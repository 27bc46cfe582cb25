"""Hidden states of the last tokens after every block, taken along with the logits.

An evaluation gives one tensor: the logits, and beside them in the same rows the hidden states. So
whatever carries logits (a tangent, a difference, a trunk) carries hidden states, and nothing is
evaluated for them. Blocks get a forward hook for the time of a measurement; it only looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.lockstep.evaluation import Evaluation, current
from pytest_linearity.numerics.lockstep.logits import Logits, needed_tokens, prefix_of
from pytest_linearity.numerics.measurement.figures import PairKey, Pairs
from pytest_linearity.numerics.measurement.measurement import LayerProfile
from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error


class LayerTaps:
    """Taps on the blocks of a model."""

    def __init__(self, blocks: Mapping[str, nn.Module]) -> None:
        """Taps that look for as long as they are `attached`.

        Args:
            blocks: What to look at, by the name it is reported under, in running order.
        """
        self._blocks = blocks
        self._open: dict[Any, _Tapped] = {}
        self._tapped: dict[int, _TappedLogits] = {}
        self._handles: list[Any] = []
        self._holders = 0
        self._widths: list[int] = []
        self.names: tuple[str, ...] = ()
        """The taps in the order they were passed, once a forward has run. A block that runs
        several times in one forward has its later runs numbered."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Look at the blocks for a while; several measurements that overlap look at them once."""
        if not self._holders:
            self._handles = [
                block.register_forward_hook(self._hook(name))
                for name, block in self._blocks.items()
            ]
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            for handle in self._handles if not self._holders else ():
                handle.remove()

    def tapped(self, logits: Logits) -> Logits:
        """A batch's call that returns hidden states beside the logits.

        Args:
            logits: The batch's call, which says what tokens it needs.

        Returns:
            A call that returns a Tensor [prompts, V + Σ hidden], to be taken apart by `split`; the
            same one for the same call.

        Raises:
            ValueError: If the call does not say.
        """
        return self._tapped.setdefault(id(logits), _TappedLogits(self, logits))

    def split(self, output: Tensor) -> list[Tensor]:
        """The logits and the hidden states, one Tensor [prompts, …] each."""
        rest = output.shape[-1] - sum(self._widths)
        return list(torch.split(output, [rest, *self._widths], dim=-1))

    def run(self, logits: Logits, needed: Tensor) -> Tensor:
        """Run one forward and collect what its blocks return."""
        key = current()
        tapped = self._open[key] = _Tapped(needed)
        try:
            output = logits()
        finally:
            del self._open[key]
        self.names = tuple(tapped.names)
        self._widths = [state.shape[-1] for state in tapped.states]
        return torch.cat([output, *tapped.states], dim=-1)

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            tapped = self._open.get(current())
            if tapped is not None:
                tapped.take(name, output[0] if isinstance(output, (tuple, list)) else output)

        return look


class _TappedLogits:
    """The call of one batch, beside the prefix that the original leaves to others."""

    def __init__(self, taps: LayerTaps, logits: Logits) -> None:
        self._taps = taps
        self._logits = logits
        needed = needed_tokens(logits)
        if needed is None:
            raise ValueError("hidden states are taken of batches with an attribute `needed` only")
        self._rows = needed.nonzero().flatten()
        self.prefix = prefix_of(logits)

    def __call__(self) -> Tensor:
        return self._taps.run(self._logits, self._rows)


class _Tapped:
    """What the blocks of one forward have returned so far."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._runs: Counter[str] = Counter()
        self.names: list[str] = []
        self.states: list[Tensor] = []

    def take(self, name: str, output: Any) -> None:
        """Take the last tokens' rows of a Tensor [prompts, tokens, hidden]."""
        if not isinstance(output, Tensor) or output.dim() != 3 or len(output) != len(self._rows):
            return
        self._runs[name] += 1
        run = self._runs[name]
        self.names.append(name if run == 1 else f"{name} ({run})")
        rows = self._rows.to(output.device)
        self.states.append(output.reshape(-1, output.shape[-1])[rows])


class LayerFigures:
    """The figures of all pairs after every block, as they come in."""

    def __init__(self, taps: LayerTaps, batches: int) -> None:
        """Room for so many batches."""
        self.taps = taps
        self.derivatives: dict[tuple[int, int], list[Tensor]] = {}
        """Derivatives of the hidden states by (batch, direction), Tensors [prompts, hidden]."""
        self._batches = batches
        self._values: dict[PairKey, Tensor] = {}

    def add(self, evaluation: Evaluation, changes: Sequence[Tensor]) -> None:
        """Take in the true change of every block's hidden state, Tensors [prompts, hidden]."""
        key = PairKey.of(evaluation)
        derivatives = self.derivatives[key.batch, key.direction]
        figures = []
        for change, derivative in zip(changes, derivatives, strict=True):
            predicted = key.radius * derivative.double()
            pair = relative_error(change, predicted), cosine_similarity(change, predicted)
            figures.append(torch.stack(pair).cpu())
        self._values[key] = torch.stack(figures, dim=1)

    def profile(self, radii: Sequence[float], directions: Sequence[int]) -> LayerProfile:
        """All figures; ``nan`` for directions that were not measured at a radius."""
        stacked = torch.stack([self._at(radius, directions) for radius in radii], dim=1)
        return LayerProfile(self.taps.names, stacked[0], stacked[1])

    def found(self, pairs: Pairs) -> dict[str, Any]:
        """The figures of some pairs, as plain data with tensors on the CPU, for `take_over`."""
        return {
            "names": self.taps.names,
            "values": {tuple(at): f for at, f in self._values.items() if pairs.hold(at)},
        }

    def vectors(self, pairs: Pairs) -> dict[str, Any]:
        """What later figures of some pairs are made of, likewise."""
        return {
            "derivatives": {
                pair: [hidden.cpu() for hidden in all_hidden]
                for pair, all_hidden in self.derivatives.items()
                if pairs.of(*pair)
            }
        }

    def take_over(self, entry: Mapping[str, Any], device: torch.device) -> None:
        """Take in what `found`, and perhaps `vectors`, gave elsewhere or at another time."""
        self.taps.names = self.taps.names or entry["names"]
        self._values.update({PairKey(*at): figures for at, figures in entry["values"].items()})
        for pair, hidden in entry.get("derivatives", {}).items():
            self.derivatives[pair] = [derivative.to(device) for derivative in hidden]

    def _at(self, radius: float, directions: Sequence[int]) -> Tensor:
        """Both figures at one radius, Tensor [2, blocks, directions, prompts]."""
        blank = {key.batch: torch.full_like(v, torch.nan) for key, v in self._values.items()}
        return torch.stack(
            [
                torch.cat(
                    [
                        self._values.get(PairKey(b, k, radius), blank[b])
                        for b in range(self._batches)
                    ],
                    dim=-1,
                )
                for k in directions
            ],
            dim=2,
        )
