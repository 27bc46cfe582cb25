"""The gradient of the language-modelling loss on the probes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.vectors.tensors import TensorVector
from pytest_linearity.numerics.measurement.guards import readable_out_of_memory
from pytest_linearity.numerics.precision import Arithmetic, arithmetic_for
from pytest_linearity.probes.batches import make_batches
from pytest_linearity.probes.logits import forward_inputs


def loss_gradient(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    names: Collection[str],
    device: torch.device,
) -> TensorVector:
    """∇L at θ*, with L the mean next-token cross-entropy over all tokens of the prompts.

    Prompts are taken one by one. It needs memory for the gradient, 4 bytes for each parameter in
    `names`, for the activations of one prompt, and, where the weights are narrower than float32 or
    on another device, for a copy of them. The model stays bit for bit as it is.

    Args:
        model: A causal language model.
        prompts: Token ids.
        names: Canonical names of the parameters that the gradient is taken by.
        device: Where to compute.

    Returns:
        The gradient in float32, or in float64 for a model that has weights of that.

    Raises:
        ConfigError: If every prompt is a single token, so that there is no loss.
        MeasurementError: If there is not enough memory.
    """
    tokens = sum(len(prompt) - 1 for prompt in prompts)
    if not tokens:
        raise ConfigError(
            "directions: gradient: every prompt is a single token, so there is no next token to "
            "take the loss of"
        )
    arithmetic = arithmetic_for(model, "float32", device)
    with readable_out_of_memory(_OUT_OF_MEMORY):
        leaves = _leaves(model, names, arithmetic)
        loss = _backward(model, leaves, prompts, tokens, arithmetic)
        gradient = {name: _of(leaves[name]) for name in names}
    return TensorVector(
        label="gradient of the loss",
        zero="the loss on the probes does not depend on the parameters in scope",
        tensors=gradient,
        more={"loss": loss},
    )


_OUT_OF_MEMORY = (
    "directions: gradient: out of memory: it needs 4 bytes for each parameter in scope, and as "
    "much for each weight narrower than float32; choose a smaller `param_scope` or `cutoff_len`"
)


def _leaves(model: nn.Module, names: Collection[str], arithmetic: Arithmetic) -> dict[str, Tensor]:
    """The parameters as leaves of their own: the model's never learn of a gradient."""
    copies = arithmetic.buffer_copies()
    leaves = {name: copies(buffer) for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        floating = parameter.is_floating_point()
        dtype = arithmetic.dtype if floating else parameter.dtype
        leaf = parameter.detach().to(arithmetic.device, dtype)
        leaves[name] = leaf.requires_grad_(floating and name in names)
    return leaves


def _backward(
    model: nn.Module,
    leaves: dict[str, Tensor],
    prompts: Sequence[Sequence[int]],
    tokens: int,
    arithmetic: Arithmetic,
) -> float:
    """Add up the gradient of the mean loss in the leaves, and return that loss."""
    mean = 0.0
    with ExitStack() as stack:
        stack.enter_context(arithmetic.settings())
        stack.enter_context(torch.enable_grad())
        for mode in arithmetic.modes(model):
            stack.enter_context(mode)
        for batch in make_batches(prompts, size=1, pad_id=0):
            inputs = forward_inputs(model, batch, arithmetic.device)
            output = functional_call(model, leaves, (), inputs)
            logits = output.logits if hasattr(output, "logits") else output[0]
            following = batch.input_ids[0, 1:].to(logits.device)
            loss = cross_entropy(logits[0, :-1], following, reduction="sum") / tokens
            if loss.requires_grad:
                torch.autograd.backward(loss)
            mean += float(loss.detach())
    return mean


def _of(leaf: Tensor) -> Tensor:
    """The gradient of a leaf; zero where the loss has not reached it."""
    gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
    return gradient.detach().to("cpu")
