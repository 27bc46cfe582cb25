"""Last-token logits of a padded batch: each row is that of its prompt alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity.probes.batches import make_batches
from pytest_linearity.probes.logits import last_token_logits

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5]]


class Running(nn.Module):
    """A causal model: the logits of a token are a function of all tokens up to it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(10, 4, generator=generator))
        self.head = nn.Parameter(torch.randn(4, 7, generator=generator))

    def logits(self, input_ids: Tensor) -> Tensor:
        return torch.tanh(self.table[input_ids].cumsum(dim=1)) @ self.head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.logits(input_ids))


class Keeping(Running):
    """One that computes the logits it is asked for alone, by index as transformers does."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
    ) -> Any:
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return SimpleNamespace(logits=self.logits(input_ids)[:, kept])


class Listing(Running):
    """One that returns a tuple, and takes token ids alone."""

    def forward(self, input_ids: Tensor) -> Any:
        return (self.logits(input_ids),)


@pytest.mark.parametrize("kind", [Running, Keeping, Listing])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_row_is_that_of_its_prompt_alone(kind: type[Running], size: int) -> None:
    model = kind()
    for batch in make_batches(PROMPTS, size=size, pad_id=0):
        with torch.no_grad():
            together = last_token_logits(model, batch)()
            alone = [model.logits(torch.tensor([PROMPTS[row]]))[0, -1] for row in batch.rows]
        torch.testing.assert_close(together, torch.stack(alone))
