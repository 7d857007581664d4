"""The sections of a config: task, model, warm start, training and evaluation of a job."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from reproduce.config.question_sets import EVALUATION_SETS, RL_SETS
from reproduce.config.strict import (
    Amount,
    Count,
    Flag,
    Later,
    Number,
    Positive,
    Share,
    Unhashed,
    Whole,
    nearest,
    section,
)

WEB = "web"
"""The world of real questions (`task.data`) with real searches (`search`)."""
ALFWORLD = "alfworld"
SCIENCEWORLD = "scienceworld"
MINIWEB = "miniweb"
WARM_START = "warm_start"
"""The method name of the run that holds the warm start's evaluation."""
WARM_START_TRAINING = ("temperature", "device", "dtype")
"""The settings of `training` that the warm start depends on."""


@section
class EpisodeConfig:
    """A world of episodes: every turn is a prompt, and one reward comes at the end (EPO, arXiv 2509.22576).

    `format_penalty` and `tool_bonus` of the task are not used there.
    """

    success_reward: Positive = 1.0  # the paper; released code: 10
    invalid_penalty: Amount = 0.0  # for each turn in the wrong format; released code: 0.1, the paper has none
    history: Whole = 2  # past turns that a message shows (released code)
    at_a_time: Later[Count | None] = None  # episodes played at the same time; None: all of a batch
    prompt_tokens: Later[Count | None] = None  # Hub models: the longest message; a longer one leaves out older turns
    success_rule: Later[Literal["released", "strict", "score"] | None] = None  # scienceworld's reward; None: released
    games: Later[Literal["published", "generated-full", "generated-mini"] | None] = None  # alfworld; None: published
    engine: Later[Literal["stepper", "real"] | None] = None  # alfworld; None: stepper, some hundred times faster
    games_sha256: Later[str | None] = None  # of the published games; filled in when a table's jobs are made


@section
class DataConfig:
    """Real questions: the RL set to train on, and the form of its prompts. `task.families` are evaluated."""

    train: Literal[RL_SETS]
    validation: Literal[RL_SETS] = "valid"  # an RL set; evaluation.split validation takes it in place of the families
    prompts: Literal["paper", "released"] = "paper"  # released: the backspace in the RL files' system prompts stays
    folder: Unhashed[str | None] = None  # where the files are; None: the hub, at the locked revisions
    check_rows: Flag = True  # refuse files of another size than the published ones
    sha256: dict | None = None  # of each file; filled in when a table's jobs are made


@section
class TaskConfig:
    """The agent's questions and rewards (rewards: AEPO, arXiv 2510.14545).

    In a world of episodes a tool call is a turn, a completion is one answer, and families are kinds of task.
    """

    max_tool_calls: Count
    max_completion_tokens: Count
    families: list[str] = field(default_factory=lambda: ["mini-deepsearch"])  # trained on in turn, evaluated each
    world: str = MINIWEB
    format_penalty: Number = -1.0
    tool_bonus: Number = 0.1
    episodes: Later[EpisodeConfig | None] = None  # None: a trajectory is one prompt with tool results in its completion
    data: Later[DataConfig | None] = None  # only in the world web
    rendering: Later[Literal["english"] | None] = None  # miniweb for models with a vocabulary; None: in words
    levels: Later[dict[str, list[Count]] | None] = None  # miniweb: family -> its levels; a family left out has all

    def problems(self):
        for name in ("rendering", "levels"):
            if getattr(self, name) is not None and self.world != MINIWEB:
                yield name, f"belongs to the world {MINIWEB}: leave it out"
        if not self.families or not all(self.families) or len(set(self.families)) < len(self.families):
            yield "families", f"must list one family or more, each once, not {self.families}"
        unknown = [name for name in self.families if self.data is not None and name not in EVALUATION_SETS]
        if unknown:
            yield "families", f"has no evaluation set {unknown[0]!r}{nearest(unknown[0], EVALUATION_SETS)}"


