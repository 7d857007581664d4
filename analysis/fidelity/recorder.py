"""The real batch that `analysis/fidelity/batch.py` measures on: what one RL step of a mini run trained on.

    python -m analysis.fidelity.recorder [--runs-root runs] [--out data/fidelity]

AEPO with its published setting trains from table 2's warm start (which is trained first if it is not there). Of RL step
`STEP`, what losses and rollout policies read is kept, under the policy that sampled, under the policy as the step's
last update sees it, and under the warm start. The same seed and warm start give the same numbers. Columns:
`schema.py`; `batch.json` says how the files were made.
"""

import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import torch
from datasets import Dataset

from analysis.fidelity.schema import ALL_ENTROPIES, BATCH_SCHEMA, TESTS_SCHEMA
from reproduce.algorithms import load
from reproduce.algorithms.parts import ReleasedAEPORollout
from reproduce.algorithms.parts.entropy_history import EntropyHistory
from reproduce.arguments import Parser, folder
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.collector import Batch, Collector
from reproduce.rollouts.tensors import rollout_tensors
from reproduce.rollouts.trajectory import Limits, Trajectory
from reproduce.runs import files
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import ROOT, config_hash, versions, warm_start_hash
from reproduce.seeding import child_seed
from reproduce.tools.sandbox import PythonSandbox
from reproduce.training.prepare import prepare_warm_start
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config
from reproduce.training.warm_start import load_warm_start
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.rewards import model_text
from reproduce.worlds.tags import PYTHON_CLOSE, PYTHON_OPEN, SEARCH_CLOSE, SEARCH_OPEN, TAGS

STEP = 4
PROMPTS = 8  # half of mini's, so that the files stay small
LIKELIEST = 10  # log-probs that the released rollouts ask the engine for
_TAG = re.compile("|".join(TAGS))


class Recorder(AgenticTrainer):
    """A trainer that keeps what RL step `record_step` trained on in `rows`, `tests` and `history`.

    It changes nothing of the training: it only runs further forward passes, and rollouts from streams of their own.
    """

    def __init__(self, *, record_step: int, **kwargs):
        super().__init__(**kwargs)
        self.record_step = record_step
        self.past = EntropyHistory(self.collector.limits.tool_calls + 1)
        self.first_batch: dict[int, float] = {}
        self.rows: list[dict] = []
        self.tests: list[dict] = []
        self.sampler_gap = 0.0  # nats; largest difference of the sampler's log-probabilities from a forward pass

    def collect_batch(self, indices):
        output = super().collect_batch(indices)
        if self.rl_step <= self.record_step:
            mask_BT = self.loss_mask(output)
            turns_BT = rollout_tensors(self.batch, ("turns_BT",), mask_BT.shape[1], mask_BT.device)["turns_BT"]
            self.past.measure(output["rollout_entropies"], turns_BT, mask_BT)
        if self.rl_step == 1:
            self.first_batch = {t.index: first_height(t, self) for t in trajectories(self.batch)}
        if self.rl_step in (1, self.record_step):
            self.tests = self._released_tests([self.questions[index] for index in indices])
        if self.rl_step == self.record_step:
            self.rows = sampled_rows(self)
            with self.reference.policy() as start:
                self._add_pass(start, {"ref_logp": "logp"})
        elif self.rl_step < self.record_step:
            self.past.append()
        return output

    def loss_on(self, model, inputs):
        if self.state.global_step == self.record_step * self.updates_per_step - 1:  # the last update of the step
            names = ("logp", "entropy", "score_square", "score_slope", "slope_square")
            self._add_pass(self.model, {name: name for name in names})
        return super().loss_on(model, inputs)

    def _add_pass(self, model, names: dict[str, str]) -> None:
        """Columns name -> statistic of `token_statistics` under `model`, for every row."""
        for row, trajectory in zip(self.rows, trajectories(self.batch), strict=True):
            found = token_statistics(model, trajectory, self.temperature)
            keep = torch.tensor(trajectory.path.sampled)
            row |= {name: found[statistic][keep].tolist() for name, statistic in names.items()}

    def _released_tests(self, questions: list) -> list[dict]:
        """The branch tests of the released rollout, with the penalty counted as released and as in the paper."""
        made = []
        for per_prompt in (True, False):
            policy = Watched(penalty_per_prompt=per_prompt, entropy_tokens=self.entropy_tokens)
            purpose = ("fidelity", per_prompt, self.rl_step)
            self.collector.sample(questions, self.num_generations, purpose, policy)
            made += [{"penalty_per_prompt": per_prompt, **test} for test in policy.tests]
        return made


