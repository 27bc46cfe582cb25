"""Names that differ in numbers alone, written once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_linearity.numerics.scope.names import compact


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (["a.weight"], ["a.weight"]),
        (["h.0.w", "h.1.w", "h.2.w"], ["h.{0-2}.w"]),
        (["h.0.w", "h.0.b", "h.1.w", "h.1.b", "n.w"], ["h.{0-1}.w", "h.{0-1}.b", "n.w"]),
        (["h.0.w", "h.2.w", "h.3.w", "h.10.w"], ["h.{0,2-3,10}.w"]),
        (["h.7.w"], ["h.7.w"]),
        (["0", "1", "w"], ["{0-1}", "w"]),
        (["h.0", "h.0.0", "h.1"], ["h.{0-1}", "h.0.0"]),
        (["h.00.w", "h.0.w"], ["h.00.w", "h.0.w"]),
        ([f"h.{i}.e.{j}.w" for i in range(3) for j in range(4)], ["h.{0-2}.e.{0-3}.w"]),
        (["h.0.e.0", "h.0.e.1", "h.1.e.0"], ["h.0.e.{0-1}", "h.1.e.0"]),
        ([], []),
    ],
)
def test_names_are_joined(names: list[str], joined: list[str]) -> None:
    assert compact(names) == joined


def spread(name: str) -> list[str]:
    """The names that a joined one stands for."""
    if "{" not in name:
        return [name]
    before, _, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    names = []
    for entry in inside.split(","):
        first, _, last = entry.partition("-")
        for number in range(int(first), int(last or first) + 1):
            names += spread(f"{before}{number}{after}")
    return names


@given(
    st.sets(
        st.lists(st.sampled_from(["0", "1", "3", "11", "w"]), min_size=1, max_size=4).map(".".join)
    )
)
def test_joined_names_are_the_same_names(names: set[str]) -> None:
    again = [name for joined in compact(sorted(names)) for name in spread(joined)]
    assert sorted(again) == sorted(names)
