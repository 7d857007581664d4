"""The settings in which a rehearsal differs from the profile paper: sizes, and where files and services are.

Everything else is the profile's: the same table file, world, sets, formats, method, recording, judge, precision.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reproduce.commands.random_model import SMALLEST, TINY
from reproduce.config.tables import JobConfig

PROFILE, LAUNCH = "paper", "fsdp_cpu"
"""The profile that is rehearsed, and our accelerate config that starts its processes."""
STAND_IN = "minihouse"
"""The world of episodes that needs neither Java nor published games, in the place of ScienceWorld."""
PROCESSES = 2


@dataclass(frozen=True)
class Size:
    """shape: of the model (`random_model`). demonstrations, passes, batch, rate: of the warm start. steps, prompts: RL
    steps, and prompts of one, times `group`. questions: of each evaluation set."""

    shape: dict
    demonstrations: int
    passes: int
    batch: int
    rate: float
    steps: int
    prompts: int
    group: int
    questions: int


USUAL = Size(TINY, demonstrations=480, passes=4, batch=8, rate=2e-3, steps=5, prompts=8, group=8, questions=8)
REAL = Size({}, demonstrations=12, passes=2, batch=2, rate=2e-4, steps=3, prompts=2, group=4, questions=1)
"""For a model of a folder: one of 135 million weights reads about 40 tokens a second on a core in bfloat16."""
QUICK = Size(SMALLEST, demonstrations=8, passes=40, batch=2, rate=5e-3, steps=3, prompts=2, group=4, questions=1)


def first_methods(table: str) -> list[str]:
    """The rows of a table that are rehearsed unless others are named."""
    return {"3": ["ppo+epo"], "5": ["grpo-lr1x-minibatches1x"], "6": ["none", "beta-10"]}.get(table, ["grpo", "aepo"])


def differing(job: JobConfig, folder: Path, judge_url: str, size: Size, device: str) -> dict[str, str]:
    """`section.key` -> value, as `--set` takes them. folder: of the rehearsal's inputs. judge_url: of its judge.
    device: that it trains on."""
    found = {
        "model.name_or_path": folder / "model",
        "training.steps": size.steps,
        "training.minibatches": 2,
        "training.learning_rate": 1e-4,
        "training.device": device,
        "training.rollout_shards": PROCESSES,
        "training.tokens_per_pass": 1024,
        "evaluation.questions": size.questions,
    }
    found |= _of_episodes(job, size) if job.task.episodes is not None else _of_questions(folder, size)
    if job.warm_start.data is not None:
        found |= {
            "warm_start.demonstrations": size.demonstrations,
            "warm_start.max_epochs": size.passes,
            "warm_start.learning_rate": size.rate,
            "warm_start.batch_size": size.batch,
        }
    if job.judge is not None:
        found |= {"judge.chat.base_url": judge_url, "judge.cache_dir": folder / "judge"}
    if job.engine is not None and job.engine.name == "vllm":
        found |= {"engine.max_context": "null"}  # that of the small model
        found |= {"engine.kv_cache_gb": 0.1} if find_spec("vllm") else {"engine.name": "transformers"}
    if job.task.episodes is not None and not find_spec("vllm"):
        found = {key: value for key, value in found.items() if not key.startswith("engine.")} | {"engine": "null"}
    return {key: str(value) for key, value in found.items()}


def _of_questions(folder: Path, size: Size) -> dict:
    return {
        "task.data.folder": folder / "data",
        "task.data.check_rows": "false",
        "task.max_tool_calls": 3,
        "task.max_completion_tokens": 256,
        "training.prompts_per_step": size.prompts,
        "training.group_size": size.group,
        "evaluation.samples": 2,
        "search.mode": "replay",
        "search.cache_dir": folder / "searches",
    }


def _of_episodes(job: JobConfig, size: Size) -> dict:
    """As many episodes of a step, in groups of one where the method plays each task once."""
    group = 1 if job.training.group_size == 1 else size.group
    return {
        "task.world": STAND_IN,
        "task.max_tool_calls": 4,
        "task.max_completion_tokens": 16,
        "training.prompts_per_step": size.prompts * size.group // group,
        "training.group_size": group,
        "evaluation.questions": 1,
        "evaluation.checks.every": 2,
        "evaluation.checks.questions": 1,
    }
