"""The runs of `make evaluate`, one for each question set, from the words of the command.

Prompts, limits on calls and tokens, and the sampling temperature are those of the profile paper of the table that has
the set (2 for deep search, else 1), so that a checkpoint is asked as a run of that table is in its own evaluation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from reproduce.config import command_line
from reproduce.config.question_sets import EVALUATION_SETS
from reproduce.config.search import DOCUMENTED_RATES
from reproduce.config.sections import WARM_START
from reproduce.config.strict import nearest
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid.freeze_inputs import pinned
from reproduce.tools.hub.fetch import is_folder
from reproduce.worlds.benchmarks.datasets.rl import RL_FILES
from reproduce.worlds.registry import world_of

EVALUATE, REPLAY = "evaluate", "replay"
"""Profiles of these runs: a session that asks services and records them, and its replay."""
TABLES = ("2", "1")
"""Tables of real questions; of a set that both have, the first one's settings are taken."""
TOGETHER = {("cpu", "transformers"): 16, ("cpu", "vllm"): 16, ("cuda", "transformers"): 32, ("cuda", "vllm"): 256}
"""Trajectories sampled together, on a device by an engine: what a kill loses at most. 256: vLLM's `max_sequences`."""
MOST = 500
"""Questions of a set unless the user says: the released evaluation's cap, which ARPO's GSM8K and MATH cells fit."""


@dataclass(frozen=True)
class Asked:
    """The words of the command, settled.

    model: a repository of the Hub or a folder. name: of its runs. sets: question sets. samples: of each question.
    questions: of each set, at most; None: `MOST`. engine: "transformers" or "vllm". device: "cpu" or "cuda". search: a
    service, or a corpus file. judge: its address and name, with a comma between; None: no judge. data: folder of the
    question files; None: the hub. together: trajectories at a time; None: `TOGETHER`. replay: nothing is asked or
    sent. root: folder of the runs. set: further settings, `section.key=value`.
    """

    model: str
    name: str
    sets: Sequence[str]
    samples: int
    questions: int | None
    engine: str
    device: str
    search: str
    judge: str | None
    data: str | None
    together: int | None
    replay: bool
    root: Path
    set: Sequence[str] = ()


def check_sets(sets: Sequence[str]) -> None:
    """UserError for a question set that does not exist, or is named twice."""
    for name in sets:
        if name not in EVALUATION_SETS:
            known = ", ".join(EVALUATION_SETS)
            raise UserError(f"there is no question set '{name}'{nearest(name, EVALUATION_SETS)} sets: {known}")
        if list(sets).count(name) > 1:
            raise UserError(f"the question set {name} is named twice")


def jobs(asked: Asked) -> list[JobConfig]:
    """One job for each set. Nothing is looked up. Raises UserError for a word that is none."""
    check_sets(asked.sets)
    changes = command_line.parsed(asked.set)
    made = [JobConfig.from_dict(_job(asked, name), "evaluate") for name in asked.sets]
    made = [command_line.changed([job], changes)[0] for job in made]  # sets of two tables have limits of their own
    name = f"{asked.name}.{command_line.label(_labels(asked) | _naming(changes))}"
    return [replace(job, experiment=name) for job in made]


def replayed(job: JobConfig) -> JobConfig:
    """The job with services answered from its recording alone; the same by its hash."""
    judge = job.judge and replace(job.judge, mode="replay")
    return replace(job, search=replace(job.search, mode="replay"), judge=judge)


def frozen(made: list[JobConfig]) -> list[JobConfig]:
    """As `grid.freeze_inputs.pinned`, for jobs that share a model and a search and differ in their questions.

    The model is hashed once, and keys are looked up once.
    """
    (first,) = pinned(made[:1])
    others = (replace(job, task=world_of(job.task).freeze(job)) for job in made[1:])
    return [first, *(replace(job, model=first.model, search=first.search) for job in others)]


def _naming(changes: dict[str, str]) -> dict[str, str]:
    """Settings of the command line that can change a result."""
    return {key: text for key, text in sorted(changes.items()) if not command_line.changes_nothing(key)}


def check_model(model: str) -> None:
    """UserError for a folder that is none of a model, and for a name that can be neither folder nor repository."""
    if is_folder(model) and not (Path(model) / "config.json").is_file():
        raise UserError(f"MODEL={model}: the folder holds no config.json; name one that save_pretrained wrote")


