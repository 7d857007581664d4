"""`python -m reproduce bench`: speed as ratios against a named alternative, both sides in this process, one thread.

Three comparisons, each repetition of which times one side right after the other:

    rollout   sampled tokens per second of our agent loop and engine (independent rollouts) against the multi-turn path
              of TRL's own `GRPOTrainer` (`environment_factory`, its tool-calling loop around Transformers' generate).
              Same weights, questions, tools and limits, and the same tokens: TRL gets a chat template and a response
              template that spell a conversation in our tags, and the closing tool tags as end-of-sequence tokens.
    step      seconds of an RL step of `aepo` against one of `grpo`: two trainers from one warm start on the same
              questions take turns, step by step.
    sandbox   median time of a call of the Python tool, per backend, against a bare `subprocess` that starts Python (on
              a fixed program of ours; the Python tool itself never runs anything outside its sandbox).

A ratio is the left side over the right side, the median over repetitions; its smallest and largest value stand beside
it. Rows in CPU seconds count this process alone, so other work on the machine disturbs them less. The table goes to the
terminal, and with the machine's facts (no host name, no path) to `figures/bench.csv`.
"""

import argparse
import contextlib
import csv
import io
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from reproduce.errors import UserError
from reproduce.experiments.processes import ONE_THREAD
from reproduce.runs.manifest import ROOT, machine, versions

COMPARISONS = ("rollout", "step", "sandbox")
PROGRAM = "print ( max ( 17 , 25 ) + 3 )"
AIMS = {"rollout": (">=", 5.0), "step": ("<=", 1.2)}
"""What the headline ratio of a comparison aims at."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured. demonstrations: for the warm start, where none is cached."""

    prompts: int = 16
    group: int = 16
    repetitions: int = 5
    steps: int = 6
    calls: int = 100
    subprocesses: int = 20
    demonstrations: int = 6000


QUICK = Sizes(prompts=4, group=4, repetitions=2, steps=2, calls=10, subprocesses=3, demonstrations=1600)


@dataclass(frozen=True)
class Row:
    """One line of the table: `left` over `right` is `ratio`, the median over `repetitions` paired measurements."""

    comparison: str
    measure: str
    left_name: str
    left: float
    right_name: str
    right: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repetitions: int
    aim: str = ""
    met: str = ""
    note: str = ""


def paired(comparison: str, measure: str, left: tuple[str, list[float]], right: tuple[str, list[float]],
           headline: bool = False, note: str = "") -> Row:  # fmt: skip
    """The row of two equally long lists of measurements, paired by repetition.

    headline: the comparison's aim (`AIMS`) is about this row. Raises ValueError on lists of different or no length.
    """
    ratios = [a / b if b else float("nan") for a, b in zip(left[1], right[1], strict=True)]
    if not ratios:
        raise ValueError(f"{comparison}: nothing was measured")
    ratio = float(np.median(ratios))
    aim = met = ""
    if headline and comparison in AIMS:
        sign, bound = AIMS[comparison]
        aim = f"{sign} {bound:g}"
        met = "yes" if (ratio >= bound if sign == ">=" else ratio <= bound) else "no"
    return Row(
        comparison, measure, left[0], float(np.median(left[1])), right[0], float(np.median(right[1])), ratio,
        min(ratios), max(ratios), len(ratios), aim, met, note,
    )  # fmt: skip


# -- what both sides of a comparison share -----------------------------------------------------------------------------


@dataclass
class Setting:
    """The task, the weights and the settings of profile mini that the comparisons start from."""

    config: object
    task: object
    model: object
    grammar: object
    origin: str

    def copy_of_model(self):
        """The warm start's weights in a model of their own, in training mode."""
        import copy

        return copy.deepcopy(self.model).train()

    @property
    def limits(self):
        """The task's limits per trajectory."""
        from reproduce.rollouts.agent import Limits

        return Limits(self.config.task.max_tool_calls, self.config.task.max_completion_tokens)


def cached_warm_start(runs_root: Path, world) -> Path | None:
    """The newest warm start of profile mini below `runs_root` whose vocabulary is this world's, or None."""
    from transformers import PreTrainedTokenizerFast

    from reproduce.training.tiny_model import build_tokenizer

    vocabulary = build_tokenizer(world).get_vocab()
    found = [p.parent for p in (runs_root / "mini" / "warm_starts").glob("*/model.safetensors")]
    for folder in sorted((p for p in found if not p.suffix), key=lambda p: p.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError, ValueError):
            if PreTrainedTokenizerFast.from_pretrained(folder).get_vocab() == vocabulary:
                return folder
    return None


