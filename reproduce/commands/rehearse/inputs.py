"""Inputs of a rehearsal in the forms of the real ones, made from committed files: nothing is downloaded or invented.

Questions are MiniWeb's (`data/worlds`): its validation panel stands for the RL set, its test panel for the evaluation
sets, its demonstrations for the SFT set. The recording of the search engine holds what BM25 finds for them in MiniWeb's
pages, in the lines that `reproduce.tools.search.cache` writes and replays. No number from them is a result.
"""

import json
from dataclasses import replace
from pathlib import Path

from reproduce.commands import random_model
from reproduce.commands.rehearse.settings import STAND_IN
from reproduce.config.search import SearchConfig
from reproduce.config.tables import JobConfig
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search.bm25 import PassageIndex
from reproduce.tools.search.cache import Recording, content_key
from reproduce.tools.search.services import HOSTED
from reproduce.worlds.benchmarks.datasets.rl import BACKSPACE_BUG
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.miniweb.generator import KINDS, RELATIONS, load_world
from reproduce.worlds.miniweb.questions import load_panel, panel_path
from reproduce.worlds.miniweb.task import WORLDS, open_task, world_file
from reproduce.worlds.registry import world_of
from reproduce.worlds.tags import SYSTEM_PROMPT

FAMILY = "mini-knowledge"
CALLS = 3
"""Tool calls of a demonstration, at most."""
SHIPPED_PROMPT = SYSTEM_PROMPT.replace("\\boxed", BACKSPACE_BUG)
"""With the fault of the authors' RL files, so that its repair is rehearsed, too."""


def write_data(folder: Path, job: JobConfig, demonstrations: int) -> Path:
    """Training, validation, evaluation and SFT files for the sets that the job names, in the hub's formats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "eval").mkdir(parents=True)
    validation, test = (load_panel(panel_path(WORLDS, FAMILY, split)) for split in ("validation", "test"))
    half = len(validation) // 2
    for name, questions in ((job.task.data.train, validation[:half]), (job.task.data.validation, validation[half:])):
        pq.write_table(pa.Table.from_pylist([_rl_row(q) for q in questions]), folder / f"{name}.parquet")
    for number, family in enumerate(job.task.families):
        rows = [_evaluation_row(family, q) for q in test[number :: len(job.task.families)]]
        _write_lines(folder / "eval" / f"{family}.jsonl", rows)
    if job.warm_start.data is not None:
        rows = [_sft_row(demonstration) for demonstration in _demonstrations(demonstrations)]
        (folder / f"{job.warm_start.data.name}.json").write_text(json.dumps(rows))
    return folder


def _demonstrations(count: int) -> list:
    with PythonSandbox(preload=False) as sandbox:
        task = open_task(FAMILY, "miniweb", sandbox, -1.0, 0.1)
        return list(task.demonstrations(count, 0.1, CALLS, 0))


def _rl_row(question) -> dict:
    """A row of verl's format, as the authors' parquet files have it."""
    return {
        "data_source": "miniweb",
        "prompt": [{"content": SHIPPED_PROMPT, "role": "system"}, {"content": question.text, "role": "user"}],
        "ability": "qa",
        "reward_model": {"ground_truth": question.gold, "style": "rule"},
        "extra_info": {"index": 0, "question": question.text, "split": "train"},
        "metadata": None,
    }


def _evaluation_row(family: str, question) -> dict:
    """A row of an evaluation set: its columns under their own names."""
    entry = EVALUATION_FILES[family]
    gold = f"{question.operation}\n#### {question.gold}" if family == "gsm8k" else question.gold
    row = {"id": question.id, "task_id": question.id, "category": "math", "Level": str(question.level)}
    kept = {key: value for key, value in row.items() if key in entry.columns}
    return kept | {entry.question_key: question.text, "answer": gold}


def _sft_row(demonstration) -> dict:
    said = [{"from": "human", "value": demonstration.question.text}, {"from": "gpt", "value": demonstration.text}]
    return {"system": SYSTEM_PROMPT, "conversations": said}


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recording(folder: Path, config: SearchConfig) -> int:
    """A recording of the job's search engine: MiniWeb's pages for every name, with each kind. Returns its queries."""
    world = load_world(world_file("miniweb"))
    index = PassageIndex([{"id": p.id, "title": p.title, "text": p.body} for p in world.pages])
    service = HOSTED[config.service](replace(config, cache_dir=str(folder)))
    names = {entity.name for entity in world.entities}
    words = {word for kind, (_, synonym) in KINDS.items() for word in (kind, synonym)}
    words |= {relation for relations in RELATIONS.values() for relation in relations}
    asked = names | words | {f"{name} {word}" for name in names for word in words}
    lines = []
    for query in sorted(asked):
        pages = [world.pages[hit.id] for hit in index.search(query, config.results)]
        request = service.identity(query)
        value = [[page.title, "", page.body] for page in pages]
        lines.append({"key": content_key("search", request), "kind": "search", "request": request, "value": value})
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (folder / "00000.jsonl").write_text(text)
    return len(Recording(folder, writable=False))


def texts(data: Path) -> list[str]:
    """The texts of the rehearsal's own files, for a tokenizer."""
    return [SYSTEM_PROMPT, *(path.read_text() for path in sorted(data.rglob("*.json*")))]


def messages(job: JobConfig) -> list[str]:
    """The first messages of some episodes of MiniHouse, for a tokenizer."""
    task = replace(job.task, world=STAND_IN)
    with world_of(task).open(replace(job, task=task), lambda question, answer: False) as opened:
        (environment,) = opened.environments(1)
        questions = opened.train_questions(24, 0)
        return [opened.form.prompt(environment.reset(question.task), []) for question in questions]


def write_model(folder: Path, texts: list[str], shape: dict) -> Path:
    """A random Qwen3 whose tokenizer is trained on `texts`."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = random_model.bpe_tokenizer(texts)
    return random_model.save(folder, tokenizer, random_model.qwen3(tokenizer, shape))
