"""What a report keeps so that a later one can be compared with it pair by pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.verdict.document import Report
from tests.support.configs import small_config


@pytest.fixture(scope="module")
def analysis(tiny_checkpoint: Path):  # type: ignore[no-untyped-def]
    """Makes the analysis of the tiny checkpoint, with some keys of its own."""
    from pytest_linearity.run.analysis import Analysis

    def make(**keys: object) -> Analysis:
        own = {"prompts": ["1+1=", "The sky is", "A"], "precision": "float64", **keys}
        return Analysis(small_config(tiny_checkpoint, **own))

    return make


def test_the_figures_of_every_pair(analysis) -> None:
    done = analysis()
    report = done.report
    for place, radius in enumerate((0.01, 0.1)):
        kept = report.pairs[str(radius)]
        assert kept["relative_error"] == done.measurement.relative_error[place].tolist()
        assert kept["cosine_similarity"] == done.measurement.cosine_similarity[place].tolist()
        assert [len(row) for row in kept["relative_error"]] == [3, 3]
    assert Report.from_dict(report.to_dict()) == report


def test_the_digest_of_the_prompts(analysis) -> None:
    digest = analysis().subject.probes.describe()["digest"]
    assert analysis(batch_size=1, seed=7).subject.probes.describe()["digest"] == digest
    others = (["The sky is", "1+1=", "A"], ["1+1=", "The sky is"], ["1+1=", "The sky is", "B"])
    for prompts in others:
        assert analysis(prompts=prompts).subject.probes.describe()["digest"] != digest


def test_the_digest_of_the_parameters(analysis) -> None:
    scope = analysis().directions.describe()
    same = analysis(seed=7, num_directions=1).directions.describe()
    assert same["digest"] == scope["digest"]
    assert same["directions"] == {**scope["directions"], "seed": 7, "count": 1}
    assert analysis(param_scope="last_blocks:1").directions.describe()["digest"] != scope["digest"]
