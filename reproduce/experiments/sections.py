"""The sections of a config: what a job's task, model, warm start, training and evaluation may be set to."""

import re
from dataclasses import dataclass, field

from reproduce.experiments.strict import positive


@dataclass(frozen=True)
class EpisodeConfig:
    """A world of episodes: every turn is a prompt of its own, and one reward comes at the end (EPO, arXiv 2509.22576).

    `format_penalty` and `tool_bonus` of the task play no part there.
    """

    success_reward: float = 1.0  # the paper; released code: 10
    invalid_penalty: float = 0.0  # for each turn in the wrong format; released code: 0.1, the paper has none
    history: int = 2  # past turns that a message shows (released code)

    def problems(self):
        yield from positive(self, "success_reward")
        if self.invalid_penalty < 0:
            yield "invalid_penalty", "must not be negative: it is taken off the reward"
        if self.history < 0:
            yield "history", "must not be negative"


@dataclass(frozen=True)
class TaskConfig:
    """What the agent is asked and how it is rewarded (rewards: AEPO, arXiv 2510.14545).

    In a world of episodes a tool call is a turn, a completion is one answer, and families are kinds of task.
    """

    max_tool_calls: int
    max_completion_tokens: int
    families: list = field(default_factory=lambda: ["mini-deepsearch"])  # trained on in turn, evaluated each
    world: str = "miniweb"
    format_penalty: float = -1.0
    tool_bonus: float = 0.1
    episodes: EpisodeConfig | None = None  # None: a trajectory is one prompt with tool results in its completion

    def problems(self):
        yield from positive(self, "max_tool_calls", "max_completion_tokens")
        names = [name for name in self.families if isinstance(name, str) and name]
        if not names or len(set(names)) < len(self.families):
            yield "families", f"must list one family or more, each once, not {self.families}"


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
        yield from positive(self, "hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size")
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
        yield from positive(self, "demonstrations", "max_epochs", "learning_rate", "batch_size")
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
        yield from positive(
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
class CheckConfig:
    """EPO's own evaluation beside the fixed panel: random tasks of each split, one episode each, during training."""

    every: int = 5  # RL steps between two (released code)
    questions: int = 16  # tasks of each split (released code)

    def problems(self):
        yield from positive(self, "every", "questions")


@dataclass(frozen=True)
class EvaluationConfig:
    """The fixed panel: `questions` of each family from `split`, `samples` each, from the last checkpoint.

    In a world of episodes the split "test" is EPO's IID and OOD splits, `questions` of each. The temperature is that of
    the checks too.
    """

    questions: int
    samples: int
    temperature: float = 1.0
    split: str = "test"
    checks: CheckConfig | None = None  # only in worlds of episodes

    def problems(self):
        yield from positive(self, "questions", "samples", "temperature")
        if self.split not in ("train", "validation", "test"):
            yield "split", "must be train, validation or test"
