"""One frozen, validated config of a run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_linearity.config import values
from pytest_linearity.config.sampling import SamplingPlan
from pytest_linearity.config.values import Parser, parse_count, parse_directions, parse_scopes
from pytest_linearity.errors import ConfigError, shown
from pytest_linearity.numerics.directions.kinds import RANDOM, unreversed
from pytest_linearity.numerics.measurement.radius_unit import LEARNING_RATE, UNITS, UPDATE
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import (
    LIMIT_KEYS,
    MetricSource,
    choose,
    installed_metrics,
)
from pytest_linearity.numerics.scope.parse import parse_scope

FORMATTINGS = ("alpaca", "sharegpt", "openai")
COLUMNS = (
    "prompt",
    "query",
    "response",
    "history",
    "messages",
    "system",
    "tools",
    "chosen",
    "rejected",
)
TAGS = (
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
)


class ConfigWarning(UserWarning):
    """Something in a config that is probably not what its author meant."""


def _key(default: Any, parse: Parser) -> Any:
    """A key with its default (``...`` when it is required) and the parser of its values."""
    if default is ...:
        return field(metadata={"parse": parse})
    return field(default=default, metadata={"parse": parse})


def _scope(value: Any) -> str:
    return parse_scope(values.text(value)).text


def _full_only(value: Any) -> str:
    if value != "full":
        raise ValueError(
            f"{shown(value)} cannot be measured: only fully fine-tuned checkpoints (full) can; "
            "merge adapters into their base model first"
        )
    return "full"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run depends on, validated: the keys of the YAML, then what is made of them.

    A key set to ``None`` has its default.

    Raises:
        ConfigError: If a value cannot be used; the message names the key and the value.

    Example:
        >>> Config(model_name_or_path="saves/run", radii="0.3, 0.1").radii
        (0.1, 0.3)
    """

    model_name_or_path: str | tuple[str, ...] = _key(..., values.checkpoints)
    """The checkpoint: a directory, or the id of a model on the Hugging Face hub; or several of
    them: a list, or a pattern such as ``saves/run/checkpoint-*``."""
    model_revision: str = _key("main", values.text)
    """Branch, tag or commit of a checkpoint on the hub."""
    tokenizer_name_or_path: str | None = _key(None, values.path)
    """Where the tokenizer is, when it does not lie with the checkpoint."""
    cache_dir: str | None = _key(None, values.path)
    """Where downloads from the hub are kept."""
    trust_remote_code: bool = _key(False, values.boolean)
    """Whether Python code that comes with the checkpoint may run."""
    finetuning_type: str = _key("full", _full_only)
    """How the checkpoint was fine-tuned; only ``full`` can be measured."""

    prompts: tuple[str, ...] | None = _key(None, values.prompts)
    """Prompts written in the YAML; taken as they are, without a chat template."""
    dataset: tuple[str, ...] | None = _key(None, values.names)
    """Data sets: names in ``dataset_info.json``, local files or folders, or hub ids."""
    dataset_dir: str = _key("data", values.path)
    """Folder of ``dataset_info.json`` and the files that it names."""
    subset: str | None = _key(None, values.text)
    """Which configuration of a data set on the hub; overrides ``dataset_info.json``."""
    split: str | None = _key(None, values.text)
    """Which split of a data set; ``None`` is that of ``dataset_info.json``, or ``train``."""
    formatting: str | None = _key(None, values.one_of(*FORMATTINGS))
    """How rows are laid out; ``None`` is that of ``dataset_info.json``, or ``alpaca``."""
    columns: Mapping[str, str] | None = _key(None, values.mapping_of_names(*COLUMNS))
    """Which column holds what; one left out here means none."""
    tags: Mapping[str, str] | None = _key(None, values.mapping_of_names(*TAGS))
    """How messages of ``sharegpt`` and ``openai`` rows are tagged; one left out means none."""
    max_samples: int | None = _key(None, values.integer(1))
    """Only the first so many rows of each data set; ``None`` for all."""
    num_samples: int | None = _key(None, values.integer(1))
    """So many rows of each data set, drawn at random with ``seed``; ``None`` for all."""
    template: str | None = _key(None, values.path)
    """Chat template where the tokenizer has none: a name, or the path of a Jinja file."""
    template_from: str = _key("tokenizer", values.one_of("tokenizer", "config"))
    """Which chat template comes first: the ``tokenizer``'s own, or ``template`` (``config``)."""
    template_date: str = _key("2024-07-26", values.date)
    """The day that is written where a template asks for today's."""
    enable_thinking: bool | None = _key(None, values.boolean)
    """What the chat template is told of thoughts; ``False`` for models trained without them."""
    chat_template_kwargs: Mapping[str, Any] | None = _key(None, values.template_variables)
    """What else the chat template is given, by name."""
    default_system: str | None = _key(None, values.any_text)
    """System message of rows that have none; empty for not even the template's own."""
    cutoff_len: int = _key(2048, values.integer(1))
    """Longest prompt, in tokens; a longer one keeps its end."""
    batch_size: int = _key(8, values.integer(1))
    """Prompts per forward pass."""
    share_prefix: bool = _key(True, values.boolean)
    """Whether the tokens that all prompts begin with are evaluated once, where the model can."""

    num_directions: int | Mapping[str, int] = _key(8, parse_count)
    """How many directions of each random kind; or ``min`` and ``max``, between which they are drawn
    in rounds until the verdict on every radius is settled."""
    confidence: float = _key(0.95, values.between(0, 1))
    """How often the interval of a mean holds that over all directions, at all looks together."""
    directions: tuple[str, ...] = _key(("gaussian",), parse_directions)
    """Kinds of directions: ``gaussian``, ``rademacher``, ``layerwise``, ``filterwise``, ``update``,
    ``gradient``, ``optimizer``, ``file:path.safetensors``; a minus before one of the last four
    reverses it."""
    base_model_name_or_path: str | None = _key(None, values.path)
    """The model that the checkpoint was made of, for the update and all that is told of it."""
    base_model_revision: str = _key("main", values.text)
    """Branch, tag or commit of a base on the hub."""
    update_gate: bool = _key(True, values.boolean)
    """Whether the update from a base that is known is a test of its own: at its own length and
    along its own direction, ε and c must be within the limits."""
    optimizer_state: str | None = _key(None, values.path)
    """Where the optimizer's state is, for the direction ``optimizer``: an ``optimizer.pt``, or a
    directory of safetensors files; ``None`` for the checkpoint's own."""
    perturbation_std: float = _key(1e-3, values.positive)
    """σ of the Gaussian draw before normalisation; it cancels in the unit norm."""
    radii: tuple[float, ...] | str | Mapping[str, tuple[float, ...] | str] = _key(
        (0.1, 0.3, 1.0), values.by_kind(values.radii_or_auto)
    )
    """The radii to test, in ascending order, or those of each kind of directions; ``auto`` for two
    below and two above the crossing of the limits, which is looked for first."""
    radius_unit: str = _key("absolute", values.one_of(*UNITS))
    """What radii are measured in: ``absolute``, as the Euclidean norm of the step; ``relative`` to
    that of the parameters in scope; ``update``, in lengths of the update from the base;
    ``learning_rate``, as the rate at which the optimizer's next step has that length."""
    param_scope: str = _key("full", _scope)
    """Which parameters directions live on: ``full``, ``last_blocks:2``, ``attention+norms``, …"""
    param_scopes: tuple[str, ...] | None = _key(None, parse_scopes)
    """Several such scopes, each measured by itself; ``None`` for the one of ``param_scope``."""
    cos_threshold: float | Mapping[str, float] = _key(0.95, values.by_kind(values.within(-1, 1)))
    """Lowest mean cosine similarity that complies, of all kinds of directions or of each."""
    relerr_threshold: float | Mapping[str, float] = _key(
        0.20, values.by_kind(values.within(0, math.inf))
    )
    """Highest mean relative error that complies, of all kinds of directions or of each."""
    metrics: tuple[str, ...] = _key((), values.metric_names)
    """Metrics to compute besides relative error and cosine similarity, which always are."""
    limits: Mapping[str, float | Mapping[str, float | None] | None] | None = _key(
        None, values.metric_limits
    )
    """Limits of further metrics, by name; each is computed, and its mean must keep its limit, that
    of all kinds of directions or of each. ``None`` takes away the limit that a metric has of its
    own."""
    second_order: bool = _key(False, values.boolean)
    """Whether to measure the curvature ratio, and what it predicts."""
    layer_profile: bool = _key(False, values.boolean)
    """Whether to measure the last token's hidden state after every block."""
    refine: bool = _key(False, values.boolean)
    """Whether to bracket the linearity radius between two tested radii, to 5%."""
    verdict: str = _key("mean", values.one_of("mean", "confident"))
    """What must keep the limits: the ``mean``, or its whole interval (``confident``)."""
    min_linearity_radius: float | Mapping[str, float | None] | None = _key(
        None, values.by_kind(values.optional(values.positive))
    )
    """Smallest linearity radius that passes, of all kinds of directions or of each; ``None`` when
    every radius must comply."""
    baseline: str | None = _key(None, values.path)
    """An earlier report to compare with, or a directory of such reports."""
    max_regression: float = _key(0.10, values.within(0, math.inf))
    """How much the mean relative error may grow over the baseline's, as a part of it."""
    precision: str = _key("auto", values.one_of("auto", "float32", "float64"))
    """Arithmetic of the forwards."""
    device: str = _key("auto", values.device)
    """Where the forwards run."""
    seed: int = _key(42, values.integer(0, 2**63 - 1))
    """Seeds the directions and any sampling of probes."""

    output_dir: str = _key(".", values.path)
    """Directory of the JSON report."""
    report_filename: str = _key("linearity_report.json", values.file_name)
    """Name of the JSON report."""

    source: Path | None = None
    """The YAML file; ``None`` for a config made in Python."""
    started_in: Path = field(default_factory=Path.cwd)
    """The directory that relative paths are looked up in first."""
    base_named_by: str | None = None
    """The file beside the checkpoint that names its base; ``None`` where the YAML does."""
    label: str | None = None
    """What tells this checkpoint from the others of the same config; ``None`` for the only one."""
    scope_label: str | None = None
    """What tells this scope from the others of the same config; ``None`` for the only one."""
    metric_source: MetricSource = field(default=installed_metrics, compare=False, repr=False)
    """Where metrics come from that are not built in; asked when one is named, and not before."""

    def __post_init__(self) -> None:
        """Parse every value, then check those that depend on each other."""
        for key in fields(self):
            parse = key.metadata.get("parse")
            if parse is not None:
                object.__setattr__(self, key.name, self._parsed(key.name, parse, key.default))
        if self.prompts is not None and self.dataset is not None:
            raise self.error("prompts", "is given together with dataset: only one can be used")
        if self.template_from == "config" and self.template is None:
            raise self.error("template_from", "is config, but no template is named")
        if self.param_scopes is not None and self.param_scope != "full":
            raise self.error(
                "param_scopes", "is given together with param_scope: only one can be used"
            )
        self._check_metrics()
        self._check_unit()
        if (
            self.verdict == "confident"
            and self.sampling.most < 2
            and {*RANDOM} & {*self.directions}
        ):
            raise self.error(
                "verdict",
                "confident needs an interval, which a single direction does not have: set "
                "num_directions to 2 or more",
            )
        self._check_kinds()
        self._check_least()

    def _check_unit(self) -> None:
        """What directions and radii are measured against is there."""
        if self.base_model_name_or_path is None:
            asks = "the direction update" if self.follows_update else f"radius_unit {UPDATE}"
            if self.follows_update or self.radius_unit == UPDATE:
                raise self.error(
                    "base_model_name_or_path",
                    f"is missing: {asks} needs the model that the checkpoint was made of",
                )
        if self.radius_unit == LEARNING_RATE and not self.follows_optimizer:
            raise self.error(
                "radius_unit",
                f"{LEARNING_RATE} needs the optimizer's step: add optimizer to directions",
            )

    def _check_kinds(self) -> None:
        """What is given by kind names every kind there is, and no other."""
        given = {key: getattr(self, key) for key in _BY_KIND}
        given |= {f"limits: {name}": limit for name, limit in (self.limits or {}).items()}
        for key, by_kind in given.items():
            if not isinstance(by_kind, Mapping):
                continue
            for kind in by_kind:
                if kind not in self.directions:
                    kinds = ", ".join(self.directions)
                    raise self.error(key, f"{shown(kind)} is not one of the directions: {kinds}")
            missing = [kind for kind in self.directions if kind not in by_kind]
            if missing:
                raise self.error(
                    key, f"{', '.join(missing)} is missing: of every kind of directions, or of none"
                )

    def _check_least(self) -> None:
        for kind, radii in self.radii_by_kind.items():
            least, largest = self.least_radius(kind), max(radii, default=math.inf)
            if least is not None and least > largest:
                of = f" of {kind}" if isinstance(self.radii, Mapping) else ""
                raise self.error(
                    "min_linearity_radius",
                    f"{least:g} is above the largest radius{of}, {largest:g}",
                )

    def _check_metrics(self) -> None:
        for name, key in LIMIT_KEYS.items():
            if name in (self.limits or {}):
                raise self.error("limits", f"{name} has a key of its own for its limit: {key}")
        for key, names in (("metrics", self.metrics), ("limits", self.limits or ())):
            try:
                choose(names, self.metric_source)
            except ValueError as error:
                raise self.error(key, str(error)) from None

    def _parsed(self, name: str, parse: Parser, default: Any) -> Any:
        raw = getattr(self, name)
        if raw is None:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            raise self.error(name, str(error)) from None

    def error(self, key: str, message: str) -> ConfigError:
        """A mistake in this config, with the key that it is in."""
        where = f"{self.source}: " if self.source else ""
        return ConfigError(f"{where}{key}: {message}")

    @cached_property
    def chosen_metrics(self) -> tuple[Metric, ...]:
        """The metrics that are computed besides relative error and cosine similarity."""
        return choose((*self.metrics, *(self.limits or ())), self.metric_source)

    @cached_property
    def sampling(self) -> SamplingPlan:
        """How many directions there are each time that the figures are looked at."""
        count = self.num_directions
        if isinstance(count, int):
            return SamplingPlan.planned(count, count, self.confidence)
        return SamplingPlan.planned(count["min"], count["max"], self.confidence)

    @property
    def follows_update(self) -> bool:
        """Whether a direction is the update from the base."""
        return "update" in map(unreversed, self.directions)

    @property
    def gates_update(self) -> bool:
        """Whether the update from the base is a test of its own."""
        return self.update_gate and self.base_model_name_or_path is not None

    @property
    def follows_optimizer(self) -> bool:
        """Whether a direction is the optimizer's next step."""
        return "optimizer" in map(unreversed, self.directions)

    @property
    def metric_limits(self) -> dict[str, float]:
        """The limits of those that have one for all kinds, by name: their own or that set here."""
        own = {metric.name: metric.limit for metric in self.chosen_metrics}
        limits = {**own, **(self.limits or {})}
        shared = {n: limit for n, limit in limits.items() if not isinstance(limit, Mapping)}
        return {name: limit for name, limit in shared.items() if limit is not None}

    @property
    def tested_radii(self) -> tuple[float, ...]:
        """The radii of all kinds of directions, in ascending order."""
        return tuple(sorted({radius for radii in self.radii_by_kind.values() for radius in radii}))

    @property
    def radii_by_kind(self) -> dict[str, tuple[float, ...]]:
        """The radii of each kind of directions; none where they are chosen by measuring."""
        return {
            kind: () if kind in self.automatic else _of(self.radii, kind)
            for kind in self.directions
        }

    @property
    def automatic(self) -> tuple[str, ...]:
        """The kinds of directions whose radii are chosen by measuring."""
        return tuple(kind for kind in self.directions if _of(self.radii, kind) == values.AUTO)

    def with_radii(self, chosen: Mapping[str, tuple[float, ...]]) -> Config:
        """This config with the radii that measuring has chosen for some kinds of directions.

        Some of these are beyond the crossing of the limits on purpose. So where no
        `min_linearity_radius` says how far a kind must comply, its smallest radius must.
        """
        least = {
            kind: min(chosen[kind])
            if kind in chosen and self.least_radius(kind) is None
            else self.least_radius(kind)
            for kind in self.directions
        }
        radii = {**self.radii_by_kind, **chosen}
        return replace(self, radii=_joint(radii), min_linearity_radius=_joint(least))

    def least_radius(self, kind: str) -> float | None:
        """The smallest linearity radius that passes, of one kind of directions."""
        least: float | None = _of(self.min_linearity_radius, kind)
        return least

    def of_kind(self, kind: str) -> Config:
        """The config of one of its kinds of directions alone."""
        limits = self.limits and {name: _of(limit, kind) for name, limit in self.limits.items()}
        keys = {key: _of(getattr(self, key), kind) for key in _BY_KIND}
        return replace(self, directions=(kind,), limits=limits, **keys)

    @property
    def bases(self) -> list[Path]:
        """Where relative paths are looked up, in this order."""
        return [self.started_in] + ([self.source.parent] if self.source else [])

    def locate(self, path: str) -> Path | None:
        """The existing file or folder that a path of this config means.

        Relative paths are looked up where the run was started, then beside the YAML file.
        """
        for base in self.bases:
            candidate = base / os.path.expanduser(path)
            if os.path.exists(candidate):  # False, where Path.exists raises, for odd names
                return candidate
        return None

    @property
    def checkpoint(self) -> str:
        """The one checkpoint.

        Raises:
            ConfigError: If there are several.
        """
        if isinstance(self.model_name_or_path, tuple):
            raise self.error(
                "model_name_or_path",
                "names several checkpoints: take each of `checkpoints_of(config)`",
            )
        return self.model_name_or_path

    @property
    def scope(self) -> str:
        """The one scope.

        Raises:
            ConfigError: If there are several.
        """
        if self.param_scopes is not None:
            raise self.error("param_scopes", "names several scopes: take each of `runs_of(config)`")
        return self.param_scope

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells this checkpoint and scope from the others of the same config."""
        return tuple(label for label in (self.label, self.scope_label) if label is not None)

    @property
    def report_path(self) -> Path:
        """Where the JSON report goes."""
        directory = self.locate(self.output_dir)
        if directory is None:
            directory = self.started_in / os.path.expanduser(self.output_dir)
        return directory / self.report_filename

    def to_dict(self) -> dict[str, Any]:
        """Every key in effect, ready for JSON."""
        return {key: _plain(getattr(self, key)) for key in KEYS}


PARSERS: Mapping[str, Parser] = {
    key.name: key.metadata["parse"] for key in fields(Config) if "parse" in key.metadata
}
"""How the value of each key of the YAML is read; in the order in which they are documented."""
KEYS = tuple(PARSERS)
"""The keys of the YAML."""


_BY_KIND = ("radii", "relerr_threshold", "cos_threshold", "min_linearity_radius")
"""Keys that may be given for each kind of directions."""


def _of(value: Any, kind: str) -> Any:
    """A value for one kind of directions: its own, or that of all."""
    return value[kind] if isinstance(value, Mapping) else value


def _joint(by_kind: Mapping[str, Any]) -> Any:
    """One value where all kinds of directions have the same."""
    first = next(iter(by_kind.values()))
    return first if all(value == first for value in by_kind.values()) else by_kind


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value
