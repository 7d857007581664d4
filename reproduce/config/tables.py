"""Typed, strict configs. An unknown key is an error that names the key, the file and the nearest valid key.

A table's file says which methods or variants it compares and on which task, and names the file of shared settings that
it builds on (`base`). `TableConfig.jobs` resolves it to one `JobConfig` per row and seed. A job reads nothing else.
"""

import dataclasses
import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from reproduce.config.base import with_base
from reproduce.config.engine import EngineConfig
from reproduce.config.judge import JudgeConfig
from reproduce.config.rows import GridConfig, VariantConfig, expanded
from reproduce.config.search import SearchConfig
from reproduce.config.sections import (
    SHAPE,
    WARM_START,
    WARM_START_TRAINING,
    WEB,
    EvaluationConfig,
    MachineConfig,
    ModelConfig,
    TaskConfig,
    TrainingConfig,
    WarmStartConfig,
)
from reproduce.config.strict import Count, InHash, Later, Unhashed, Whole, bare, build, nearest, section, settings
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml

TABLES = Path(__file__).resolve().parent / "tables"
UNHASHED = {name for name, setting in settings(TrainingConfig).items() if InHash.NEVER in setting.metadata}
NOT_OF_A_VARIANT = {*WARM_START_TRAINING, *UNHASHED}
"""The settings of `training` that all rows of a table share: the warm start depends on them, or no result does."""


@section
class JobConfig:
    """All that one run reads."""

    profile: Unhashed[str]
    experiment: Unhashed[str]
    method: str
    seed: Whole
    task: TaskConfig
    model: ModelConfig
    warm_start: WarmStartConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    algorithm: dict = field(default_factory=dict)  # overrides of the method's published settings
    entropy_tokens: Count = 5  # tokens after a tool result that count as "right after"
    variant: Unhashed[str | None] = None  # the row's name in a table of variants; None: a plain method
    training_changes: Unhashed[dict] = field(
        default_factory=dict
    )  # the variant's own part of `training`, already in it
    search: Later[SearchConfig | None] = None  # the search tool of the world web
    engine: Later[EngineConfig | None] = None  # what samples; None: Transformers, tools in batches
    machine: Unhashed[MachineConfig | None] = None  # what the profile is for; None: a CPU
    judge: Later[JudgeConfig | None] = None  # decides `correct` in the world web; None: math-verify, exact match

    @property
    def name(self) -> str:
        """The run's name: its variant, or its method."""
        return self.variant or self.method

    @property
    def sends(self) -> bool:
        """Whether a run may send something: to the Hub, a search engine, a model server or a tracker."""
        searches = self.search is not None and self.search.mode != "replay"
        return searches or self.judge is not None or bool(self.model.name_or_path or self.training.report_to)

    def problems(self):
        for key in ("profile", "experiment", "method", "variant"):
            value = getattr(self, key)
            if value is not None and not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", value):
                yield key, "must be a plain name: it becomes a directory"
        if self.variant == WARM_START:
            yield "variant", f"must not be {WARM_START}: that is the directory of the shared warm start"
        if self.engine is not None and self.engine.name == "transformers" and self.task.episodes is not None:
            yield "engine", "has nothing to do in a world of episodes, which has no tool calls: leave it out"
        if self.evaluation.checks is not None and self.task.episodes is None:
            yield "evaluation.checks", "belong to a world of episodes: leave them out, or set task.episodes"
        if self.training.stale_steps and self.engine is not None and self.engine.name == "vllm":
            yield (
                "training.stale_steps",
                "must be 0: this vLLM gives its memory to training and samples in turn with it; sample with a server "
                "on other cards (engine.name: vllm_server), or with Transformers (engine: null)",
            )
        yield from self._hub_problems()
        if self.training_changes and self.variant is None:
            yield "training_changes", "belong to a variant: name it"
        settings = dataclasses.asdict(self.training)
        for key, value in self.training_changes.items():
            if key not in settings:
                yield f"training_changes.{key}", f"is not a training setting{nearest(key, settings)}"
            elif key in NOT_OF_A_VARIANT:
                yield f"training_changes.{key}", "must be the same for all rows of a table: they share a warm start"
            elif settings[key] != value:
                yield f"training_changes.{key}", f"is {value}, but training.{key} is {settings[key]}"

    def _hub_problems(self):
        hub, web = self.model.name_or_path is not None, self.task.world == WEB
        if not hub and self.task.rendering is not None:
            yield "task.rendering", "needs a model with a vocabulary: set model.name_or_path, or leave it out"
        if not hub and (self.warm_start.demonstrations == 0 or self.warm_start.data is not None):
            yield "warm_start", "needs demonstrations of its world: the model is trained from scratch"
        if hub and self.task.episodes is not None and self.warm_start.demonstrations:
            yield "warm_start.demonstrations", "must be 0: in a world of episodes a Hub model begins as it is"
        if not hub and self.task.episodes is not None and self.task.episodes.prompt_tokens is not None:
            yield "task.episodes.prompt_tokens", "belongs to Hub models: leave it out"
        for name, value in (("task.data", self.task.data), ("search", self.search)):
            if web != (value is not None):
                yield name, "is missing: the world web needs it" if web else "belongs to the world web: leave it out"
        if web and not hub:
            yield "model.name_or_path", "is missing: a model trained from scratch cannot read the world web"
        if self.judge is not None and not web:
            yield "judge", "belongs to the world web: leave it out"

    @classmethod
    def from_yaml(cls, path: Path | str) -> "JobConfig":
        """Read a resolved config.

        Raises:
            UserError: a key or value is bad; the message names file and key.
        """
        return build(cls, read_yaml(Path(path)), str(path))

    @classmethod
    def from_dict(cls, data: dict, source: str = "config") -> "JobConfig":
        """As `from_yaml`, from a mapping. source: the name of the data in error messages."""
        return build(cls, data, source)

    def to_dict(self) -> dict:
        """Return plain nested dicts in the order of the fields; `from_dict` gives the same config back."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Write the config as YAML, for `from_yaml`."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def to_yaml(self, path: Path | str) -> None:
        Path(path).write_text(self.to_text())

    def warm_start_job(self) -> "JobConfig":
        """Make the config under which the run's warm start is evaluated: no method, and the seed of the warm start."""
        own = self.warm_start.of_run(self.seed)
        plain = {"algorithm": {}, "variant": None, "training_changes": {}}
        return dataclasses.replace(self, method=WARM_START, seed=own.seed, warm_start=own, **plain)

    def directory(self, runs_root: Path) -> Path:
        """Return `<runs_root>/<profile>/<experiment>/<name>/<seed>`."""
        return Path(runs_root) / self.profile / self.experiment / self.name / str(self.seed)