@dataclass(frozen=True)
class Watched(ReleasedAEPORollout):
    """The released rollout policy; it writes its branch tests into `tests`."""

    tests: list[dict] = field(default_factory=list)

    def branch(self, entropy_change: float, consecutive: int, uniform: float) -> bool:
        passed = super().branch(entropy_change, consecutive, uniform)
        self.tests.append({"entropy_change": entropy_change, "in_a_row": consecutive, "passed": passed})
        return passed


def trajectories(batch: Batch) -> list[Trajectory]:
    """In the order of the trainer's rows."""
    return [group.trajectories[i] for _, group, i in batch.rows()]


def first_height(trajectory: Trajectory, trainer: AgenticTrainer) -> float:
    """h of the first segment: the entropies of its first tokens, summed, over ln V."""
    entropies = trajectory.segment_entropies()[0][: trainer.entropy_tokens]
    return sum(entropies) / trainer.collector.grammar.log_vocabulary


@torch.no_grad()
def token_statistics(model, trajectory: Trajectory, temperature: float) -> dict[str, torch.Tensor]:
    """name -> (T,) float64 over all completion tokens, from one forward pass: logp, entropy, entropy_top10 (nats) and
    the inner products of gradients with respect to the logits that `schema.TOKENS` defines."""
    path = trajectory.path
    device = next(model.parameters()).device
    logits = model(input_ids=torch.tensor([path.tokens], device=device)).logits[0, len(path.prompt) - 1 : -1]
    logps = torch.log_softmax(logits.double().cpu() / temperature, dim=-1)
    p, surprise = logps.exp(), -logps.exp() * logps.clamp(min=-1e4)
    entropy = surprise.sum(-1)
    chosen = torch.tensor(path.completion)[:, None]
    likeliest = p.topk(min(LIKELIEST, p.shape[1]), dim=-1).indices
    extra = torch.where((likeliest == chosen).any(-1), 0.0, surprise.gather(1, chosen)[:, 0])
    slope = -p * (logps.clamp(min=-1e4) + entropy[:, None])  # dH / d logits
    score = torch.zeros_like(p).scatter(1, chosen, 1.0) - p  # d log p(chosen) / d logits
    return {
        "logp": logps.gather(1, chosen)[:, 0],
        "entropy": entropy,
        "entropy_top10": surprise.gather(1, likeliest).sum(-1) + extra,
        "score_square": (score**2).sum(-1),
        "score_slope": (score * slope).sum(-1),
        "slope_square": (slope**2).sum(-1),
    }


def sampled_rows(trainer: Recorder) -> list[dict]:
    """A row per trajectory with everything that the policy that sampled it decides."""
    batch = trainer.batch
    place = {(group, i): number for number, (group, _, i) in enumerate(batch.rows())}  # a row's i is its number there
    width = max(t.path.length for t in trajectories(batch))
    owners = rollout_tensors(batch, ("owners_BT",), width, "cpu")["owners_BT"].tolist()
    rows = []
    for (group, scored, i), owner in zip(batch.rows(), owners, strict=True):
        t, text = scored.trajectories[i], scored.texts[i]
        path, found = t.path, token_statistics(trainer.model, t, trainer.temperature)
        kept = [position for position, sampled in enumerate(path.sampled) if sampled]
        gap = (found["logp"][kept] - torch.tensor(path.logps)[kept]).abs().max()
        trainer.sampler_gap = max(trainer.sampler_gap, float(gap))
        own = model_text(text)
        rows.append(
            {
                "group": group,
                "parent": place.get((group, t.parent), -1),
                "index": t.index,
                "reward": scored.rewards[i].reward,
                "ended": t.ended,
                "completion_tokens": path.length,
                "own_tokens": t.new_tokens,
                "first_batch_h": trainer.first_batch[t.index],
                "both_tools": SEARCH_OPEN in own and PYTHON_OPEN in own and scored.rewards[i].format_ok,
                "both_closing_tags": SEARCH_CLOSE in text and PYTHON_CLOSE in text,
                "tags_in_results": sum(len(_TAG.findall(result)) for result in t.results),
                "position": kept,
                "turn": [path.turns[k] for k in kept],
                "owner": [owner[k] for k in kept],
                "old_logp": [path.logps[k] for k in kept],
                "old_entropy": [path.entropies[k] for k in kept],
                "old_entropy_top10": found["entropy_top10"][kept].tolist(),
                ALL_ENTROPIES: found["entropy"].tolist(),
            }
        )
    return rows


