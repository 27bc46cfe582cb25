"""The reports for people that a run was asked for, and the files they become."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.files import brief, fitting, require_writable, write_whole
from pytest_linearity.report.results import Failure, Result, by_config, scopes_of, series_of

_SUMMARY_LIMIT = 1024 * 1024
"""Bytes of a step summary that GitHub takes; it refuses a larger one as a whole."""


@dataclass(frozen=True)
class Written:
    """What became of the outputs of a run."""

    places: tuple[Path, ...] = ()
    """The files that were written, in the order in which they are told of."""
    notes: tuple[str, ...] = ()
    """What did not work and fails no run, a line each."""

    @property
    def lines(self) -> list[str]:
        """What to tell the user."""
        files = ", ".join(str(brief(place)) for place in self.places)
        return [*([f"also written: {files}"] if files else []), *self.notes]


@dataclass(frozen=True)
class Outputs:
    """The reports for people that a run was asked for; none by default."""

    markdown: Path | None = None
    """Where the Markdown summary goes."""
    plot: Path | None = None
    """Where the plot goes; its suffix says what it is written as."""
    html: Path | None = None
    """Where the web page goes."""
    step_summary: Path | None = None
    """The file that GitHub shows as the summary of a step: the Markdown is added to its end."""

    @classmethod
    def asked_for(
        cls, *, markdown: Path | None = None, plot: Path | None = None, html: Path | None = None
    ) -> Outputs:
        """Those that options name, and the step summary where this is a step of GitHub Actions."""
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        return cls(markdown, plot, html, Path(summary) if summary else None)

    def require_writable(self, taken: Iterable[Path] = ()) -> None:
        """Find out, before anything is measured, whether all that is asked for can be written.

        The step summary is left out: it is not the user who has named its place, and a run is
        not to fail for it.

        Args:
            taken: Files that must not be overwritten: configs and reports.

        Raises:
            ConfigError: If a place cannot be written or is taken, a plot's suffix is unknown, or
                matplotlib is missing.
        """
        from pytest_linearity.report.plot import require_matplotlib, require_plottable

        owners = {path.resolve(): "is a file of this run" for path in taken}
        for option, what, path in self._named():
            if path.resolve() in owners:
                raise ConfigError(
                    f"{option}: {brief(path)} {owners[path.resolve()]}; the {what} needs its own"
                )
            owners[path.resolve()] = f"is what {option} writes"
            require_writable(path, what=what, set_by=option)
        if self.plot is not None:
            require_plottable(self.plot)
        if self.html is not None:
            require_matplotlib("--linearity-html")

    def write(self, results: Sequence[Result], unmeasured: Sequence[Failure] = ()) -> Written:
        """Write everything that is asked for, of passing and failing checkpoints alike.

        Several checkpoints or scopes share the Markdown and the page. Each has a plot of its own,
        with its name put into the path, and those of one config a plot of all of them at the path
        itself; where a config has several of both, one for each scope and one for each checkpoint.

        Args:
            results: The checkpoints that were measured; when there are neither these nor
                unmeasured ones, nothing is written.
            unmeasured: Those that could not be.

        Raises:
            LinearityError: If a file cannot be written; the others are written all the same.
        """
        if not results and not unmeasured:
            return Written()
        places: list[Path] = []
        failures: list[str] = []
        for path, write in self._files(results, unmeasured):
            try:
                write(path)
            except LinearityError as error:
                failures.append(str(error))
            else:
                places.append(path)
        notes = self._summarise(results, unmeasured)
        if failures:
            raise LinearityError("; ".join(failures))
        return Written(tuple(places), notes)

    def _named(self) -> Iterator[tuple[str, str, Path]]:
        for option, what, path in (
            ("--linearity-markdown", "Markdown summary", self.markdown),
            ("--linearity-html", "HTML report", self.html),
            ("--linearity-plot", "plot", self.plot),
        ):
            if path is not None:
                yield option, what, path

    def _files(
        self, results: Sequence[Result], unmeasured: Sequence[Failure]
    ) -> Iterator[tuple[Path, Callable[[Path], None]]]:
        if self.markdown is not None:
            from pytest_linearity.report.markdown import markdown

            yield self.markdown, partial(_write_text, partial(markdown, results, unmeasured))
        if self.html is not None:
            from pytest_linearity.report.html.page import html

            yield self.html, partial(_write_text, partial(html, results, unmeasured))
        if self.plot is not None:
            yield from _plots(self.plot, results)

    def _summarise(
        self, results: Sequence[Result], unmeasured: Sequence[Failure]
    ) -> tuple[str, ...]:
        """Add to the step summary; where that fails, say so and no more."""
        if self.step_summary is None:
            return ()
        from pytest_linearity.report.markdown import markdown

        content = f"{markdown(results, unmeasured)}\n".encode()
        try:
            with self.step_summary.open("ab") as file:
                if file.tell() + len(content) > _SUMMARY_LIMIT:
                    return ("GITHUB_STEP_SUMMARY: the summary is left out, as it is above 1 MiB",)
                file.write(content)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return (f"GITHUB_STEP_SUMMARY: the summary could not be added ({reason})",)
        return ()


def _write_text(text: Callable[[], str], path: Path) -> None:
    write_whole(path, text())


def _plots(path: Path, results: Sequence[Result]) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """A plot of each measurement, and one of all checkpoints or scopes where there are several."""
    from pytest_linearity.report.plot import report_drawing, scopes_drawing, series_drawing

    configs = by_config(results)
    used: set[Path] = set()
    for group in configs:
        name = [_file_name(PurePath(group[0].name).with_suffix(""))] if len(configs) > 1 else []
        series, scopes = series_of(group), scopes_of(group)
        for each in series:
            part = [_file_name(each[0].scope)] if scopes else []
            yield _free(path, [*name, *part], used), series_drawing(each).save
        for each in scopes:
            part = [_file_name(each[0].label)] if series else []
            yield _free(path, [*name, *part], used), scopes_drawing(each).save
        for result in group:
            label = [_file_name(result.short)] if len(group) > 1 else []
            yield _free(path, [*name, *label], used), report_drawing(result.report).save


def _free(path: Path, parts: Sequence[str], used: set[Path]) -> Path:
    """The path with names put into it, and a number where two checkpoints would share it."""
    stem = "-".join([path.stem, *parts])
    place, number = path.with_name(fitting(stem, path.suffix)), 1
    while place in used:
        number += 1
        place = path.with_name(fitting(f"{stem}-{number}", path.suffix))
    used.add(place)
    return place


def _file_name(name: object) -> str:
    """A name without what file names cannot hold."""
    return re.sub(r"[^\w.]+", "-", str(name)).strip("-.") or "checkpoint"