ROW = ("method", "seed", "algorithm", "variant", "training_changes")
"""Settings of a job that distinguish the rows of a table."""
SECTIONS = tuple(name for name in settings(JobConfig) if name not in ("profile", "experiment", *ROW))
"""Settings that all rows of a table share."""
_PARTS = {name: dict | None if settings(bare(settings(JobConfig)[name].annotation)) else Any for name in SECTIONS}
Changes = section(type("Changes", (), {"__annotations__": _PARTS, **dict.fromkeys(SECTIONS)}))
"""Some settings of each section, or none."""


@section
class ProfileConfig(Changes):
    """Changes that a profile makes to the table's defaults."""

    methods: list[str] | None = None
    seeds: list[Whole] | None = None
    algorithm: dict = field(default_factory=dict)
    method_training: dict[str, dict | None] = field(default_factory=dict)  # method -> of `training`, as published


def _mapping(value):
    return {} if value is None else value


@section
class TableConfig:
    """One table: its rows and seeds, `defaults` for every section, and each profile's changes."""

    experiment: str
    methods: list[str]  # what runs by default: methods, variants or groups
    seeds: list[Whole]
    defaults: Changes
    profiles: dict[str, Annotated[ProfileConfig, BeforeValidator(_mapping)]]
    groups: dict[str, list[str]] = field(default_factory=dict)  # for METHODS=<name>: methods, variants or groups
    variants: dict[str, VariantConfig] = field(default_factory=dict)
    grid: GridConfig | None = None
    algorithm: dict = field(default_factory=dict)  # method -> overrides, the user's visible changes
    source: str = ""

    @classmethod
    def load(cls, table: int | str, folder: Path | None = None) -> "TableConfig":
        """Load the config of a table, merged with its base.

        Args:
            table: such as 2.
            folder: where the files lie; None: this package's `tables`.

        Raises:
            UserError: there is no such table (the message lists them), or its file is bad.
        """
        folder = TABLES if folder is None else folder
        path = folder / f"table{table}.yaml"
        if not path.is_file():
            raise UserError(f"there is no table '{table}'; tables: {', '.join(tables(folder))}")
        data = read_yaml(path)
        data, source = with_base(data, path, folder) if "base" in data else (data, path.name)
        return build(cls, {**data, "source": source}, source)

    def rows(self, profile: str, wanted: list[str] | None = None) -> dict[str, VariantConfig | None]:
        """List the rows of a table.

        Args:
            profile: a profile of the table.
            wanted: methods, variants or groups; None: the table's.

        Returns:
            name -> its variant, None for a plain method, in order.

        Raises:
            UserError: a name is given twice, or lies outside the grid of a table that has one.
        """
        cells, groups = self._cells(profile), dict(self.groups)
        for method, variants in cells.items():
            groups[method] = list(variants)
        variants = {**self.variants, **{name: v for made in cells.values() for name, v in made.items()}}
        names = expanded(wanted or self._profile(profile).methods or self.methods, groups, self.source)
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"method {name} is named twice")
            if self.grid and name not in variants:
                raise UserError(f"'{name}' is not in the grid of {self.source}; METHODS: {', '.join(groups)}")
        return {name: variants.get(name) for name in names}

    def jobs(self, profile: str, methods: list[str] | None = None, seeds: list[int] | None = None) -> list[JobConfig]:
        """Make one JobConfig per row and seed. Seeds are the outer loop, so every row gets its first seed first.

        Args:
            profile: a profile of the table.
            methods: methods, variants or groups; None: the table's.
            seeds: None: the table's.

        Raises:
            UserError: the profile, a seed or a setting is bad.
        """
        changes = self._profile(profile)
        overrides = {**self.algorithm, **changes.algorithm}
        rows = self.rows(profile, methods)
        seeds = seeds if seeds is not None else changes.seeds or self.seeds
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise UserError(f"seed {seed} is named twice")
        shared = {name: self._section(name, changes) for name in SECTIONS}
        shared = {name: value for name, value in shared.items() if value is not None}
        jobs = []
        for seed in seeds:
            for name, variant in rows.items():
                method = variant.method if variant else name
                data = {
                    "profile": profile,
                    "experiment": self.experiment,
                    "method": method,
                    "seed": seed,
                    "algorithm": {**(overrides.get(method) or {}), **(variant.algorithm if variant else {})},
                    **shared,
                }
                own = changes.method_training.get(method) or {}
                _check_shared(own, f"{self.source}: profiles.{profile}.method_training.{method}")
                data["training"] = {**data.get("training", {}), **own}
                if variant:
                    data |= {"variant": name, "training_changes": variant.training}
                    data["training"] = {**data["training"], **variant.training}
                jobs.append(build(JobConfig, data, f"{self.source}, profile {profile}"))
        return jobs

    def method_names(self, profile: str) -> list[str]:
        """List the methods that the table's and the profile's settings name, so that the caller can check that they
        exist.
        """
        changes = self._profile(profile)
        return [*self.algorithm, *changes.algorithm, *changes.method_training]

    def _profile(self, profile: str) -> ProfileConfig:
        if profile not in self.profiles:
            raise UserError(f"there is no profile '{profile}' in {self.source}; profiles: {', '.join(self.profiles)}")
        return self.profiles[profile]

    def _section(self, section: str, changes: ProfileConfig):
        """A section, or the plain setting of that name, as the profile has it; None if neither sets it."""
        default, change = getattr(self.defaults, section), getattr(changes, section)
        if default is None or change is None or not isinstance(change, dict):
            return default if change is None else change
        if section == "model" and change.get("name_or_path"):  # a Hub model fixes its own shape
            default = {key: value for key, value in default.items() if key not in SHAPE}
        return {**default, **change}

    def _cells(self, profile: str) -> dict[str, dict[str, VariantConfig]]:
        """method -> its cells of the grid."""
        if self.grid is None:
            return {}
        changed = self._section("training", self._profile(profile)) or {}
        training = build(TrainingConfig, changed, f"{self.source}, profile {profile}", "training.")
        return {method: self.grid.cells(method, training, self.source) for method in self.grid.methods}

    def problems(self):
        for name, members in self.groups.items():
            if not members:
                yield f"groups.{name}", "must be a list of methods, variants or groups"
        if self.grid and self.variants:
            yield "grid", "makes the rows of the table: it cannot stand beside variants"


def _check_shared(changes: dict, source: str) -> None:
    """Refuse a row's own training settings if the shared warm start depends on them."""
    for key in changes:
        if key in WARM_START_TRAINING:
            raise UserError(f"{source}.{key} must be the same for all rows of a table: they share a warm start")


def tables(folder: Path = TABLES) -> list[str]:
    """List the names of the tables that have a file, such as "2"."""
    return sorted(path.stem.removeprefix("table") for path in folder.glob("table*.yaml"))
