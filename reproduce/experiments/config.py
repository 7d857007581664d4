"""Typed, strict configs. An unknown key is an error that names the key, the file and the nearest valid key.

A table's file holds `defaults` for every section and, per profile, what differs from them. `TableConfig.jobs` resolves
it to one `JobConfig` per method and seed, the only thing that a job reads.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from reproduce.errors import UserError
from reproduce.runs.manifest import WARM_START

TABLES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class TaskConfig:
    """What the agent is asked and how it is rewarded (rewards: AEPO, arXiv 2510.14545)."""

    max_tool_calls: int
    max_completion_tokens: int
    family: str = "mini-deepsearch"
    world: str = "miniweb"
    format_penalty: float = -1.0
    tool_bonus: float = 0.1

    def problems(self):
        yield from _positive(self, "max_tool_calls", "max_completion_tokens")


@dataclass(frozen=True)
class ModelConfig:
    """A Qwen3-architecture model made from scratch, or (`name_or_path`) one of the hub."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    name_or_path: str | None = None

    def problems(self):
        yield from _positive(self, "hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size")
        if self.num_heads > 0 and self.hidden_size % self.num_heads:
            yield "hidden_size", f"must be a multiple of num_heads ({self.num_heads})"
        if self.num_kv_heads > 0 and self.num_heads % self.num_kv_heads:
            yield "num_heads", f"must be a multiple of num_kv_heads ({self.num_kv_heads})"
        if self.name_or_path is not None:
            yield (
                "name_or_path",
                (
                    f"asks for the hub model {self.name_or_path}, which runs on vLLM: that path is not part of this "
                    "version; use the profile smoke, mini or gpu"
                ),
            )


@dataclass(frozen=True)
class WarmStartConfig:
    """SFT on noisy demonstrations until the validation success lies in [success_low, success_high]."""

    demonstrations: int
    noise: float
    max_epochs: int
    learning_rate: float
    batch_size: int
    success_low: float = 0.10
    success_high: float = 0.40
    seed: int = 0

    def problems(self):
        yield from _positive(self, "demonstrations", "max_epochs", "learning_rate", "batch_size")
        if not 0 <= self.noise <= 1:
            yield "noise", "must lie between 0 and 1"
        if not 0 <= self.success_low < self.success_high <= 1:
            yield "success_low", f"must be below success_high ({self.success_high}), both between 0 and 1"


@dataclass(frozen=True)
class TrainingConfig:
    """One RL step = a batch of prompts_per_step x group_size trajectories, then epochs x minibatches updates."""

    steps: int
    prompts_per_step: int
    group_size: int
    epochs: int  # passes over a rollout batch
    minibatches: int  # per pass
    learning_rate: float
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    checkpoint_every: int = 1  # RL steps
    device: str = "cpu"
    dtype: str = "float32"

    def problems(self):
        yield from _positive(
            self, "steps", "prompts_per_step", "epochs", "minibatches", "learning_rate", "temperature",
            "max_grad_norm", "checkpoint_every",
        )  # fmt: skip
        if self.group_size < 2:
            yield "group_size", "must be at least 2: advantages are relative to the group"
        if self.weight_decay < 0:
            yield "weight_decay", "must not be negative"
        if self.minibatches > 0 and (self.prompts_per_step * self.group_size) % self.minibatches:
            rows = self.prompts_per_step * self.group_size
            yield "minibatches", f"must divide the {rows} trajectories of a step"
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            yield "device", "must be cpu, cuda or cuda:<index>"
        if self.dtype not in ("float32", "float64", "bfloat16"):
            yield "dtype", "must be float32, float64 or bfloat16"


@dataclass(frozen=True)
class EvaluationConfig:
    """The fixed panel: `questions` of `split`, `samples` each, from the last checkpoint."""

    questions: int
    samples: int
    temperature: float = 1.0
    split: str = "test"

    def problems(self):
        yield from _positive(self, "questions", "samples", "temperature")
        if self.split not in ("train", "validation", "test"):
            yield "split", "must be train, validation or test"


@dataclass(frozen=True)
class JobConfig:
    """Everything that one run reads."""

    profile: str
    experiment: str
    method: str
    seed: int
    task: TaskConfig
    model: ModelConfig
    warm_start: WarmStartConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    algorithm: dict = field(default_factory=dict)  # overrides of the method's published settings
    entropy_tokens: int = 5  # tokens after a tool result that count as "right after"

    def problems(self):
        yield from _positive(self, "entropy_tokens")
        if self.seed < 0:
            yield "seed", "must not be negative"
        for name in ("profile", "experiment", "method"):
            if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", getattr(self, name)):
                yield name, "must be a plain name: it becomes a directory"

    @classmethod
    def from_yaml(cls, path: Path | str) -> "JobConfig":
        """Reads a resolved config. Raises UserError naming the file and key on anything it does not know."""
        return build(cls, read_yaml(Path(path)), str(path))

    @classmethod
    def from_dict(cls, data: dict, source: str = "config") -> "JobConfig":
        """As `from_yaml`; `source` is what error messages call the data."""
        return build(cls, data, source)

    def to_dict(self) -> dict:
        """Plain nested dicts, in the order of the fields; `from_dict` gives the same config back."""
        return dataclasses.asdict(self)

    def to_yaml(self, path: Path | str) -> None:
        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

    def warm_start_job(self) -> "JobConfig":
        """The config under which the shared warm start is evaluated: no method, no seed of a single run."""
        return dataclasses.replace(self, method=WARM_START, seed=self.warm_start.seed, algorithm={})

    def directory(self, runs_root: Path) -> Path:
        """`<runs_root>/<profile>/<experiment>/<method>/<seed>`; the warm start has no seed directory."""
        path = Path(runs_root) / self.profile / self.experiment / self.method
        return path if self.method == WARM_START else path / str(self.seed)


