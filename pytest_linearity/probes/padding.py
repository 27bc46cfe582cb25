"""Does an architecture look at padding?

To the right of a prompt there is nothing a causal model can see. A few architectures look all the
same, at the length of the whole input or at positions counted from its end; their prompts must
not be padded.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pytest_linearity.errors import pass_on_foreign
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.precision import arithmetic_for
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.logits import last_token_logits

_PADS = 7
_SAME = 1e-4
"""Two float32 forwards whose logits differ by less, relative to their norm, differ by rounding."""


def sees_padding(
    model: nn.Module, prompt: Batch, pad_id: int, directions: Directions, device: torch.device
) -> bool:
    """Whether the last-token logits of a prompt change when padding follows it.

    Args:
        model: A causal language model of transformers.
        prompt: One short prompt without padding.
        pad_id: The token that pads.
        directions: Of the model; none is drawn.
        device: Where to compute.
    """
    logits: dict[Evaluation, Tensor] = {}
    runs = [last_token_logits(model, batch, device) for batch in (prompt, _padded(prompt, pad_id))]
    try:
        Lockstep(model, runs, directions, arithmetic_for(model, "float32", device)).run(
            [Evaluation(0), Evaluation(1)], logits.__setitem__
        )
    except Exception as error:
        pass_on_foreign(error)
        # What cannot even run with padding sees it; without, it will say what else is wrong.
        return True
    alone, padded = logits[Evaluation(0)], logits[Evaluation(1)]
    return not float((alone - padded).norm()) <= _SAME * float(alone.norm())


def _padded(prompt: Batch, pad_id: int) -> Batch:
    ids, mask = prompt.input_ids, prompt.attention_mask
    return replace(
        prompt,
        input_ids=torch.cat([ids, ids.new_full((len(ids), _PADS), pad_id)], dim=1),
        attention_mask=torch.cat([mask, mask.new_zeros(len(mask), _PADS)], dim=1),
    )
