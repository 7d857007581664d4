"""The sections of a config: what a job's task, model, warm start, training and evaluation may be set to."""

import re
from dataclasses import dataclass, field

from reproduce.config.question_sets import EVALUATION_SETS, RL_SETS
from reproduce.config.strict import nearest, positive

WEB = "web"
ALFWORLD = "alfworld"
SCIENCEWORLD = "scienceworld"
"""The world of real questions (`task.data`) with real searches (`search`)."""


@dataclass(frozen=True)
class EpisodeConfig:
    """A world of episodes: every turn is a prompt of its own, and one reward comes at the end (EPO, arXiv 2509.22576).

    `format_penalty` and `tool_bonus` of the task play no part there.
    """

    success_reward: float = 1.0  # the paper; released code: 10
    invalid_penalty: float = 0.0  # for each turn in the wrong format; released code: 0.1, the paper has none
    history: int = 2  # past turns that a message shows (released code)
    at_a_time: int | None = None  # episodes played at the same time; None: all of a batch
    prompt_tokens: int | None = None  # hub models: the longest message; older turns are left out of longer ones
    success_rule: str | None = None  # scienceworld: released (None), strict or score decides the reward
    games: str | None = None  # alfworld: published (None), or ones that are generated in its style
    engine: str | None = None  # alfworld: stepper (None), or the real one, which is some hundred times slower
    games_sha256: str | None = None  # of the published games; filled in when a table's jobs are made

    def problems(self):
        for key in ("at_a_time", "prompt_tokens"):
            if getattr(self, key) is not None:
                yield from positive(self, key)
        for key, known in (("success_rule", RULES), ("games", GAMES), ("engine", ENGINES)):
            if getattr(self, key) not in (None, *known):
                yield key, f"must be one of {', '.join(known)}"
        yield from positive(self, "success_reward")
        if self.invalid_penalty < 0:
            yield "invalid_penalty", "must not be negative: it is taken off the reward"
        if self.history < 0:
            yield "history", "must not be negative"


@dataclass(frozen=True)
class DataConfig:
    """Real questions: the RL set that is trained on, and the form of its prompts. `task.families` are evaluated."""

    train: str
    validation: str = "valid"  # an RL set; evaluation.split validation takes it in place of the families
    prompts: str = "paper"  # released: the backspace in the RL files' system prompts stays
    folder: str | None = None  # where the files are; None: the hub, at the locked revisions
    check_rows: bool = True  # refuse files of another size than the published ones
    sha256: dict | None = None  # of each file; filled in when a table's jobs are made

    def problems(self):
        for name in ("train", "validation"):
            if getattr(self, name) not in RL_SETS:
                yield name, f"must be one of {', '.join(RL_SETS)}, not {getattr(self, name)!r}"
        if self.prompts not in ("paper", "released"):
            yield "prompts", f"must be paper or released, not {self.prompts!r}"


@dataclass(frozen=True)
class TaskConfig:
    """The agent's questions and how it is rewarded (rewards: AEPO, arXiv 2510.14545).

    In a world of episodes a tool call is a turn, a completion is one answer, and families are kinds of task.
    """

    max_tool_calls: int
    max_completion_tokens: int
    families: list = field(default_factory=lambda: ["mini-deepsearch"])  # trained on in turn, evaluated each
    world: str = "miniweb"
    format_penalty: float = -1.0
    tool_bonus: float = 0.1
    episodes: EpisodeConfig | None = None  # None: a trajectory is one prompt with tool results in its completion
    data: DataConfig | None = None  # only in the world web

    def problems(self):
        yield from positive(self, "max_tool_calls", "max_completion_tokens")
        names = [name for name in self.families if isinstance(name, str) and name]
        if not names or len(set(names)) < len(self.families):
            yield "families", f"must list one family or more, each once, not {self.families}"
        unknown = [name for name in names if self.data is not None and name not in EVALUATION_SETS]
        if unknown:
            yield "families", f"has no evaluation set {unknown[0]!r}{nearest(unknown[0], EVALUATION_SETS)}"


@dataclass(frozen=True)
class ModelConfig:
    """A Qwen3-architecture model made from scratch, or (`name_or_path`) one of the hub or of a folder, which has a
    shape of its own.

    revision: the commit of the hub, or the hash of the folder's files; filled in when a table's jobs are made, from
    `data/hub.lock.json` (`reproduce.grid.freeze_inputs`).
    """

    hidden_size: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    intermediate_size: int | None = None
    name_or_path: str | None = None
    revision: str | None = None

    def problems(self):
        shape = {name: getattr(self, name) for name in SHAPE}
        if self.name_or_path is not None:
            yield from ((name, "is the hub model's own: leave it out") for name in SHAPE if shape[name] is not None)
            return
        if self.revision is not None:
            yield "revision", "is that of a hub model: set name_or_path too"
        missing = [name for name in SHAPE if shape[name] is None]
        yield from ((name, "is missing (or name a model: name_or_path)") for name in missing)
        if missing:
            return
        yield from positive(self, *SHAPE)
        if self.num_heads > 0 and self.hidden_size % self.num_heads:
            yield "hidden_size", f"must be a multiple of num_heads ({self.num_heads})"
        if self.num_kv_heads > 0 and self.num_heads % self.num_kv_heads:
            yield "num_heads", f"must be a multiple of num_kv_heads ({self.num_kv_heads})"