def setting(config, task, runs_root: Path, sizes: Sizes, scratch: Path, report: Callable) -> Setting:
    """Loads the cached warm start, or trains one briefly on `sizes.demonstrations` demonstrations."""
    from reproduce.rollouts.agent import Grammar, Limits
    from reproduce.rollouts.collector import Collector
    from reproduce.training.tiny_model import build_model, build_tokenizer
    from reproduce.training.warm_start import load_warm_start, train_warm_start

    folder = cached_warm_start(runs_root, task.environment.world)
    if folder is not None:
        model, grammar = load_warm_start(folder, "cpu", "float32")
        return Setting(config, task, model, grammar, f"warm start of profile mini, {folder.name}")
    tokenizer = build_tokenizer(task.environment.world)
    m = config.model
    model = build_model(
        len(tokenizer), config.warm_start.seed, hidden_size=m.hidden_size, num_layers=m.num_layers,
        num_heads=m.num_heads, num_kv_heads=m.num_kv_heads, intermediate_size=m.intermediate_size,
        pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id,
    )  # fmt: skip
    limits = Limits(config.task.max_tool_calls, config.task.max_completion_tokens)
    collector = Collector(task, model, Grammar(tokenizer), limits, config.training.temperature, config.warm_start.seed)
    brief = replace(
        config.warm_start, demonstrations=sizes.demonstrations, max_epochs=1, success_low=0.0, success_high=1.0
    )
    checks = train_warm_start(model, collector, brief, config.task.max_tool_calls, scratch / "warm_start", report)
    origin = (
        f"no cached warm start of profile mini; trained for this benchmark on {sizes.demonstrations} demonstrations, "
        f"format right in {checks[-1]['format_ok']:.0%}"
    )
    return Setting(config, task, model, Grammar(tokenizer), origin)


# -- rollouts: our engine against TRL's multi-turn path ----------------------------------------------------------------

CHAT_TEMPLATE = """
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{{ bos_token }} {{ message.content }}
  {%- elif message.role == 'tool' %} <result> {{ message.content }} </result>
  {%- else -%}
    {%- if message.content %} {{ message.content }}{% endif -%}
    {%- for call in message.tool_calls or [] %} <{{ call.function.name }}>
      {%- for key, value in call.function.arguments.items() -%}
        {%- if key != 'content' %} {{ key }}{% endif %} {{ value }}
      {%- endfor %} </{{ call.function.name }}>
    {%- endfor -%}
    {%- if not message.tool_calls %} {{ eos_token }}{% endif -%}
  {%- endif -%}
{%- endfor -%}
"""

_NOT_A_TAG = "(?!</?(?:search|python)>)"

RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"<bos>[^<]*|</result>",
    "fields": {
        "tool_calls": {
            "open_pattern": rf"<(?P<name>search|python)>\s*(?P<call>{_NOT_A_TAG}\S(?:{_NOT_A_TAG}.)*?)\s*</(?P=name)>",
            "repeats": True,
            "content": "text",
            "transform": {
                "type": "function",
                "function": {"name": "{name}", "arguments": {"content": "{call}"}},
            },
        },
        "content": {"close_pattern": r"<eos>", "content": "text"},
    },
}


@dataclass
class Sample:
    """What one repetition of one side did.

    seconds and cpu: of generation with tool calls, wall and CPU; seconds_scored: until log-probs are there, too.
    tokens, forced, calls: of all trajectories together; completions: token ids of each, forced ones included.
    """

    seconds: float
    cpu: float
    seconds_scored: float
    tokens: int
    forced: int
    calls: int
    completions: list[list[int]]

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""
        return len(self.completions)


