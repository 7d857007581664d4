"""What tests of data parallelism run in one process or several: RL steps of a tiny trainer, and what came of them.

    torch.distributed.run ... tests/support/parallel_child.py FOLDER METHOD [key=value ...]

Process 0 writes FOLDER/record.pt. `stop=2` ends after that RL step as a kill would; a later call resumes.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import tiny
import torch
import yaml
from datasets import Dataset
from tiny import LocalPrinter, model, tokenizer

from reproduce.algorithms import load
from reproduce.config.sections import LoraConfig
from reproduce.config.tables import TableConfig
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.trajectory import Limits
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import ROOT
from reproduce.seeding import child_seed
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.layout import layout_of
from reproduce.training.parallel import Follower, process_index
from reproduce.training.sampler_copy import prepared
from reproduce.training.shards import Shards
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.rewards import Reward


class Stopped(Exception):
    pass


def config(method: str, training: dict):
    """Two RL steps of four updates each, in two shards."""
    job = TableConfig.load(2).jobs("smoke", [method], [0])[0]
    sizes = dict(steps=2, prompts_per_step=4, group_size=4, epochs=2, minibatches=2, learning_rate=3e-3)
    return replace(job, training=replace(job.training, **(sizes | {"rollout_shards": 2} | training)))


def built(folder: Path, job, setup=None) -> AgenticTrainer:
    """A trainer on the model `tiny.model`. setup: (task, model, collector type, grammar, limits) of another world."""
    if setup is None:
        task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
        task.score = lambda question, text: varied(len(text))
        setup = task, model(scale=2.0), Collector, Grammar(tokenizer()), Limits(4, 64)
    task, lm, kind, grammar, limits = setup
    t = job.training
    lm = lm.to(getattr(torch, t.dtype))
    seeds = [child_seed(job.seed, "shard", s) for s in range(t.rollout_shards or 1)]
    lm, sampled, replica = prepared(lm, t.lora, job.seed, stale=bool(t.stale_steps))
    collectors = [kind(task, sampled, grammar, limits, 1.0, seed) for seed in seeds]
    questions = task.train_questions(t.steps * t.prompts_per_step, 1)
    rows = [{"prompt": task.prompt(q), "index": i} for i, q in enumerate(questions)]
    algorithm = load(job.method, **job.algorithm)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(3))
    path = folder / "run"
    run = Follower(path) if process_index() else RunDirectory.open(path, job)
    return AgenticTrainer(
        algorithm=algorithm,
        collector=Shards(collectors) if len(seeds) > 1 else collectors[0],
        questions=questions,
        run=run,
        entropy_tokens=3,
        model=lm,
        replica=replica,
        processing_class=grammar.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, t, limits.completion_tokens, job.seed),
        measure_kl=t.measure_kl,
        offload_optimizer=t.offload_optimizer,
        layout=layout_of(t),
        tokens_per_pass=t.tokens_per_pass,
        stale_steps=t.stale_steps or 0,
    )


def house(job):
    """The `setup` of `built` for MiniHouse, where every turn is a row."""
    import house

    made = house.setup_of(house.config())
    kind = type("Scored", (EpisodeCollector,), {"_score": lambda self, e: varied(e.length)})
    return made.task, house.model(), kind, made.grammar(house.loaded()[1]), Limits(4, 8)


def varied(length: int) -> Reward:
    """A random model fails everywhere; a reward that varies gives it something to learn."""
    return Reward(length % 5 / 4, 0.0, True, "", length % 5 == 4)


def divide_weights() -> None:
    """The variables that `accelerate launch` sets for our config `fsdp`."""
    said = yaml.safe_load((ROOT / "reproduce/grid/accelerate/fsdp.yaml").read_text())["fsdp_config"]
    os.environ |= {name.upper(): str(value).lower() for name, value in said.items()} | {"ACCELERATE_USE_FSDP": "true"}
    os.environ |= {name.upper(): str(value) for name, value in said.items() if isinstance(value, str)}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that FSDP divides."""
    return tensor.detach().full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach()


def record(made: AgenticTrainer, stop: int | None = None) -> dict:
    """Trains, resuming where it stands. losses, gradients: of each update, as the optimiser gets them; weights."""
    losses, gradients, values = [], [], []
    compute = made.loss_on

    def spy(lm, inputs):
        loss = compute(lm, inputs)
        losses.append(made.updates[-1]["loss"])
        values.append(made.updates[-1].get("value_loss", 0.0))
        return loss

    made.loss_on = spy
    clip = made.accelerator.clip_grad_norm_

    def gradient(parameters, *arguments, **options):
        parameters = list(parameters)
        gradients.append(torch.cat([whole(p.grad).flatten() for p in parameters if p.grad is not None]))
        return clip(parameters, *arguments, **options)

    made.accelerator.clip_grad_norm_ = gradient
    if stop is not None:
        log = made.log

        def stopping(logs, *arguments, **options):
            log(logs, *arguments, **options)
            if made.state.global_step > stop * made.updates_per_step:
                raise Stopped

        made.log = stopping
    checkpoint = last_checkpoint(made.run.checkpoints)
    try:
        made.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except Stopped:
        pass
    weights = {name: whole(value).clone() for name, value in made.model.state_dict().items()}
    critic = {name: whole(value).clone() for name, value in tiny.critic_weights(made).items()}
    found = {"losses": losses, "values": values, "gradients": gradients, "weights": weights, "critic": critic}
    return found | {"held": held(made)}


def held(made: AgenticTrainer) -> dict[str, float]:
    """The share of each network's weights that this process holds."""
    networks = {"policy": made.model}
    if critic := tiny.state(made, "critic"):
        networks["critic"] = critic.network
    if made.reference is not None:
        with made.reference.policy() as networks["reference"]:
            pass

    def share(network) -> float:
        parts = [getattr(p, "_local_tensor", p).numel() for p in network.parameters()]
        return sum(parts) / sum(p.numel() for p in network.parameters())

    return {name: share(network) for name, network in networks.items()}


def steps(folder: Path) -> list[dict]:
    """The metrics of every recorded RL step."""
    parts = sorted((folder / "run" / "parts").glob("*.steps.json"))
    return [json.loads(part.read_text())["metrics"] for part in parts]


def main(words: list[str]) -> None:
    folder, method, *settings = words
    training = {key: json.loads(value) for key, value in (word.split("=", 1) for word in settings)}
    stop, in_house = training.pop("stop", None), training.pop("house", False)
    if training.pop("fsdp", False):
        divide_weights()
    if training.get("lora"):
        training["lora"] = LoraConfig(**training["lora"])
    torch.set_num_threads(1)
    changes = training.pop("algorithm", {})
    job = replace(config(method, training), algorithm=changes)
    made = built(Path(folder), job, house(job) if in_house else None)
    found = record(made, stop)
    if process_index() == 0:
        torch.save(found, Path(folder) / "record.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
