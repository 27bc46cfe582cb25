"""`pytest-linearity init CHECKPOINT...`: a commented config that is right for a checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import FINE, ConfigError
from pytest_linearity.files import brief, require_writable, write_whole
from pytest_linearity.report import text
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from pytest_linearity.cli.proposal import Proposal
    from pytest_linearity.config.config import Config

_TEMPLATE = "linearity.yaml.jinja"
_DATA_KEYS = (
    *("prompts", "dataset", "dataset_dir", "subset", "split", "formatting", "columns", "tags"),
    *("max_samples", "num_samples", "template", "template_from", "template_date"),
    *("enable_thinking", "chat_template_kwargs", "default_system", "cutoff_len"),
)
"""Keys of a training config that say what the prompts are."""
_CHOSEN_KEYS = ("radii", "min_linearity_radius", "baseline", "param_scopes", "model_name_or_path")
"""Keys that are found out, or are arguments of the command."""
_WRITTEN_KEYS = (
    *(*_DATA_KEYS, *_CHOSEN_KEYS, "base_model_name_or_path", "batch_size", "num_directions"),
    *("relerr_threshold", "cos_threshold"),
)
"""Keys that have a place in the config that is written."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "init",
        help="write a commented config that is right for a checkpoint",
        description="Measure a checkpoint and write a gate that it passes and that can fail: with "
        "radii on both sides of the crossing of its limits. Several healthy checkpoints (seeds, or "
        "steps of a good run) give the limits, too, with a false-alarm rate.",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="directories of checkpoints that are healthy, or ids on the hub; the config is of the "
        "first",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("linearity.yaml"),
        metavar="PATH",
        help="where the config goes (default: linearity.yaml)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="CONFIG",
        help="take the prompts that this YAML says, as a training config of LLaMA-Factory does "
        "(default: the built-in prompts)",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="the model that the checkpoint was made of, whose update the gate is to look at",
    )
    parser.add_argument(
        "--baseline",
        action="store_true",
        help="keep the report of the checkpoint beside the config, as the baseline of later runs",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the config, as in num_directions=16; repeatable",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and write the config."""
    from pytest_linearity.checkpoint.load import open_checkpoint
    from pytest_linearity.cli.proposal import propose

    report = options.output.with_name(f"{options.output.stem}-baseline.json")
    places = [options.output, *([report] if options.baseline else [])]
    for place in places:
        _require_free(place, force=options.force)
    configs = _configs(options)
    for config in configs:
        open_checkpoint(config)  # before anything is measured
    proposal = propose(configs, lambda line: print(line, file=sys.stderr))
    if options.baseline:
        from pytest_linearity.report.json import write_json

        write_json(proposal.reports[0], report)
    baseline = report.name if options.baseline else None
    write_whole(options.output, written(configs, proposal, options.output, baseline))
    print(f"{brief(options.output)}: written; run it with")
    print(f"  pytest --linearity-config {brief(options.output)}")
    return FINE


def _require_free(place: Path, *, force: bool) -> None:
    require_writable(place, what="config", set_by="--output")
    if place.exists() and not force:
        raise ConfigError(f"{brief(place)}: is there already; overwrite it with --force")


def _configs(options: argparse.Namespace) -> list[Config]:
    """One for each checkpoint, with the prompts that are asked for."""
    from pytest_linearity.config.expansion import checkpoints_of
    from pytest_linearity.config.loading import config_of_model

    keys = _data(options.data) if options.data is not None else {}
    if options.base is not None:
        keys["base_model_name_or_path"] = options.base
    configs = []
    for checkpoint in options.checkpoints:
        config = config_of_model(checkpoint, options.set, keys=keys)
        _require_free_choice(config, checkpoint)
        configs += [replace(each, label=None) for each in checkpoints_of(config)]
    if len({os.path.realpath(config.checkpoint) for config in configs}) < len(configs):
        raise ConfigError("init: a checkpoint is named twice; each must be another")
    # The update is told of the first, whose config it is.
    return [configs[0], *(replace(config, update_gate=False) for config in configs[1:])]


def _require_free_choice(config: Config, checkpoint: str) -> None:
    """Refuse what would take the choice away, or ask for more than one."""
    left = type(config)(model_name_or_path=checkpoint, radii="auto")
    for key in _CHOSEN_KEYS:
        if getattr(config, key) != getattr(left, key):
            raise ConfigError(f"init: --set {key}: is not to be set: init chooses it")
    if len(config.directions) > 1:
        kinds = ", ".join(config.directions)
        raise ConfigError(f"init: directions: {kinds}: radii are chosen for one kind, give one")


def _data(path: Path) -> dict[str, Any]:
    """The keys of a YAML that say what the prompts are."""
    from pytest_linearity.config.loading import load_config

    config = load_config(path, ["model_name_or_path=unused"])
    keys = {key: getattr(config, key) for key in _DATA_KEYS if _differs(config, key)}
    for key in {"dataset_dir", "template"} & keys.keys():
        place = config.locate(keys[key])
        keys[key] = keys[key] if place is None else str(brief(place))
    return {key: list(v) if isinstance(v, tuple) else v for key, v in keys.items()}


def written(
    configs: Sequence[Config], proposal: Proposal, output: Path, baseline: str | None = None
) -> str:
    """The config as text, with comments that say what each number rests on.

    Args:
        configs: Those of the checkpoints; the config is of the first.
        proposal: What was found.
        output: Where it goes.
        baseline: Name of the report to compare with, beside it; None for none.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters["yaml"] = _yaml
    source = files("pytest_linearity") / "data" / _TEMPLATE
    template = environment.from_string(source.read_text(encoding="utf-8"))
    first, report = configs[0], proposal.reports[0]
    probes = {key: getattr(first, key) for key in _DATA_KEYS if _differs(first, key)}
    others = [key for key in first.to_dict() if key not in _WRITTEN_KEYS and _differs(first, key)]
    return template.render(
        heading=f"Is {first.checkpoint} still locally linear?",
        name=str(output),
        notes=_notes(proposal),
        model=first.checkpoint,
        base=first.base_model_name_or_path,
        probes_note="The prompts." if probes else "Without data of your own, the built-in prompts.",
        probes=[f"{key}: {_yaml(value)}" for key, value in probes.items()],
        batch_size=proposal.batch_size,
        batch_note="prompts per forward pass, within this machine's memory",
        directions=_yaml(first.num_directions),
        certainty=_certainty(proposal),
        others=[f"{key}: {_yaml(getattr(first, key))}" for key in others],
        radii=[repr(radius) for radius in proposal.radii],
        radii_note=_radii_note(proposal),
        least=repr(proposal.least),
        least_note=f"The checkpoint reaches {report.linearity_radius}.",
        limits_note=_limits_note(proposal, first),
        relerr=repr(proposal.relative_error),
        cosine=repr(proposal.cosine_similarity),
        baseline=baseline,
    )


def _differs(config: Config, key: str) -> bool:
    value = getattr(config, key)
    return value is not None and value != getattr(type(config), key)


def _yaml(value: Any) -> str:
    """A value as YAML writes it on one line: JSON is YAML."""
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)


def _notes(proposal: Proposal) -> list[str]:
    count, update = len(proposal.reports), proposal.reports[0].update
    notes = [
        "Radii come from one checkpoint."
        if count == 1
        else f"Radii and limits come from {count} checkpoints that are taken for healthy."
    ]
    if update is not None:
        by = f", which {update.named_by} names" if update.named_by else ""
        notes += [
            f"The update from {update.base}{by} is a test of its own; at present:",
            f"{text.update(update)}.",
        ]
    return notes


def _certainty(proposal: Proposal) -> str:
    """How far the mean at the least radius is known."""
    figures = proposal.reports[0].at(proposal.least)
    interval, mean = figures.interval_relative_error, figures.mean_relative_error
    if interval is None or not mean:
        return "How sure the mean is, one alone cannot say."
    half = (interval[1] - interval[0]) / 2 / mean
    return (
        f"With so many the mean relative error at r = {numbers.tick(proposal.least)} is known to "
        f"± {float(f'{100 * half:.2g}'):g}% (95% interval)."
    )


def _radii_note(proposal: Proposal) -> str:
    (facts,) = proposal.reports[0].scope["automatic_radii"].values()
    low, high = facts.get("crossing_low"), facts.get("crossing_high")
    if low is None or high is None:
        return "No crossing of the limits was found; these are around the last radius tried."
    return (
        f"Two below and two above the crossing of the limits, between {numbers.tick(low)} and "
        f"{numbers.tick(high)}."
    )


def _limits_note(proposal: Proposal, config: Config) -> str:
    bound = proposal.bound
    if bound is None:
        asked = _differs(config, "relerr_threshold") or _differs(config, "cos_threshold")
        which = "The limits that were asked for" if asked else "The usual limits"
        return f"{which}; more healthy checkpoints would give limits of their own."
    kept = "" if proposal.relative_error >= bound.limit else ", beyond the usual limit, which stays"
    return (
        f"A tolerance bound over {bound.count} checkpoints, mean + {bound.factor:.3g} standard "
        f"deviations of log ε at r = {numbers.tick(proposal.least)}{kept}: with "
        f"{bound.confidence:.0%} confidence at most {bound.false_alarms:.0%} of healthy ones break "
        "it. Ten checkpoints would take 2.91 deviations, and a known spread 1.64."
    )