RULES = ("released", "strict", "score")
GAMES = ("published", "generated-full", "generated-mini")
ENGINES = ("stepper", "real")
SHAPE = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size")
"""The settings of a model made from scratch."""


@dataclass(frozen=True)
class SFTDataConfig:
    """A warm start on the rows of an SFT set, each row once an epoch, with nothing measured before the end.

    Sources: "paper" is appendix C.1 of ARPO (arXiv 2507.19849), "released" its LLaMA-Factory yaml.
    """

    name: str = "arpo-sft-54k"
    max_tokens: int = 4096  # paper (released: 15,000); longer rows are left out and counted
    schedule: str = "cosine"  # released
    warmup_share: float = 0.1  # released
    weight_decay: float = 0.1  # paper
    sha256: str | None = None  # of the file; filled in when a table's jobs are made

    def problems(self):
        yield from positive(self, "max_tokens")
        if self.schedule not in ("cosine", "linear", "constant"):
            yield "schedule", "must be cosine, linear or constant"
        if not 0 <= self.warmup_share < 1:
            yield "warmup_share", "must be at least 0 and below 1"
        if self.weight_decay < 0:
            yield "weight_decay", "must not be negative"


@dataclass(frozen=True)
class WarmStartConfig:
    """SFT on noisy demonstrations until the validation success lies in [success_low, success_high]; or on `data`.

    demonstrations 0: no SFT, the hub model as it is. With `data` it is the most rows that are taken.
    """

    demonstrations: int
    noise: float
    max_epochs: int
    learning_rate: float
    batch_size: int
    success_low: float = 0.10
    success_high: float = 0.40
    seed: int = 0
    data: SFTDataConfig | None = None  # None: demonstrations made here
    check_questions: int | None = None  # validation tasks of a check; None: 60

    def problems(self):
        yield from positive(self, "max_epochs", "learning_rate", "batch_size")
        if self.check_questions is not None:
            yield from positive(self, "check_questions")
        if self.demonstrations < 0:
            yield "demonstrations", "must not be negative"
        if self.data is not None and (self.noise, self.success_low, self.success_high) != (0, 0, 1):
            yield "data", "leaves nothing to noise or to a range of success: set noise 0, success_low 0, success_high 1"
        if not 0 <= self.noise <= 1:
            yield "noise", "must lie between 0 and 1"
        if not 0 <= self.success_low < self.success_high <= 1:
            yield "success_low", f"must be below success_high ({self.success_high}), both between 0 and 1"


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685, package peft) in place of the weights: the base stays as it was loaded."""

    rank: int = 64
    alpha: float = 128.0  # the update is alpha / rank times the product of the two factors
    targets: list = field(default_factory=lambda: ["all-linear"])  # module names, or all linear layers but the head

    def problems(self):
        yield from positive(self, "rank", "alpha")
        if not self.targets or not all(isinstance(name, str) and name for name in self.targets):
            yield "targets", "must list names of modules, or all-linear alone"
        elif "all-linear" in self.targets and len(self.targets) > 1:
            yield "targets", "must be all-linear alone, or names of modules"


@dataclass(frozen=True)
class ScheduleConfig:
    """Cosine decay of the policy's learning rate over the RL steps, after a linear warm-up; a critic's stays constant.

    The defaults are EPO's (arXiv 2509.22576 v2, tables 2 and 3; its released launcher has the same).
    """

    warmup_share: float = 0.1  # of the RL steps, rounded down; it begins at `floor`, as in the released code
    floor: float = 0.2  # the lowest rate, as a share of learning_rate

    def problems(self):
        if not 0 <= self.warmup_share < 1:
            yield "warmup_share", "must be at least 0 and below 1"
        if not 0 <= self.floor <= 1:
            yield "floor", "must lie between 0 and 1"


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
    dtype: str = "float32"  # bfloat16: weights and passes; what is trained has a float32 copy in the optimiser
    lora: LoraConfig | None = None  # None: all weights are trained
    gradient_checkpointing: bool | None = None  # true: layers are computed again in the backward pass
    report_to: str | None = None  # trackers that see every step: tensorboard, trackio, wandb, several with commas
    rollout_shards: int | None = None  # parts of a rollout batch with random streams of their own; None: 1
    schedule: ScheduleConfig | None = None  # None: a constant learning rate
    tokens_per_pass: int | None = None  # the most tokens of one forward and backward pass; None: a whole mini-batch

    def problems(self):
        yield from positive(
            self, "steps", "prompts_per_step", "epochs", "minibatches", "learning_rate", "temperature",
            "max_grad_norm", "checkpoint_every",
        )  # fmt: skip
        if self.tokens_per_pass is not None:
            yield from positive(self, "tokens_per_pass")
        yield from positive(self, "group_size")  # 1 is for methods that compare no groups (`algorithms.for_run`)
        if self.weight_decay < 0:
            yield "weight_decay", "must not be negative"
        if self.minibatches > 0 and (self.prompts_per_step * self.group_size) % self.minibatches:
            rows = self.prompts_per_step * self.group_size
            yield "minibatches", f"must divide the {rows} trajectories of a step"
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            yield "device", "must be cpu, cuda or cuda:<index>"
        if self.dtype not in ("float32", "float64", "bfloat16"):
            yield "dtype", "must be float32, float64 or bfloat16"
        if self.rollout_shards is not None and (self.rollout_shards < 1 or self.prompts_per_step % self.rollout_shards):
            yield "rollout_shards", f"must divide the {self.prompts_per_step} prompts of a step"


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