def trl_tokenizer(grammar):
    """A copy of the tokenizer with a chat template and a response template in our tags."""
    import copy

    tokenizer = copy.deepcopy(grammar.tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


def trl_tools(task, questions: list, count: list[int]) -> type:
    """The class for TRL's `environment_factory`: one instance per trajectory, with the task's own tools.

    count: its only element is raised by every call.
    """
    from reproduce.tasks.prompts import escape_tags

    def call(session, tool: str, content: str) -> str:
        count[0] += 1
        return escape_tags(task.environment.run([task.call_type(session, tool, content)])[0].text)

    class Tools:
        def reset(self, index: int, **row) -> None:
            self._session = task.environment.start(questions[index])

        def search(self, content: str) -> str:
            """Search the pages, or open a hit.

            Args:
                content: Words to search for, or "page" and the number of a hit.
            """
            return call(self._session, "search", content)

        def python(self, content: str) -> str:
            """Run a program and return what it prints.

            Args:
                content: The program.
            """
            return call(self._session, "python", content)

    return Tools


def trl_side(setting: Setting, questions: list, k: int, folder: Path, greedy: bool = False) -> Callable[[int], Sample]:
    """A function that rolls out `k` trajectories per question by TRL alone; `questions` are the same every time."""
    from datasets import Dataset
    from trl import GRPOTrainer

    from reproduce.training.trainer import grpo_config

    class Timed(GRPOTrainer):
        """TRL's trainer with a clock around `_generate`, which prompts enter and finished trajectories leave."""

        def _generate(self, prompts):
            started, cpu = time.perf_counter(), time.process_time()
            output = super()._generate(prompts)
            self.seconds, self.cpu = time.perf_counter() - started, time.process_time() - cpu
            self.completion_ids, self.tool_mask = output[1], output[2]
            return output

    count = [0]
    training = replace(setting.config.training, prompts_per_step=len(questions), group_size=k, minibatches=1)
    arguments = grpo_config(folder, training, setting.limits.completion_tokens, seed=0)
    arguments.max_tool_calling_iterations = setting.limits.tool_calls
    arguments.top_k = 1 if greedy else 0
    model = setting.copy_of_model()
    model.generation_config.eos_token_id = [setting.grammar.eos_id, *setting.grammar.close]
    rows = [
        {"prompt": [{"role": "user", "content": setting.task.prompt(q)}], "index": i} for i, q in enumerate(questions)
    ]
    trainer = Timed(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=trl_tokenizer(setting.grammar),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        environment_factory=trl_tools(setting.task, questions, count),
    )  # fmt: skip
    trainer.model.train()

    def run(repetition: int) -> Sample:
        count[0] = 0
        started = time.perf_counter()
        trainer._generate_and_score_completions([row for row in rows for _ in range(k)])
        whole = time.perf_counter() - started
        tokens = sum(sum(mask) for mask in trainer.tool_mask)
        forced = sum(len(mask) for mask in trainer.tool_mask) - tokens
        return Sample(trainer.seconds, trainer.cpu, whole, tokens, forced, count[0], trainer.completion_ids)

    return run


def our_side(setting: Setting, questions: list, k: int, greedy: bool = False) -> Callable[[int], Sample]:
    """The same with our agent loop and engine; each repetition draws from its own stream."""
    from reproduce.rollouts.agent import AgentLoop
    from reproduce.rollouts.engines.transformers import TransformersEngine
    from reproduce.seeding import torch_stream

    task, grammar, model = setting.task, setting.grammar, setting.copy_of_model()
    bos = grammar.tokenizer.bos_token_id

    def run(repetition: int) -> Sample:
        engine = TransformersEngine(
            model, list(grammar.close), grammar.eos_id, setting.config.training.temperature,
            torch_stream(0, "bench", repetition), greedy=greedy,
        )  # fmt: skip
        loop = AgentLoop(engine, task.environment, task.call_type, grammar, setting.limits)
        started, cpu = time.perf_counter(), time.process_time()
        rollout = loop.rollout(questions, [[bos, *grammar.encode(task.prompt(q))] for q in questions], k)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        paths = [t.path for group in rollout.groups for t in group]
        forced = sum(p.length for p in paths) - rollout.sampled_tokens
        completions = [p.completion for p in paths]
        return Sample(seconds, cpu, seconds, rollout.sampled_tokens, forced, rollout.tool_calls, completions)

    return run


def rollout_rows(setting: Setting, sizes: Sizes, folder: Path, report: Callable) -> list[Row]:
    """Tokens per second of both sides, and what shows that they did the same work.

    One repetition of each comes first and is not counted: it warms up both and fills the environment's record of
    searches and program outputs, so tools cost next to nothing on either side. Raises UserError if a side made no tool
    call at all: then there was no multi-turn rollout to time.
    """
    questions = setting.task.panel("validation", sizes.prompts)
    sides = {
        "ours": our_side(setting, questions, sizes.group),
        "TRL": trl_side(setting, questions, sizes.group, folder / "trl"),
    }
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for repetition in range(sizes.repetitions + 1):
        for name, run in sides.items():
            sample = run(repetition)
            if repetition:
                samples[name].append(sample)
        report("rollout: ours against TRL", repetition + 1, sizes.repetitions + 1)
    for name, taken in samples.items():
        if not any(s.calls for s in taken):
            raise UserError(f"bench: no tool call happened on the side of {name}; run `make reproduce-table2` first")

    def row(measure: str, value: Callable[[Sample], float], headline: bool = False, note: str = "") -> Row:
        left, right = ((name, [value(s) for s in taken]) for name, taken in samples.items())
        return paired("rollout", measure, left, right, headline, note)

    return [
        row("sampled tokens per second", lambda s: s.tokens / s.seconds, True, "TRL: generation and tool loop only"),
        row("the same per CPU second", lambda s: s.tokens / s.cpu),
        row(
            "per second, log-probs included", lambda s: s.tokens / s.seconds_scored,
            note="TRL: and its forward pass for log-probs; ours come with sampling, entropies too",
        ),
        row("sampled tokens per trajectory", lambda s: s.tokens / s.trajectories, note="equal work: about 1"),
        row("forced tokens per trajectory", lambda s: s.forced / s.trajectories, note="equal work: about 1"),
        row("tool calls per trajectory", lambda s: s.calls / s.trajectories, note="equal work: about 1"),
    ]  # fmt: skip


# -- RL steps: aepo against grpo ---------------------------------------------------------------------------------------


class _Stopped(Exception):
    """Ends a trainer's thread early."""


class Turns:
    """A trainer that runs in its own thread and holds after every RL step until it is told to go on.

    It stands in for the run directory (`checkpoints`, `write_step`, `progress`), so the training loop is the real one.
    make(run): builds the trainer; `step()`: lets it make one RL step and returns (seconds, metrics) of that step.
    """

    def __init__(self, make: Callable, checkpoints: Path):
        self.checkpoints = checkpoints
        self._go, self._done = threading.Semaphore(0), queue.Queue()
        self._stopping = False
        self._trainer = make(self)
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        import torch

        torch.set_num_threads(1)
        try:
            self._wait()
            self._trainer.train()
        except _Stopped:
            return
        except BaseException as error:  # goes on in `step`, in the thread that asked
            self._done.put(error)

    def _wait(self) -> None:
        self._go.acquire()
        if self._stopping:
            raise _Stopped

    def write_step(self, step: int, metrics: dict, rollouts, seconds: dict) -> None:
        """Called by the trainer at the end of each RL step."""
        self._done.put((seconds, metrics))
        self._wait()

    def progress(self, stage: str, step: int, total: int) -> None:
        """Called by the trainer; the benchmark has its own display."""

    def step(self) -> tuple[dict, dict]:
        """One RL step: seconds {"rollout", "train"} and the step's metrics."""
        self._go.release()
        result = self._done.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Ends the thread."""
        self._stopping = True
        self._go.release()
        self._thread.join(timeout=60)


def make_trainer(setting: Setting, method: str, sizes: Sizes, run: Turns):
    """The trainer of `run_job` for `method`, on the questions that every method gets."""
    from datasets import Dataset
    from transformers import PrinterCallback

    from reproduce.algorithms import load
    from reproduce.rollouts.collector import Collector
    from reproduce.training.trainer import AgenticTrainer, grpo_config

    config, task, model = setting.config, setting.task, setting.copy_of_model()
    training = replace(
        config.training, prompts_per_step=sizes.prompts, group_size=sizes.group, steps=sizes.steps + 2,
        checkpoint_every=sizes.steps + 2,
    )  # fmt: skip
    algorithm = load(method)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(config.entropy_tokens))
    questions = task.train_questions(training.steps * training.prompts_per_step, seed=0)
    rows = [{"prompt": task.prompt(question), "index": i} for i, question in enumerate(questions)]
    trainer = AgenticTrainer(
        algorithm=algorithm, questions=questions, run=run, entropy_tokens=config.entropy_tokens, model=model,
        collector=Collector(task, model, setting.grammar, setting.limits, training.temperature, seed=0),
        processing_class=setting.grammar.tokenizer, train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, training, setting.limits.completion_tokens, seed=0),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def step_rows(setting: Setting, sizes: Sizes, folder: Path, report: Callable) -> list[Row]:
    """Seconds of an RL step of aepo over one of grpo. The first step of each warms up and is not counted."""
    methods = ("aepo", "grpo")
    seconds: dict[str, list[dict]] = {method: [] for method in methods}
    metrics: dict[str, list[dict]] = {method: [] for method in methods}
    with contextlib.ExitStack() as stack:
        turns = {}
        for method in methods:
            turns[method] = Turns(lambda run, m=method: make_trainer(setting, m, sizes, run), folder / method)
            stack.callback(turns[method].close)
        for step in range(sizes.steps + 1):
            for method in methods if step % 2 else reversed(methods):
                cpu = time.process_time()
                took, measured = turns[method].step()
                if step:
                    seconds[method].append({**took, "cpu": time.process_time() - cpu})
                    metrics[method].append(measured)
            report("step: aepo against grpo", step + 1, sizes.steps + 1)

    def row(measure: str, value: Callable[[dict, dict], float], headline: bool = False, note: str = "") -> Row:
        left, right = ((m, [value(s, x) for s, x in zip(seconds[m], metrics[m], strict=True)]) for m in methods)
        return paired("step", measure, left, right, headline, note)

    return [
        row("seconds, rollout and training", lambda s, m: s["rollout"] + s["train"], True),
        row("CPU seconds of the same", lambda s, m: s["cpu"]),
        row("seconds, rollout", lambda s, m: s["rollout"], note="aepo: a pilot per question first, then the trees"),
        row("seconds, training", lambda s, m: s["train"]),
        row("sampled tokens", lambda s, m: m["sampled_tokens"], note="aepo: pilots included, shared prefixes once"),
        row("trained tokens", lambda s, m: m["trained_tokens"]),
    ]


# -- the Python tool ---------------------------------------------------------------------------------------------------


def sandbox_rows(sizes: Sizes, report: Callable) -> list[Row]:
    """Milliseconds of a call, per backend that works here, over those of starting Python in a bare subprocess.

    A repetition is the median (p50) of its share of the calls, one at a time, after a first call that is not counted.
    """
    from reproduce.tasks.sandbox import BACKENDS, PythonSandbox
    from reproduce.tasks.sandbox.probe import reason_against

    command = [sys.executable, "-I", "-c", PROGRAM]

    def bare() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    rows = []
    measure, other = "milliseconds per call, p50", "bare subprocess"
    rounds = min(5, sizes.subprocesses)
    for number, backend in enumerate(BACKENDS, start=1):
        reason = reason_against(backend)
        if reason is None:
            with PythonSandbox(workers=1, backend=backend.name, preload=False) as sandbox:
                if sandbox.run(PROGRAM).output.strip() != bare().strip():
                    raise UserError(f"bench: the sandbox {backend.name} prints something else than Python itself")
                warm, cold = [], []
                for _ in range(rounds):
                    warm.append(_p50(lambda s=sandbox: s.run(PROGRAM), sizes.calls // rounds))
                    cold.append(_p50(bare, sizes.subprocesses // rounds))
            rows.append(paired("sandbox", measure, (backend.name, warm), (other, cold)))
        else:
            nan = float("nan")
            note = f"not available here: {' '.join(reason.split())}"
            rows.append(Row("sandbox", measure, backend.name, nan, other, nan, nan, nan, nan, 0, note=note))
        report("sandbox against a bare subprocess", number, len(BACKENDS))
    return rows


def _p50(call: Callable, count: int) -> float:
    """Median milliseconds of `count` calls, at least one."""
    times = []
    for _ in range(max(1, count)):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


# -- the command -------------------------------------------------------------------------------------------------------


def measure(comparisons: list[str], sizes: Sizes, runs_root: Path, report: Callable) -> tuple[list[Row], str]:
    """The rows of the comparisons, in order, and where the weights came from ("" if none were needed).

    report(stage, done, total) is called as the work goes on.
    """
    import torch

    from reproduce.experiments.config import TableConfig
    from reproduce.tasks.sandbox import PythonSandbox
    from reproduce.tasks.suite import open_task

    rows: list[Row] = []
    origin = ""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if set(comparisons) - {"sandbox"}:
            config = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0]
            with tempfile.TemporaryDirectory() as name, PythonSandbox(preload=False) as sandbox, _quiet():
                t = config.task
                task = open_task(t.family, t.world, sandbox, t.format_penalty, t.tool_bonus)
                made = setting(config, task, runs_root, sizes, Path(name), report)
                origin = made.origin
                if "rollout" in comparisons:
                    rows += rollout_rows(made, sizes, Path(name), report)
                if "step" in comparisons:
                    rows += step_rows(made, sizes, Path(name), report)
        if "sandbox" in comparisons:
            rows += sandbox_rows(sizes, report)
    finally:
        torch.set_num_threads(threads)
    return rows, origin


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the trainers' own lines and warnings off the terminal; errors still come out as exceptions."""
    import warnings

    from transformers.utils import logging

    before = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def write_csv(path: Path, rows: list[Row], origin: str, quick: bool) -> None:
    """One line per row, with the machine and the versions behind it; replaces the file in one step."""
    facts = machine()
    known = versions()
    behind = {
        "weights": origin, "quick": quick, "threads": 1, "cpu": facts["cpu"], "cores": facts["cores"],
        "memory_gb": facts["memory_gb"],
        **{name: known[name] for name in ("python", "torch", "trl", "transformers")},
    }  # fmt: skip
    names = [field.name for field in fields(Row)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [*names, *behind], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {name: getattr(row, name) for name in names}
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in cells.items()} | behind)
    os.replace(temporary, path)


