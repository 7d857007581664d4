"""Records of single groups, token by token: `tokens/<step:06d>.json.gz` of a run directory, one file per RL step.

A file is a `TokenRecord` as JSON. Log-probabilities and entropies are in nats at the sampling temperature, rounded to
five decimals; null stands for what is not known. A run writes them where `training.token_log` asks for it.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, field
from pathlib import Path
from typing import Literal

from pydantic.types import StrictFloat

from reproduce.config.strict import Count, Flag, Number, Whole, build, section
from reproduce.errors import UserError
from reproduce.runs import files

VERSION = 1
FOLDER = "tokens"
DECIMALS = 5
Values = list[StrictFloat | None]


@section
class BranchTest:
    """A branch test after a tool result.

    turn, token: the turn and the completion token that begin there. baseline: h of the path's first segment, that dH is
    measured from. entropy_change: dH, in nats / ln V. consecutive: l. probability: P. draw: from U(0, 1); a policy with
    the decision "threshold" draws it too, and compares P with its threshold. forked: the outcome.
    """

    turn: Whole
    token: Whole
    baseline: Number
    entropy_change: Number
    consecutive: Whole
    probability: Number
    draw: Number
    forked: Flag


@section
class RecordedPath:
    """One prompt's completion of T tokens. All lists have T entries, those of a shared prefix included.

    tokens, pieces: ids and text. sampled: False for tool results. turns: number of tool results before the token.
    logps, entropies: as the sampler measured them. trainer_logps, trainer_entropies: of the trainer's own pass before
    the first update. advantages: as the loss reads them. update_logps: of each update that trained on the row, in
    order, before the update.
    """

    tokens: list[Whole]
    pieces: list[str]
    sampled: list[Flag]
    turns: list[Whole]
    logps: Values
    entropies: Values
    advantages: Values
    trainer_logps: Values
    trainer_entropies: Values
    update_logps: list[Values]

    def problems(self):
        lists = {name: value for name, value in asdict(self).items() if name != "update_logps"}
        lists |= {f"update_logps[{i}]": value for i, value in enumerate(self.update_logps)}
        for name, value in lists.items():
            if len(value) != len(self.tokens):
                yield name, f"must have {len(self.tokens)} entries, one for each token, not {len(value)}"


@section
class RecordedTrajectory:
    """A trajectory and its place in the tree, as `rollouts.trajectory.Trajectory` has it.

    paths: one, or one per turn in a world of episodes. actions, results: of each turn that called a tool or played.
    opening, faults: of episodes, the first observation and what is wrong with each answer's format.
    """

    row: Whole
    parent: int
    branch_token: int
    branch_turn: int
    ended: str
    reward: Number
    correct: Flag
    format_ok: Flag
    answer: str | None
    opening: str
    actions: list[str]
    results: list[str]
    faults: list[str]
    tests: list[BranchTest]
    paths: list[RecordedPath]


@section
class RecordedGroup:
    """The trajectories of one question, in order of creation.

    initial: m, whole trajectories at the start. pilot: H_root and H_tool that m follows from (AEPO). rejected: dynamic
    sampling dropped the group, and its advantages are 0.
    """

    question_id: str
    family: str
    level: int
    prompt: str
    gold: str | None
    initial: Whole
    pilot: list[Number] | None
    rejected: Flag
    trajectories: list[RecordedTrajectory]

    def problems(self):
        for place, trajectory in enumerate(self.trajectories):
            if trajectory.row != place:
                yield f"trajectories[{place}].row", f"must be {place}, its place in the list"
            if not -1 <= trajectory.parent < place:
                yield f"trajectories[{place}].parent", "must be an earlier row, or -1"


@section
class TokenRecord:
    """Some groups of an RL step.

    policy: name and settings of the rollout policy. single_turns: every turn is a path (a world of episodes).
    """

    version: Literal[1]
    profile: str
    experiment: str
    method: str
    name: str
    seed: Whole
    step: Count
    steps: Count
    world: str
    temperature: Number
    clip_range: Values
    single_turns: Flag
    policy: dict = field(default_factory=dict)
    groups: list[RecordedGroup] = field(default_factory=list)


def rounded(values: Iterable[float]) -> Values:
    """Round numbers for a record; None for those that are not finite."""
    return [round(value, DECIMALS) if math.isfinite(value) else None for value in values]


def path_of(run: Path, step: int) -> Path:
    """Return the file of a step."""
    return run / FOLDER / f"{step:06d}.json.gz"


def write(run: Path, record: TokenRecord) -> None:
    """Write the record of a step into a run directory, in one piece."""
    text = json.dumps(asdict(record), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    path = path_of(run, record.step)
    path.parent.mkdir(exist_ok=True)
    files.write_bytes(path, gzip.compress(text.encode(), 9, mtime=0))


def steps_of(run: Path) -> list[int]:
    """List the recorded steps of a run directory."""
    names = (path.name.split(".")[0] for path in (run / FOLDER).glob("*.json.gz"))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read(path: Path) -> TokenRecord:
    """Read the record of a step.

    Raises:
        UserError: the file is missing, cut short, or not a record; the message names it and the key.
    """
    try:
        data = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): it is no token record, or was cut short") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} holds no JSON ({error}): it is no token record") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no JSON object: it is no token record")
    return build(TokenRecord, data, str(path))
