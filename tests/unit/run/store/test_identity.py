"""What a measurement depends on."""

from __future__ import annotations

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.run.store.identity import measured_keys
from tests.support.diagnoses import ALL


@pytest.mark.parametrize("key", sorted(ALL))
def test_the_cache_tells_them_apart(key: str) -> None:
    asked = Config(model_name_or_path="x", **{key: True})
    assert measured_keys(asked) != measured_keys(Config(model_name_or_path="x"))