def show(console, rows: list[Row], origin: str) -> None:
    """Prints the table, the weights' origin and the machine."""
    from rich.markup import escape
    from rich.table import Table

    title = "Speed as ratios: left over right, median \\[smallest, largest] of paired repetitions"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for name in ("left", "right", "ratio", "aim"):
        table.add_column(name, justify="right", no_wrap=True)
    section = None
    for row in rows:
        if section != (section := (row.comparison, row.left_name, row.right_name)):
            table.add_section()
            table.add_row(f"[bold]{row.comparison}: {row.left_name} / {row.right_name}[/bold]", "", "", "", "")
        values = ["-", "-", "-"] if row.repetitions == 0 else [
            _number(row.left), _number(row.right),
            f"{row.ratio:.2f} \\[{row.ratio_low:.2f}, {row.ratio_high:.2f}]",
        ]  # fmt: skip
        note = f"\n[dim]{escape(row.note)}[/dim]" if row.note else ""
        table.add_row(row.measure + note, *values, f"{row.aim}: {row.met}" if row.aim else "")
    console.print(table)
    if origin:
        console.print(f"weights: {origin}", highlight=False)
    facts = machine()
    console.print(f"machine: {facts['cpu']}, {facts['cores']} cores, one thread", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="python -m reproduce bench",
        description="Compare speed with a named alternative in one run: our rollouts with TRL's own multi-turn path, "
        "an RL step of aepo with one of grpo, a sandboxed Python call with a bare subprocess. One thread, under three "
        "minutes.",
    )
    made.add_argument(
        "--only", default=",".join(COMPARISONS), metavar="NAMES",
        help="comparisons to run, of %(default)s (default: all)",
    )  # fmt: skip
    made.add_argument(
        "--runs-root", type=Path, default=Path("runs"),
        help="where profile mini may have a warm start; without one, a brief one is trained (default: %(default)s)",
    )  # fmt: skip
    made.add_argument(
        "--out", type=Path, default=ROOT / "figures" / "bench.csv",
        help="CSV file to write (default: figures/bench.csv)",
    )  # fmt: skip
    made.add_argument(
        "--quick", action="store_true", help="small sizes, to see that everything runs; the ratios mean little then"
    )
    return made


def main(argv: list[str]) -> int:
    """Runs the benchmark with the command line's words; 0 when everything was measured, whatever the ratios are.

    Raises UserError on an unknown comparison and where the Python tool has no sandbox.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ONE_THREAD.items()})
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    options = parser().parse_args(argv)
    asked = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in asked if name not in COMPARISONS]
    if unknown or not asked:
        raise UserError(f"bench --only: {options.only!r} names no comparison; choose of {', '.join(COMPARISONS)}")
    counter = TextColumn("{task.completed}/{task.total}")
    columns = TextColumn("{task.description}"), BarColumn(), counter, TimeElapsedColumn()
    display = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False)
    bars: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = display.add_task(stage, total=total)
        display.update(bars[stage], completed=done, total=total)

    with display:
        rows, origin = measure(asked, QUICK if options.quick else Sizes(), options.runs_root, report)
    console = Console()
    show(console, rows, origin)
    write_csv(options.out, rows, origin, options.quick)
    console.print(f"written: {os.path.relpath(options.out)}", highlight=False)
    return 0
