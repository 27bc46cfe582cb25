"""Directions drawn until the verdict is sure, against a fixed number of them."""

from __future__ import annotations

from pytest_linearity.config.loading import load_config
from pytest_linearity.run.analysis import analyze
from pytest_linearity.verdict.document import Report
from tests.support.paths import ARITHMETIC

FIXED, LEAST = 32, 2


def confidence_rows() -> list[tuple[str, str, str]]:
    """Verdicts and evaluations of both arithmetic checkpoints, a row each."""
    return [_row("healthy", "linearity.yaml"), _row("anomalous", "anomalous.yaml")]


def _row(checkpoint: str, config: str) -> tuple[str, str, str]:
    where = (
        f"model_name_or_path={ARITHMETIC / checkpoint}",
        f"dataset_dir={ARITHMETIC / 'data'}",
    )

    def measured(*numbers: str) -> Report:
        return analyze(load_config(ARITHMETIC / config, [*where, *numbers]))

    fixed = measured(f"num_directions={FIXED}")
    drawn = measured(f"num_directions.min={LEAST}", f"num_directions.max={FIXED}")
    part = drawn.environment["evaluations"] / fixed.environment["evaluations"]
    same = [f.complies for f in drawn.radii] == [f.complies for f in fixed.radii]
    assert drawn.sampling is not None
    return (
        f"{checkpoint}: evaluations with {LEAST} to {FIXED} directions / with {FIXED}",
        "≤ 25%, the same verdicts",
        f"{part:.1%}, {'the same' if same else 'OTHER'} verdicts, "
        f"{drawn.sampling.directions} directions in {len(drawn.sampling.rounds)} rounds",
    )
