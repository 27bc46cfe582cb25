"""A few architectures are compared whenever tests run; all others where the slow tests do."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = {"llama", "gpt2", "mixtral"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function):
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            if parameters.get("name") not in {None, *QUICK}:
                item.add_marker(pytest.mark.slow)