@section
class ModelConfig:
    """A Qwen3-architecture model trained from scratch, or (`name_or_path`) a model of the Hub or of a folder.

    revision: the Hub's commit, or the hash of the folder's files. We fill it in when a table's jobs are made, from
    `data/hub.lock.json` (`reproduce.grid.freeze_inputs`).
    """

    hidden_size: Count | None = None
    num_layers: Count | None = None
    num_heads: Count | None = None
    num_kv_heads: Count | None = None
    intermediate_size: Count | None = None
    name_or_path: str | None = None
    revision: Later[str | None] = None

    def problems(self):
        shape = {name: getattr(self, name) for name in SHAPE}
        if self.name_or_path is not None:
            yield from (
                (name, "is decided by the Hub model: leave it out") for name in SHAPE if shape[name] is not None
            )
            return
        if self.revision is not None:
            yield "revision", "belongs to a Hub model: set name_or_path too"
        missing = [name for name in SHAPE if shape[name] is None]
        yield from ((name, "is missing (or name a model: name_or_path)") for name in missing)
        if missing:
            return
        if self.hidden_size % self.num_heads:
            yield "hidden_size", f"must be a multiple of num_heads ({self.num_heads})"
        if self.num_heads % self.num_kv_heads:
            yield "num_heads", f"must be a multiple of num_kv_heads ({self.num_kv_heads})"


SHAPE = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size")
"""The settings of a model that is trained from scratch."""


@section
class SFTDataConfig:
    """A warm start on the rows of an SFT set, each row once per epoch, with nothing measured before the end.

    Sources: "paper" is appendix C.1 of ARPO (arXiv 2507.19849), "released" its LLaMA-Factory yaml.
    """

    name: str = "arpo-sft-54k"
    max_tokens: Count = 4096  # paper (released: 15,000); longer rows are left out and counted
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # released
    warmup_share: Annotated[Share, Field(lt=1)] = 0.1  # released
    weight_decay: Amount = 0.1  # paper
    sha256: str | None = None  # of the file; filled in when a table's jobs are made