SECTIONS = ("task", "model", "warm_start", "training", "evaluation", "entropy_tokens")


@dataclass(frozen=True)
class ProfileConfig:
    """What a profile changes of the table's defaults."""

    methods: list | None = None
    seeds: list | None = None
    algorithm: dict = field(default_factory=dict)
    task: dict = field(default_factory=dict)
    model: dict = field(default_factory=dict)
    warm_start: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    evaluation: dict = field(default_factory=dict)
    entropy_tokens: int | None = None


@dataclass(frozen=True)
class TableConfig:
    """One table: its methods and seeds, `defaults` for every section, and what each profile changes."""

    experiment: str
    methods: list
    seeds: list
    defaults: dict
    profiles: dict
    algorithm: dict = field(default_factory=dict)  # method -> overrides, the user's visible changes
    source: str = ""

    @classmethod
    def load(cls, table: int | str, folder: Path | None = None) -> "TableConfig":
        """The config of table `table`. Raises UserError that lists the tables there are."""
        folder = TABLES if folder is None else folder
        path = folder / f"table{table}.yaml"
        if not path.is_file():
            known = sorted(p.stem.removeprefix("table") for p in folder.glob("table*.yaml"))
            raise UserError(f"there is no table '{table}'; tables: {', '.join(known)}")
        config = build(cls, {**read_yaml(path), "source": path.name}, path.name)
        for name, profile in config.profiles.items():
            build(ProfileConfig, profile or {}, path.name, f"profiles.{name}.")
        return config

    def jobs(self, profile: str, methods: list[str] | None = None, seeds: list[int] | None = None) -> list[JobConfig]:
        """One JobConfig per method and seed, seeds outermost so that every method gets its first seed first.

        Raises UserError on an unknown profile, a bad seed or setting, an override for a method that does not run.
        """
        if profile not in self.profiles:
            raise UserError(f"there is no profile '{profile}' in {self.source}; profiles: {', '.join(self.profiles)}")
        changes = build(ProfileConfig, self.profiles[profile] or {}, self.source, f"profiles.{profile}.")
        overrides = {**self.algorithm, **changes.algorithm}
        methods = methods or changes.methods or self.methods
        seeds = seeds if seeds is not None else changes.seeds or self.seeds
        for name, values in (("method", methods), ("seed", seeds)):
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise UserError(f"{name} {repeated[0]} is named twice")
        jobs = []
        for seed in seeds:
            for method in methods:
                data = {
                    "profile": profile, "experiment": self.experiment, "method": method, "seed": seed,
                    "algorithm": overrides.get(method) or {},
                }  # fmt: skip
                for section in SECTIONS:
                    default, change = self.defaults.get(section), getattr(changes, section)
                    if section == "entropy_tokens":
                        data[section] = change if change is not None else default
                    else:
                        data[section] = {**(default or {}), **change}
                jobs.append(build(JobConfig, data, f"{self.source}, profile {profile}"))
        return jobs

    def problems(self):
        unknown = set(self.defaults) - set(SECTIONS)
        if unknown:
            name = min(unknown)
            yield f"defaults.{name}", f"is not a section{_nearest(name, SECTIONS)}"


def read_yaml(path: Path) -> dict:
    """The mapping in `path`. Raises UserError naming the file when it is missing or not a YAML mapping."""
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of keys to values")
    return data


def build(cls, data: dict, source: str, prefix: str = ""):
    """A dataclass from a mapping: unknown, missing and mistyped keys are UserErrors that name `source` and the key."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if not isinstance(data, dict):
        raise UserError(f"{source}: '{prefix.rstrip('.')}' must be a mapping, not {data!r}")
    for key in data:
        if key not in fields:
            raise UserError(f"{source}: unknown key '{prefix}{key}'{_nearest(key, fields)}")
    values = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], source, prefix + name)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise UserError(f"{source}: the key '{prefix}{name}' is missing")
    made = cls(**values)
    if hasattr(made, "problems"):
        for name, problem in made.problems():
            raise UserError(f"{source}: '{prefix}{name}' {problem}")
    return made


def _convert(kind, value, source: str, name: str):
    if dataclasses.is_dataclass(kind):
        return build(kind, value, source, f"{name}.")
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in kind.__args__:
            return None
        kind = next(k for k in kind.__args__ if k is not type(None))
    if kind is float and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 reads 1e-3 (without a point) as a string
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise UserError(f"{source}: '{name}' must be {_KINDS[kind]}, not {value!r}")
    return value


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


def _nearest(key, valid) -> str:
    match = difflib.get_close_matches(str(key), list(valid), n=1, cutoff=0.0)
    return f"; did you mean '{match[0]}'?" if match else ""


def _positive(config, *names: str):
    for name in names:
        if getattr(config, name) <= 0:
            yield name, f"must be positive, not {getattr(config, name)}"
