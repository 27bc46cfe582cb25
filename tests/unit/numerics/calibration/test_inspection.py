"""What is noted of one forward before anything is shared."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pytest_linearity.numerics.calibration.inspection import ForwardInspector


@pytest.mark.parametrize(("vocabulary", "widest"), [(40, 12), (400, 26)])
def test_the_head_counts_as_what_sees_one_token_of_many(vocabulary: int, widest: int) -> None:
    """Sixteen tokens, of which the head sees the last: (8 + 400) / 16 = 25.5 features a token."""
    model = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, vocabulary)])
    watch = ForwardInspector(model)
    with torch.no_grad(), watch:
        hidden = functional.linear(torch.ones(1, 16, 8), torch.ones(4, 8))
        hidden = functional.linear(hidden, torch.ones(8, 4))
        functional.linear(hidden[:, -1:], torch.ones(vocabulary, 8))
    assert watch.widest == widest
