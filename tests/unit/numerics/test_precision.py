"""Arithmetic: everything in one dtype, also where the code asks for another."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.precision import Arithmetic, Uniform, arithmetic_for

CPU = torch.device("cpu")


def test_casts_and_dtype_arguments_become_float64() -> None:
    x = torch.ones(2, dtype=torch.bfloat16)
    with Uniform(torch.float64):
        assert x.float().dtype is torch.float64
        assert x.half().dtype is torch.float64
        assert x.to(torch.float32).dtype is torch.float64
        assert x.to("cpu", torch.bfloat16).dtype is torch.float64
        assert x.type(torch.float16).dtype is torch.float64
        assert torch.softmax(x, -1, dtype=torch.float32).dtype is torch.float64
        assert nn.functional.softmax(x, dim=-1, dtype=torch.float32).dtype is torch.float64
        assert torch.zeros(2, dtype=torch.float32).dtype is torch.float64
        assert (x + x).dtype is torch.float64
        assert torch.cat([x, x]).dtype is torch.float64
        assert x.type_as(torch.ones(1)).dtype is torch.float64
        assert torch.view_as_complex(torch.ones(2, 2)).dtype is torch.complex128


def test_what_is_no_float_stays() -> None:
    ids = torch.tensor([1, 2])
    with Uniform(torch.float64):
        assert (ids + 1).dtype is torch.int64
        assert ids.to(torch.int32).dtype is torch.int32
        assert (ids > 1).dtype is torch.bool


def test_a_tensor_written_into_stays_the_same_tensor() -> None:
    target, wide = torch.zeros(2), torch.ones(2, dtype=torch.float64)
    with Uniform(torch.float64):
        assert target.copy_(wide) is target
        target[0] = wide[0] * 3
        target += wide
    assert target.tolist() == [4.0, 2.0]


def test_narrowing_only_on_request() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with Uniform(torch.float32):
        assert (x + x).dtype is torch.float64
    with Uniform(torch.float32, narrow=True):
        assert (x + x).dtype is torch.float32


class Norm(nn.Module):
    """A norm in the manner of transformers: in float32 whatever comes in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


def test_double_is_not_float64_but_this_is() -> None:
    norm, x = Norm(torch.float64), torch.randn(4, 64, dtype=torch.float64)
    exact = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert (norm(x) - exact).abs().max() > 1e-9
    with Uniform(torch.float64):
        ours = norm(x)
    assert (ours - exact).abs().max() < 1e-14


def test_modes_only_where_they_are_needed() -> None:
    assert Arithmetic(torch.float32, CPU).modes(Norm(torch.float32)) == []
    assert len(Arithmetic(torch.float32, CPU).modes(Norm(torch.bfloat16))) == 1
    assert len(Arithmetic(torch.float64, CPU).modes(Norm(torch.float64))) == 1


def test_never_narrower_than_a_parameter() -> None:
    assert arithmetic_for(Norm(torch.float64), "float32", CPU).dtype is torch.float64
    assert arithmetic_for(Norm(torch.bfloat16), "float32", CPU).dtype is torch.float32
    assert arithmetic_for(Norm(torch.bfloat16), "float64", CPU).name == "float64"


def test_settings_are_put_back() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        with suppress(ValueError), Arithmetic(torch.float64, CPU).settings():
            assert torch.get_default_dtype() is torch.float64
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise ValueError
        assert torch.get_default_dtype() is torch.float32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