def model_label(model: str) -> str:
    """A name for the runs of a model: of its folder, or owner--name."""
    text = Path(model).resolve().name if is_folder(model) else model.replace("/", "--")
    return re.sub(r"[^A-Za-z0-9.+-]", "-", text).lstrip("-.+") or "model"


def _labels(asked: Asked) -> dict[str, str]:
    """Settings that name the runs' folder: runs that differ in one of them do not meet."""
    found = {"samples": str(asked.samples)}
    if asked.questions is not None:
        found["questions"] = str(asked.questions)
    if asked.together is not None:
        found["together"] = str(asked.together)
    found |= {"engine": asked.engine, "search": Path(asked.search).stem if _is_corpus(asked.search) else asked.search}
    return found if asked.judge is None else found | {"judge": _judge(asked.judge)[1]}


def _base(name: str) -> JobConfig:
    for table in TABLES:
        job = TableConfig.load(table).jobs("paper", seeds=[0])[0]
        if name in job.task.families:
            return job
    raise UserError(f"no table has the question set {name}")


def _job(asked: Asked, name: str) -> dict:
    base = _base(name)
    data = base.to_dict()
    own = {"profile": REPLAY if asked.replay else EVALUATE, "experiment": EVALUATE, "variant": name}
    data |= own | {"method": WARM_START, "seed": 0, "algorithm": {}, "training_changes": {}, "machine": None}
    data["task"]["families"] = [name]
    data["task"]["data"] |= {"folder": asked.data, "train": _prompts_of(base.task.data.train, asked.data)}
    data["model"] |= {"name_or_path": str(Path(asked.model).absolute()) if is_folder(asked.model) else asked.model}
    data["warm_start"] = dict(demonstrations=0, noise=0.0, max_epochs=1, learning_rate=1.0, batch_size=1, seed=0)
    data["training"] = {
        **dict(
            steps=1, prompts_per_step=1, group_size=1, epochs=1, minibatches=1, learning_rate=1.0
        ),  # none is trained
        "device": asked.device,
        "dtype": "float32" if asked.device == "cpu" else "bfloat16",
    }
    data["evaluation"] |= {
        "questions": asked.questions or MOST,
        "samples": asked.samples,
        "together": asked.together or TOGETHER[asked.device, asked.engine],
    }
    data["engine"] = None if asked.engine == "transformers" else {"name": asked.engine, "top_logprobs": 0}
    mode = "replay" if asked.replay else "record"
    data["search"] = _search(asked, mode)
    data["judge"] = asked.judge and _judge_section(asked, mode)
    return data


def _prompts_of(usual: str, folder: str | None) -> str:
    """The RL set whose system prompt the questions get: the table's, or one that the folder holds; all share one."""
    if folder is None:
        return usual
    held = [
        name for name, file in RL_FILES.items() if any((Path(folder) / place).is_file() for place in file.candidates)
    ]
    return usual if usual in held or not held else held[0]


def _is_corpus(search: str) -> bool:
    return search not in DOCUMENTED_RATES


def _search(asked: Asked, mode: str) -> dict:
    if not _is_corpus(asked.search):
        if asked.search == "local":
            raise UserError("SEARCH=local names no corpus: give its file, SEARCH=corpus.jsonl")
        cache = str((asked.root / "searches").absolute())
        return {"service": asked.search, "cache_dir": cache, "mode": mode, "ask_again": False}
    path = Path(asked.search)
    if not path.is_file():
        services = ", ".join(name for name in DOCUMENTED_RATES if name != "local")
        raise UserError(f"SEARCH={asked.search} is neither a service ({services}) nor a corpus file that is there")
    return {"service": "local", "corpus": str(path.absolute())}


def _judge(text: str) -> tuple[str, str]:
    url, comma, model = text.partition(",")
    if not comma or not model.strip() or urlsplit(url).scheme not in ("http", "https"):
        raise UserError(
            f"JUDGE={text} is no judge: give its address and name, JUDGE=http://localhost:8000/v1,OWNER/MODEL"
        )
    return url.strip(), model.strip()


def _judge_section(asked: Asked, mode: str) -> dict:
    url, model = _judge(asked.judge)
    return {
        "chat": {"base_url": url, "model": model},
        "mode": mode,
        "cache_dir": str((asked.root / "judge").absolute()),
    }