def start_of(seed: int, warm_start: Mapping) -> int:
    """Return the seed of the warm start at which the run with this seed begins; warm_start: a config's section."""
    each = warm_start.get("seeds_each")
    return warm_start["seed"] + (seed // each if each else 0)


@section
class WarmStartConfig:
    """SFT on noisy demonstrations until the validation success lies in [success_low, success_high]; or on `data`.

    demonstrations 0: no SFT, the Hub model is used as it is. With `data` it is the largest number of rows.
    A table may have several, with seeds from `seed` on: runs of `seeds_each` seeds begin at each.
    """

    demonstrations: Whole
    noise: Share
    max_epochs: Count
    learning_rate: Positive
    batch_size: Count
    success_low: Share = 0.10
    success_high: Share = 0.40
    seed: Whole = 0
    data: Later[SFTDataConfig | None] = None  # None: demonstrations made here
    check_questions: Later[Count | None] = None  # validation tasks of a check; None: 60
    check_every: Later[Count | None] = None  # updates from one check to the next; None: 200
    rows_per_pass: Later[Count | None] = None  # of a batch, rows in random order; None: all of it, of similar lengths
    seeds_each: Later[Count | None] = None  # 5: seeds 0 to 4 begin at the first, 5 to 9 at the next; None: all at one

    def of_run(self, seed: int) -> "WarmStartConfig":
        """Return the one warm start that the run with this seed begins at."""
        return dataclasses.replace(self, seed=start_of(seed, dataclasses.asdict(self)), seeds_each=None)

    def problems(self):
        if self.data is not None and (self.noise, self.success_low, self.success_high) != (0, 0, 1):
            yield "data", "leaves nothing to noise or to a range of success: set noise 0, success_low 0, success_high 1"
        if self.success_low >= self.success_high:
            yield "success_low", f"must be below success_high ({self.success_high})"
        if self.rows_per_pass is not None and self.batch_size % self.rows_per_pass:
            yield "rows_per_pass", f"must divide the {self.batch_size} rows of a batch"


@section
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685, package peft). Only they are trained; the base stays as it was loaded."""

    rank: Count = 64
    alpha: Positive = 128.0  # the update is alpha / rank times the product of the two factors
    targets: list[str] = field(default_factory=lambda: ["all-linear"])  # module names, or all linear layers but head

    def problems(self):
        if not self.targets or not all(self.targets):
            yield "targets", "must list names of modules, or all-linear alone"
        elif "all-linear" in self.targets and len(self.targets) > 1:
            yield "targets", "must be all-linear alone, or names of modules"


@section
class ScheduleConfig:
    """Cosine decay of the policy's learning rate over the RL steps, after a linear warm-up. A critic's rate stays
    constant.

    The defaults are EPO's (arXiv 2509.22576 v2, tables 2 and 3; its released launcher has the same).
    """

    warmup_share: Annotated[Share, Field(lt=1)] = 0.1  # of the RL steps, rounded down; begins at `floor` (released)
    floor: Share = 0.2  # the lowest rate, as a share of learning_rate


StaleSteps = Annotated[Annotated[Whole, Field(le=1)] | None, AfterValidator(lambda steps: steps or None)]


@section
class TokenLogConfig:
    """Records of some groups, token by token, in the run's folder `tokens` (`runs.token_records`), for `make trees`.

    The first groups of the first step, of every `every`-th one and of the last one are recorded.
    """

    every: Count = 10  # RL steps
    groups: Count = 1  # of a step


@section
class TrainingConfig:
    """One RL step is a batch of prompts_per_step x group_size trajectories, then epochs x minibatches updates."""

    steps: Count
    prompts_per_step: Count
    group_size: Count  # 1 is for methods that compare no groups (`algorithms.for_run`)
    epochs: Count  # passes over a rollout batch
    minibatches: Count  # per pass
    learning_rate: Positive
    temperature: Positive = 1.0
    max_grad_norm: Positive = 1.0
    weight_decay: Amount = 0.0
    checkpoint_every: Unhashed[Count] = 1  # RL steps; resuming changes no result
    device: str = "cpu"
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"  # bfloat16: AdamW steps on float32 copies
    lora: Later[LoraConfig | None] = None  # None: all weights are trained
    gradient_checkpointing: Later[Flag | None] = None  # true: layers are computed again in the backward pass
    report_to: Unhashed[str | None] = None  # trackers of every step: tensorboard, trackio, wandb, with commas
    rollout_shards: Later[Count | None] = None  # parts of a rollout batch with random streams of their own; None: 1
    schedule: Later[ScheduleConfig | None] = None  # None: a constant learning rate
    stale_steps: Later[StaleSteps] = None  # 1: a step is sampled while the one before it trains; None, or 0: it waits
    measure_kl: Unhashed[Flag] = (
        True  # the metric kl_warm_start, for which a copy of the first policy is kept; false: NaN
    )
    offload_optimizer: Unhashed[Flag] = False  # AdamW's states and float32 weights lie on the CPU
    token_log: Unhashed[TokenLogConfig | None] = None  # None: no token is recorded
    packed: Unhashed[Flag | None] = None  # true: rows of a pass stand one behind the other; None: on cards they do
    shared_prefixes: Later[Flag | None] = None  # true: tokens that rows begin with are passed once; None: with each row
    trajectory_budget: Later[Flag | None] = None  # true: training ends after the step in which all sampled
    # trajectories, dropped groups included, reach steps x prompts_per_step x group_size, which is GRPO's number
    tokens_per_pass: Unhashed[Count | None] = None  # of one pass; None: on a CPU a mini-batch, on a card what fits

    def problems(self):
        rows = self.prompts_per_step * self.group_size
        if rows % self.minibatches:
            yield "minibatches", f"must divide the {rows} trajectories of a step"
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            yield "device", "must be cpu, cuda or cuda:<index>"
        if self.rollout_shards is not None and self.prompts_per_step % self.rollout_shards:
            yield "rollout_shards", f"must divide the {self.prompts_per_step} prompts of a step"
        if self.trajectory_budget and self.stale_steps:
            yield (
                "trajectory_budget",
                "cannot be true with stale_steps: the last step would be known after the next began",
            )
        if self.shared_prefixes and self.packed is False:
            yield "packed", "cannot be false where shared_prefixes is true: shared tokens stand in one row"


@section
class MachineConfig:
    """The machine that a profile is for; it decides launcher and passes, and no result."""

    cards: Count = 1  # of a node
    gb: Positive = 80.0  # 10^9 bytes of a card
    nodes: Count = 1


@section
class CheckConfig:
    """EPO's own evaluation during training, in addition to the fixed panel: random tasks of each split, one episode
    each.
    """

    every: Count = 5  # RL steps between two (released code)
    questions: Count = 16  # tasks of each split (released code)


@section
class ValidationConfig:
    """Evaluations during training, on the validation panel; their rows lie in the run's folder `validation`.

    One follows every `every`-th RL step, and the last one. They draw from their own streams, and no judge is asked.
    """

    every: Count = 8  # RL steps
    questions: Count = 40  # of each family
    samples: Count = 1


@section
class EvaluationConfig:
    """The fixed panel: `questions` of each family from `split`, `samples` each, from the last checkpoint.

    In a world of episodes the split "test" is EPO's IID and OOD splits, `questions` of each. The checks use the same
    temperature.
    """

    questions: Count
    samples: Count
    temperature: Positive = 1.0
    split: Literal["train", "validation", "test"] = "test"
    checks: Later[CheckConfig | None] = None  # only in worlds of episodes
    validation: Unhashed[ValidationConfig | None] = None  # None: nothing is evaluated before the end
    together: Later[Count | None] = None  # trajectories sampled together; None: 512, or as many as a shard of training
