"""Leaves of arguments, against torch's own."""

from collections import OrderedDict

import torch
from torch.utils._pytree import tree_leaves, tree_map

from pytest_linearity.numerics.lockstep.pytree import leaves, map_leaves

VALUES = [
    1,
    None,
    (1, [2, {"a": 3, "b": (4,)}], "x"),
    ((), [], {}),
    torch.ones(3, 2).topk(1),
    OrderedDict(a=[1, (2,)]),
]


def test_leaves_are_those_of_torch():
    for value in VALUES:
        assert [id(leaf) for leaf in leaves(value)] == [id(leaf) for leaf in tree_leaves(value)]


def test_mapping_is_that_of_torch():
    for value in VALUES:
        assert str(map_leaves(repr, value)) == str(tree_map(repr, value))
