"""Regenerate the README's "Reading the figures": its tables, and the pictures beside this file.

    python examples/arithmetic/reading/regenerate.py

measures both checkpoints with `reading.yaml` (half a minute), draws `curves.svg` and `layers.svg`,
and writes every table between `<!-- reading: NAME -->` and `<!-- end -->` of the README anew. Run
it from the repository root; pictures need matplotlib.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pytest_linearity import (
    Report,
    Result,
    analyze,
    checkpoints_of,
    load_config,
    plot_beside,
    render,
)

HERE = Path(__file__).parent
README = HERE.parents[2] / "README.md"
CONFIG = HERE / "reading.yaml"
PROFILED = "1.0"
"""The radius of the table of blocks."""


def measure_all() -> list[Result]:
    """Both checkpoints with their figures, the healthy one first."""
    configs = checkpoints_of(load_config(CONFIG))
    return [Result(CONFIG.name, config.label, None, analyze(config)) for config in configs]


def draw(results: Sequence[Result], directory: Path) -> None:
    """The pictures: curves over the radii, and heat maps of the layer profiles."""
    curves = ("relative_error", "cosine_similarity")
    plot_beside(results, directory / "curves.svg", rows=curves)
    plot_beside(results, directory / "layers.svg", rows=("layers",))


def written(readme: str, blocks: dict[str, str]) -> str:
    """The README with the content of its marked blocks replaced."""
    for name, block in blocks.items():
        begin, end = f"<!-- reading: {name} -->\n", "<!-- end -->"
        pattern = re.escape(begin) + r".*?" + re.escape(end)
        # As a function: a replacement text would have its backslashes read.
        readme, found = re.subn(pattern, lambda _: begin + block + end, readme, flags=re.DOTALL)  # noqa: B023
        if found != 1:
            raise SystemExit(f"{README.name}: {begin.strip()} is there {found} times, not once")
    return readme


def blocks_of(results: Sequence[Result]) -> dict[str, str]:
    """What stands between the marks of the README, by name."""
    return {
        "terminal": _terminal(results),
        "figures": _figures(results),
        "rounding": _rounding(results),
        "curvature": _curvature(results),
        "layers": _layers(results),
    }


def _terminal(results: Sequence[Result]) -> str:
    shown = [render(result.report, result.title) for result in results]
    return "\n```\n" + "\n".join(shown) + "```\n\n"


def _figures(results: Sequence[Result]) -> str:
    """Both metrics, and what the gate makes of them."""

    def row(report: Report, radius: float) -> list[str]:
        found = report.at(radius)
        error, cosine = found.mean_relative_error or 0, found.mean_cosine_similarity or 0
        cells = f"{error:.3f} ± {found.std_relative_error:.3f}", f"{cosine:.3f}"
        return [cell if found.complies else f"**{cell}**" for cell in cells]

    return _by_radius(results, ("ε", "c"), row)


def _rounding(results: Sequence[Result]) -> str:
    """How far rounding reaches, and in which arithmetic each radius was measured."""

    def row(report: Report, radius: float) -> list[str]:
        found = report.at(radius)
        return [f"{found.noise_floor:.0e}", found.precision]

    return _by_radius(results, ("noise floor", "arithmetic"), row)


def _by_radius(
    results: Sequence[Result],
    columns: Sequence[str],
    row: Callable[[Report, float], list[str]],
) -> str:
    header = ["radius", *(f"{result.short} {name}" for result in results for name in columns)]
    radii = [figures.radius for figures in results[0].report.radii]
    return _table(
        header,
        (
            [str(radius), *(cell for r in results for cell in row(r.report, radius))]
            for radius in radii
        ),
    )


def _curvature(results: Sequence[Result]) -> str:
    """What second order predicts, beside what bisection and the tested radii show."""
    rows: dict[str, list[str]] = {}
    for result in results:
        report, curvature, refined = (
            result.report,
            result.report.second_order,
            result.report.refined,
        )
        assert curvature is not None
        assert refined is not None
        # The smallest radius that does not comply, or else the largest.
        figures = next((f for f in report.radii if not f.complies), report.radii[-1])
        predicted = curvature.predicted[str(figures.radius)]
        cells = {
            "κ": f"{curvature.mean_curvature_ratio:.3f} ± {curvature.std_curvature_ratio:.3f}",
            "ε = 0.20 predicted at r =": f"{curvature.predicted_crossing_radius:.2f}",
            "first limit measured to break between r =": (
                f"{refined.linearity_radius:.3g} and {refined.first_failing:.3g}"
            ),
            "smallest tested radius that fails": str(figures.radius),
            "ε there, predicted": f"{predicted.relative_error:.2f}",
            "ε there, measured": f"{figures.mean_relative_error:.2f}",
            "measured over predicted": f"{predicted.measured_over_predicted:.2f}",
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    header = ["", *(result.short for result in results)]
    return _table(header, ([name, *cells] for name, cells in rows.items()))


def _layers(results: Sequence[Result]) -> str:
    """The relative error after every block at one radius."""
    profiles = [result.report.layers for result in results]
    rows = []
    for profile in profiles:
        assert profile is not None
        errors = profile.radii[PROFILED].relative_error
        rows.append([f"{error:.3f}" for error in errors])
    header = [f"ε at r = {PROFILED} after", *(result.short for result in results)]
    names = profiles[0].names if profiles[0] is not None else ()
    return _table(header, ([f"`{n}`", *cells] for n, *cells in zip(names, *rows, strict=True)))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
    return "\n" + "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    everything = measure_all()
    draw(everything, HERE)
    old = README.read_text(encoding="utf-8")
    README.write_text(written(old, blocks_of(everything)), encoding="utf-8")
