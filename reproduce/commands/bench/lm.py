"""A pretrained model: rollouts, passes and whole RL steps against TRL's own multi-turn path, and how time grows.

Both sides train with GRPO on one group in two mini-batches, so that TRL needs the old log-probs and passes every row
twice, once without gradient. Each row of the table stands beside the positions that were passed, the arithmetic that
they need (`training.flops`) and the share of the machine's matrix multiplication that this makes.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from datasets import Dataset
from rich.console import Console
from rich.progress import track
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from reproduce.algorithms import load
from reproduce.commands.bench.lm_setting import LmSetting, PrescribedHost, Question, Shape, prescribe
from reproduce.commands.bench.rollouts import Timed, counted, trl_tokenizer
from reproduce.commands.bench.rows import Measurement, paired
from reproduce.commands.bench.steps import Steps
from reproduce.config.tables import TableConfig
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.trajectory import Limits
from reproduce.training.batch_tensors import padded
from reproduce.training.layout import Layout
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config

MINIBATCHES = 2
WHOLE = Shape(prompt=384, group=8, calls=2, segment=24, result=48)
"""A system prompt with two tools has some 400 tokens; segments and results are short, for time."""
SMALL = Shape(prompt=128, group=4, calls=2, segment=12, result=24)
"""What grows, and what `--quick` measures."""
GROWTH = {"group": (2, 4, 8), "calls": (1, 2, 4), "prompt": (128, 256, 512)}
WARM = Shape(prompt=16, group=2, calls=1, segment=4, result=4)


@dataclass
class Work:
    """One side of an RL step: seconds of sampling, of training (old log-probs, passes, AdamW) and of both.
    positions: passed in sampling and in training. sampled: tokens. operations: arithmetic of both parts.
    """

    rollout: float
    train: float
    sampled: int
    rollout_positions: int
    train_positions: int
    rollout_operations: float
    train_operations: float

    @property
    def step(self) -> float:
        """Seconds of the step."""
        return self.rollout + self.train


class Clock(TrainerCallback):
    """Seconds from the first update's beginning, sampling included, to the last one's end."""

    def on_step_begin(self, args, state, control, **kwargs):
        self.started = getattr(self, "started", time.perf_counter())

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self.started


def peak() -> float:
    """Operations per second of a float32 matrix multiplication, the best of five."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return 2 * 1024**3 / min(times[1:])


def training_of(shape: Shape):
    """A config's section `training` of one RL step."""
    training = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0].training
    sizes = dict(steps=1, prompts_per_step=1, group_size=shape.group, epochs=1, minibatches=MINIBATCHES)
    return replace(training, **sizes, learning_rate=1e-6, shared_prefixes=True)


def arguments_of(shape: Shape, folder: Path):
    """TRL's config of both sides. No checkpoint is written."""
    found = grpo_config(folder, training_of(shape), shape.completion, seed=0)
    found.save_strategy = SaveStrategy.NO
    return found


class TrlTools:
    """The class for TRL's `environment_factory`; `pages` is set on a subclass."""

    pages = None

    def reset(self, **row) -> None:
        """Nothing to begin with."""

    def search(self, content: str) -> str:
        """Search the pages.

        Args:
            content: Words to search for.
        """
        return self.pages.run([content])[0].text


class TrlTrainer(Timed):
    """TRL's trainer with a clock around its sampling, whose positions are kept apart from those of training."""

    def _generate(self, prompts):
        before = self.model.forwarded
        output = super()._generate(prompts)
        self.model.forwarded = before
        return output


def trl_trainer(setting: LmSetting, shape: Shape, folder: Path) -> TrlTrainer:
    """TRL's own trainer on trajectories of a shape."""
    pages, model = setting.pages(shape), counted(setting.copy_of_model())
    arguments = arguments_of(shape, folder)
    arguments.max_tool_calling_iterations = shape.calls + 1
    stops = [setting.grammar.eos_id, setting.tag("</search>")]
    model.generation_config.eos_token_id = stops
    prescribe(model, setting, shape)
    rewards: list[float] = [0.0, 1.0]
    trainer = TrlTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": pages.prompt(None)}]}]),
        processing_class=trl_tokenizer(setting.grammar),
        reward_funcs=lambda completions, **columns: (rewards * len(completions))[: len(completions)],
        environment_factory=type("Tools", (TrlTools,), {"pages": pages}),
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.pages = pages
    return trainer


