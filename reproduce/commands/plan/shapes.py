"""How long a trajectory is: tokens of its prompts, its answers and its tool results, calls, training rows.

A world of ours is asked itself: scripted demonstrations, the ones of the warm start, show what a trajectory looks like
before any model is trained. For the public benchmarks the mean lengths are assumptions (`assumptions.py`). What runs of
the same table measured takes the place of both (`measured.py`).
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from reproduce.commands.plan.assumptions import ASSUMED, Assumptions
from reproduce.seeding import stream
from reproduce.worlds.alfworld.demonstrations import demonstrate as play_errand
from reproduce.worlds.messages import Turn
from reproduce.worlds.minihouse.environment import FOLDER, open_minihouse
from reproduce.worlds.minihouse.messages import MiniHouseForm, names_of

SHOWN = 120
"""Demonstrations that a shape is measured on."""


@dataclass(frozen=True)
class Shape:
    """Means over trajectories. prompt, answer, result: tokens of all prompts, of what is sampled, of tool results.

    rows: training rows, one per trajectory, or one per turn of an episode. calls: tool calls, or turns.
    """

    prompt: float
    answer: float
    result: float
    calls: float
    rows: float
    source: str

    @property
    def tokens(self) -> float:
        """Tokens of all rows of a trajectory."""
        return self.prompt + self.answer + self.result

    @property
    def length(self) -> float:
        """Tokens of a row at its end."""
        return self.tokens / self.rows


def shape_of(job, assume: Assumptions) -> Shape:
    """The shape before anything was measured: demonstrations in a world of ours, else the assumptions.

    A demonstrator solves its task, and an episode that fails lasts to the turn limit.
    """
    shown = demonstrated(job)
    if shown is None:
        return _assumed(job.task, assume)
    if job.task.episodes is None:
        return shown
    longer = 1 + assume("failing") * (job.task.max_tool_calls / shown.calls - 1)
    tokens = {name: getattr(shown, name) * longer for name in ("prompt", "answer", "calls", "rows")}
    return replace(shown, **tokens)


def demonstrated(job) -> Shape | None:
    """The shape of the warm start's demonstrations; None where there are none of ours."""
    made = job.model.name_or_path is None
    if made and job.task.episodes is not None and job.task.world == FOLDER.name:
        return _house(job.warm_start.noise, job.task.max_tool_calls, job.task.episodes.history)
    if made and job.task.episodes is None:
        return _web(job.task.world, tuple(job.task.families), job.warm_start.noise, job.task.max_tool_calls)
    return None


def _assumed(task, assume: Assumptions) -> Shape:
    if task.episodes is not None:
        turns = assume("turns") * task.max_tool_calls
        answer = min(assume("segment_tokens"), task.max_completion_tokens)
        return Shape(turns * assume("turn_prompt_tokens"), turns * answer, 0.0, turns, turns, ASSUMED)
    calls = assume("calls") * task.max_tool_calls
    answer, result = (calls + 1) * assume("segment_tokens"), calls * assume("result_tokens")
    kept = min(1.0, task.max_completion_tokens / (answer + result))  # the limit holds for both together
    return Shape(assume("prompt_tokens"), answer * kept, result * kept, calls, 1.0, ASSUMED)


@cache
def _web(world: str, families: tuple[str, ...], noise: float, max_calls: int) -> Shape:
    """Every word is a token there, so words are counted; one token begins a prompt and one ends an answer."""
    from reproduce.tools.sandbox import PythonSandbox
    from reproduce.worlds.miniweb.demonstrations import demonstrate
    from reproduce.worlds.miniweb.task import open_task

    with PythonSandbox(preload=False) as sandbox:
        task = open_task(families, world, sandbox, 0.0, 0.0)
        questions = task.train_questions(SHOWN, seed=0)
        shown = demonstrate(task.environment, questions, noise, max_calls, stream(0, "plan"))
    words = [[sum(len(text.split()) for text, own in d.pieces if own == mine) for mine in (True, False)] for d in shown]
    answer, result = np.mean(words, axis=0)
    prompt = np.mean([1 + len(task.prompt(question).split()) for question in questions])
    calls = np.mean([d.calls for d in shown])
    return Shape(float(prompt), float(answer) + 1, float(result), float(calls), 1.0, f"{SHOWN} demonstrations")


@cache
def _house(noise: float, turns: int, history: int) -> Shape:
    environment = open_minihouse()[0]
    form = MiniHouseForm(*names_of(environment.source), history)
    tasks = environment.tasks("train")
    prompts, answers, lengths = [], [], []
    for number, task in enumerate(tasks[:: max(1, len(tasks) // SHOWN)]):
        played, _ = play_errand(environment, task, stream(0, "plan", number), noise, turns)
        actions, past = [action for _, action in played], [Turn(step.text, action) for step, action in played]
        prompts.append(sum(1 + len(form.prompt(step, past[:i]).split()) for i, (step, _) in enumerate(played)))
        answers.append(sum(1 + len(form.response(action).split()) for action in actions))
        lengths.append(len(played))
    count = float(np.mean(lengths))
    source = f"{len(lengths)} demonstrations"
    return Shape(float(np.mean(prompts)), float(np.mean(answers)), 0.0, count, count, source)
