"""Findings as a file: exactly what was written, or nothing."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.run.store.findings_file import read_findings, write_findings
from pytest_linearity.verdict.findings import Findings
from tests.support.diagnoses import NAMES, measurement


def findings() -> Findings:
    values = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    error, cosine = values / 3, -values
    error[0, 0, 0], error[1, 2, 3] = float("inf"), float("nan")
    return Findings(
        measurement=Measurement(
            radii=(0.1, 1e-5),
            figures={
                "relative_error": error,
                "cosine_similarity": cosine,
                "kl": values,
                "mine": error,
            },
            precision=("float32", "float64"),
            noise_floor=(0.1 + 0.2, None),
            jvp_method="forward-mode",
            no_forward_mode=None,
            routing_flips=(3, 0),
            metric_noise={"kl": values / 7, "mine": -error},
            metric_failures={"kl": (None, None), "mine": (None, "mine raised E: x")},
        ),
        checkpoint={"path": "Größe", "parameters": 5},
        probes={"rows": [{"row": 0}], "summary": "1 prompt"},
        scope={"tensors": 2},
        environment={"seconds": 1.5, "reused": False},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "kept.found"
    write_findings(place, findings())
    return place


def assert_same(one: torch.Tensor, two: torch.Tensor) -> None:
    assert two.dtype == torch.float64
    torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


def test_reads_exactly_what_was_written(path: Path) -> None:
    written, found = findings(), read_findings(path)
    assert found is not None
    for field in fields(Measurement):
        one, two = getattr(written.measurement, field.name), getattr(found.measurement, field.name)
        if field.name in ("figures", "metric_noise"):
            assert list(one) == list(two)
            for name in one:
                assert_same(one[name], two[name])
        else:
            assert one == two, field.name
            assert type(one) is type(two)
    for field in fields(Findings):
        if field.name != "measurement":
            assert getattr(written, field.name) == getattr(found, field.name)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert read_findings(tmp_path / "none") is None
    assert read_findings(tmp_path) is None


def test_a_damaged_file_is_nothing(path: Path) -> None:
    whole = path.read_bytes()
    for length in (0, 1, 70, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        assert read_findings(path) is None, length
    for place in (0, 66, 200, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_findings(path) is None, place
    path.write_bytes(whole)
    assert read_findings(path) is not None


def test_findings_of_another_shape_are_nothing(path: Path) -> None:
    from pytest_linearity.files import read_checked, write_checked

    document = read_checked(path)
    assert document is not None
    write_checked(path, {**document, "measurement": {**document["measurement"], "later": 1}})
    assert read_findings(path) is None
    write_checked(path, {key: value for key, value in document.items() if key != "scope"})
    assert read_findings(path) is None
    of_old = dict(document["measurement"])
    of_old |= of_old.pop("figures")  # ε and c were fields of their own
    write_checked(path, {**document, "measurement": of_old})
    assert read_findings(path) is None


def test_findings_of_a_real_run_are_kept_exactly(tmp_path: Path) -> None:
    written = measurement()
    assert written.layers is not None
    assert written.curvature_ratio is not None
    written.curvature_ratio[0, 0] = float("inf")
    write_findings(tmp_path / "a", Findings(written, {}, {}, {}, {}))
    found = read_findings(tmp_path / "a")
    assert found is not None
    assert found.measurement.refinement == written.refinement
    assert found.measurement.curvature_ratio is not None
    assert torch.equal(found.measurement.curvature_ratio, written.curvature_ratio)
    assert found.measurement.layers is not None
    assert found.measurement.layers.names == NAMES
    for name in ("relative_error", "cosine_similarity"):
        assert torch.equal(getattr(found.measurement.layers, name), getattr(written.layers, name))