def our_trainer(setting: LmSetting, shape: Shape, folder: Path, method: str = "grpo") -> AgenticTrainer:
    """Ours, with shared prefixes."""
    pages, model = setting.pages(shape), counted(setting.copy_of_model())
    limits = Limits(shape.calls + 1, shape.completion)
    host = PrescribedHost(setting, shape)
    trainer = AgenticTrainer(
        algorithm=load(method),
        questions=[Question()],
        run=Steps(folder),
        entropy_tokens=6,
        model=model,
        collector=Collector(pages, model, setting.grammar, limits, 1.0, 0, host),
        processing_class=setting.grammar.tokenizer,
        train_dataset=Dataset.from_list([{"prompt": pages.prompt(None), "index": 0}]),
        args=arguments_of(shape, folder),
        measure_kl=False,
        layout=Layout.SHARED,
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.pages = pages
    return trainer


def trl_step(setting: LmSetting, shape: Shape, folder: Path) -> Work:
    """One RL step of TRL's trainer."""
    trainer = trl_trainer(setting, shape, folder)
    trainer.train()
    scored = sum(map(len, trainer.completion_ids))
    sampled, m = sum(map(sum, trainer.tool_mask)), setting.arithmetic
    _called(trainer.pages, shape.group * shape.calls)
    positions = trainer.model.forwarded
    once = positions / 2  # old log-probs without gradient, then with it
    return Work(
        rollout=trainer.took[0],
        train=_clock(trainer).seconds - trainer.took[0],
        sampled=sampled,
        rollout_positions=trainer.forwarded,
        train_positions=positions,
        rollout_operations=m.forward(trainer.forwarded, sampled, shape.row),
        train_operations=4 * m.forward(once, scored, shape.row),
    )


def our_step(setting: LmSetting, shape: Shape, folder: Path) -> Work:
    """One RL step of ours."""
    trainer = our_trainer(setting, shape, folder)
    sampling: list[float] = []
    collect = trainer.collect_batch

    def timed(indices):
        started, trainer.model.forwarded = time.perf_counter(), 0
        output = collect(indices)
        sampling[:] = time.perf_counter() - started, trainer.model.forwarded
        trainer.model.forwarded = 0
        return output

    trainer.collect_batch = timed
    trainer.train()
    m, metrics = setting.arithmetic, trainer.run[-1]
    sampled, (rollout, passed) = int(metrics["sampled_tokens"]), sampling
    _called(trainer.pages, shape.group * shape.calls)
    return Work(
        rollout=rollout,
        train=_clock(trainer).seconds - rollout,
        sampled=sampled,
        rollout_positions=passed,
        train_positions=trainer.model.forwarded,
        rollout_operations=m.forward(passed, sampled, shape.row),
        train_operations=3 * m.forward(trainer.model.forwarded, sampled, shape.row),
    )


def _called(pages, expected: int) -> None:
    if pages.calls != expected:
        raise RuntimeError(f"bench: {pages.calls} tool calls where {expected} are prescribed")


def _clock(trainer) -> Clock:
    return next(one for one in trainer.callback_handler.callbacks if isinstance(one, Clock))


# -- trees -------------------------------------------------------------------------------------------------------------


def tree_batch(shape: Shape, vocabulary: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of an AEPO group: half of the rows are roots, each of the others forks after the first result of one.

    Random token ids, so that nothing is shared by chance. Rewards alternate.
    """
    draw = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> list[int]:
        return torch.randint(10, vocabulary - 10, (count,), generator=draw).tolist()

    part = shape.segment + shape.result
    length, fork = (shape.calls + 1) * shape.segment + shape.calls * shape.result, min(1, shape.calls) * part
    roots = [tokens(length) for _ in range(-(-shape.group // 2))]
    rows = [*roots, *([*root[:fork], *tokens(length - fork)] for root in roots)][: shape.group]
    forced = [int(at % part < shape.segment or at >= shape.calls * part) for at in range(length)]
    advantages = torch.tensor([1.0 if row % 2 else -1.0 for row in range(len(rows))])
    return {
        "prompt_ids": torch.tensor([tokens(shape.prompt)]).repeat(len(rows), 1),
        "prompt_mask": torch.ones(len(rows), shape.prompt, dtype=torch.int64),
        "completion_ids": padded(rows, "cpu"),
        "completion_mask": torch.ones(len(rows), length, dtype=torch.int64),
        "tool_mask": torch.tensor([forced]).repeat(len(rows), 1),
        "advantages": advantages,
        "rollout_entropies": torch.ones(len(rows), length),
    }


def tree_passes(setting: LmSetting, shape: Shape, folder: Path) -> dict[str, Callable[[], dict]]:
    """Side -> the passes of one tree: seconds, positions and operations, those of TRL's old log-probs included."""
    batch = tree_batch(shape, len(setting.grammar.tokenizer))
    scored, rows = int(batch["tool_mask"].sum()), shape.group // MINIBATCHES
    parts = [
        {name: value[start : start + rows] for name, value in batch.items()} for start in range(0, shape.group, rows)
    ]
    m = setting.arithmetic

    def trl() -> dict:
        trainer = trl_trainer(setting, shape, folder)
        trainer.current_gradient_accumulation_steps = 1
        model, started = trainer.model.train(), time.perf_counter()
        for part in parts:
            ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
            with torch.no_grad():
                old = trainer._get_per_token_logps_and_entropies(
                    model, ids, torch.ones_like(ids), part["completion_ids"].shape[1], rows
                )[0]
            loss = trainer._compute_loss(
                model, part | {"old_per_token_logps": old, "num_items_in_batch": torch.tensor(scored)}
            )
            loss.backward()
        seconds, once = time.perf_counter() - started, model.forwarded / 2
        return dict(seconds=seconds, positions=model.forwarded, operations=4 * m.forward(once, scored, shape.row))

    def ours() -> dict:
        trainer = our_trainer(setting, shape, folder)
        trainer.high_entropy = 1.0
        trainer.state.max_steps = MINIBATCHES
        model, started = trainer.model.train(), time.perf_counter()
        for part in parts:
            inputs = part | {"old_per_token_logps": torch.zeros(part["completion_ids"].shape)}
            inputs["advantages"] = part["advantages"][:, None].expand(part["completion_ids"].shape)
            with trainer.passes.attending(model):
                trainer.loss_on(model, inputs).backward()
        seconds = time.perf_counter() - started
        operations = 3 * m.forward(model.forwarded, scored, shape.row)
        return dict(seconds=seconds, positions=model.forwarded, operations=operations)

    return {"TRL": trl, "ours": ours}


# -- rows of the table -------------------------------------------------------------------------------------------------


def lm_rows(quick: bool, setting: LmSetting) -> Iterator[Measurement]:
    """All rows. quick: the small shape once, and no growth."""
    shape, repetitions = (SMALL, 1) if quick else (WHOLE, 2)
    with tempfile.TemporaryDirectory() as scratch:
        sides = {"TRL": partial(trl_step, setting), "ours": partial(our_step, setting)}
        run = partial(_in_turn, folder=Path(scratch))
        run("warm-up", sides, WARM, 1)
        works = run("lm: an RL step", sides, shape, repetitions)
        top = peak()
        yield from _step_rows(works, shape, top)
        folder = Path(scratch)
        passes = {name: [] for name in sides}
        for repetition in track(range(repetitions), "lm: a tree", console=Console(stderr=True)):
            made = tree_passes(setting, shape, folder)
            for name in list(made)[:: 1 if repetition % 2 else -1]:
                passes[name].append(made[name]())
                gc.collect()
        yield from _pass_rows(passes, top)
        grown = cache(lambda shape: run(f"lm: {shape}", sides, shape, 1))
        for what, values in {} if quick else GROWTH.items():
            for value in values:
                taken = grown(replace(SMALL, **{what: value}))
                yield paired("lm growth", f"seconds of an RL step, {what} {value}", taken, value=lambda w: w.step)


def _in_turn(title: str, sides: dict, shape: Shape, repetitions: int, folder: Path) -> dict[str, list[Work]]:
    """As `rows.in_turn`, with every repetition counted, since one takes minutes."""
    taken = {name: [] for name in sides}
    for repetition in track(range(repetitions), title, console=Console(stderr=True)):
        for name in list(sides)[:: 1 if repetition % 2 else -1]:
            taken[name].append(sides[name](shape, folder))
            gc.collect()
    return taken


def _step_rows(works: dict[str, list[Work]], shape: Shape, top: float) -> Iterator[Measurement]:
    said = (
        f"one group of {shape.group}, prompt {shape.prompt}, {shape.calls} calls, segments of {shape.segment}, results "
        f"of {shape.result} tokens; matrix multiplication reaches {top / 1e9:.0f} GFLOP/s"
    )
    ours_first = {name: works[name] for name in ("ours", "TRL")}
    row = partial(paired, "lm rollout", taken=ours_first)
    yield row("sampled tokens per second", headline=True, note=said, value=lambda w: w.sampled / w.rollout)
    for part in ("rollout", "train"):
        if part == "train":
            row = partial(paired, "lm pass", taken=works)
            note = "GRPO group; old log-probs on TRL's side, AdamW on both"
            yield row("seconds of training", headline=True, note=note, value=lambda w: w.train)
        yield from _work_rows(row, part, top)
    yield paired("lm step", "seconds of an RL step", works, True, value=lambda w: w.step)


def _work_rows(row, part: str, top: float) -> Iterator[Measurement]:
    positions, operations = (lambda w, kind=kind: getattr(w, f"{part}_{kind}") for kind in ("positions", "operations"))
    yield row("positions passed", value=positions)
    yield row("arithmetic they need, TFLOP", value=lambda w: operations(w) / 1e12)
    yield row("share of matrix multiplication", value=lambda w: operations(w) / getattr(w, part) / top)


def _pass_rows(passes: dict[str, list[dict]], top: float) -> Iterator[Measurement]:
    row = partial(paired, "lm tree", taken=passes)
    yield row(
        "seconds of training", headline=True, note="AEPO tree: half of the rows fork off", value=lambda p: p["seconds"]
    )
    yield row("positions passed", value=lambda p: p["positions"])
    yield row("arithmetic they need, TFLOP", value=lambda p: p["operations"] / 1e12)
    yield row("share of matrix multiplication", value=lambda p: p["operations"] / p["seconds"] / top)