def record(job: JobConfig, task, model, grammar, folder: Path) -> Recorder:
    """Train `job` until its last step, in `folder`, and return the trainer with what it kept of that step."""
    t = job.training
    limits = Limits(job.task.max_tool_calls, job.task.max_completion_tokens)
    algorithm = load(job.method, **job.algorithm)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(job.entropy_tokens))
    questions = task.train_questions(t.steps * t.prompts_per_step, child_seed(job.seed, "data"))
    prompts = [{"prompt": task.prompt(question), "index": i} for i, question in enumerate(questions)]
    run = RunDirectory.open(folder / "run", job)
    trainer = Recorder(
        record_step=t.steps,
        algorithm=algorithm,
        questions=questions,
        run=run,
        entropy_tokens=job.entropy_tokens,
        collector=Collector(task, model, grammar, limits, t.temperature, job.seed),
        model=model,
        processing_class=grammar.tokenizer,
        train_dataset=Dataset.from_list(prompts),
        args=grpo_config(run.checkpoints, t, job.task.max_completion_tokens, job.seed),
    )
    trainer.train()
    return trainer


def write(trainer: Recorder, job: JobConfig, total_steps: int, out: Path) -> list[Path]:
    """batch.parquet, tests.parquet and batch.json. total_steps: K of the run that the step belongs to."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("batch.parquet", "tests.parquet", "batch.json")]
    files.write_table(paths[0], pa.Table.from_pylist(trainer.rows, BATCH_SCHEMA))
    files.write_table(paths[1], pa.Table.from_pylist(trainer.tests, TESTS_SCHEMA))
    about = {
        "made_by": "python -m analysis.fidelity.recorder",
        "config": job.to_dict(),
        "config_hash": config_hash(job),
        "warm_start_hash": warm_start_hash(job),
        "versions": versions(),
        "rl_step": trainer.record_step - 1,
        "rl_steps": total_steps,
        "updates_per_step": trainer.updates_per_step,
        "vocabulary": len(trainer.collector.grammar.tokenizer),
        "entropy_tokens": trainer.entropy_tokens,
        "group_size": trainer.num_generations,
        "sampler_gap": trainer.sampler_gap,
        "history": trainer.past.state_dict(),
        "references": {name: torch.as_tensor(r).tolist() for name, r in trainer.past.numbers().items()},
    }
    files.write_json(paths[2], about)
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Writes the three files. Exit codes: 0, 2 bad input."""
    parser = Parser(
        prog="python -m analysis.fidelity.recorder",
        description="make the real batch that the fidelity audit measures on",
    )
    parser.add_argument("--runs-root", type=folder, default=ROOT / "runs", help="where the warm start is or is to be")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "fidelity")
    try:
        options = parser.parse_args(arguments)
        make(options.runs_root, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(runs_root: Path, out: Path) -> None:
    """The batch of table 2's AEPO, from the warm start under `runs_root`."""
    whole = TableConfig.load(2).jobs("mini", ["aepo"], [0])[0]
    job = replace(whole, training=replace(whole.training, prompts_per_step=PROMPTS, steps=STEP))
    torch.set_num_threads(1)
    warm_start = prepare_warm_start(whole, runs_root)
    with tempfile.TemporaryDirectory() as scratch, PythonSandbox(preload=False) as sandbox:
        t = job.task
        task = open_task(t.families, t.world, sandbox, t.format_penalty, t.tool_bonus)
        model, grammar = load_warm_start(warm_start, job.training.device, job.training.dtype)
        trainer = record(job, task, model, grammar, Path(scratch))
        for path in write(trainer, job, whole.training.steps, out):
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
