"""Training on what another implementation sampled: trainer scores, weights, records, and a sampler left behind.

The same tests with vLLM, where it is installed, and with a stand-in that samples by full forward passes.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import vllm_tiny
from datasets import Dataset
from forward_sampler import ForwardSampler
from tiny import LocalPrinter, tokenizer
from trainers import config

from reproduce.algorithms import load
from reproduce.algorithms.parts.state import Sampling, SideRows, State
from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.engines.host import open_engine
from reproduce.runs.directory import RunDirectory
from reproduce.training.sampler_copy import prepared
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.rewards import Reward


class StandIn:
    """What `vllm_tiny` is to vLLM, for `ForwardSampler`."""

    model = staticmethod(vllm_tiny.model)

    @staticmethod
    def sampler(lm, settings):
        return ForwardSampler(lm, settings.top_logprobs)


class Real:
    """vLLM: the one of the session."""

    model = staticmethod(vllm_tiny.model)

    @staticmethod
    def sampler(lm, settings):
        return vllm_tiny.sampler(settings.top_logprobs)


@pytest.fixture(params=[StandIn, Real], ids=["stand-in", "vllm"])
def kind(request):
    if request.param is Real:
        vllm_tiny.needs_vllm()
    return request.param


def a_trainer(tmp_path, kind, job, **settings):
    lm, sampled, replica = prepared(kind.model(scale=2.0), None, job.seed, stale=bool(job.training.stale_steps))
    settings = EngineConfig(**{"tool_workers": 0, "top_logprobs": 8, **settings})
    task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
    task.score = lambda question, text: Reward(len(text) % 5 / 4, 0.0, True, None, len(text) % 5 == 4)
    host = open_engine(settings)
    host._start = lambda model: kind.sampler(model, settings)
    collector = Collector(task, sampled, Grammar(tokenizer()), Limits(2, 24), 0.8, job.seed, host)
    t = job.training
    questions = task.train_questions(t.steps * t.prompts_per_step, 1)
    algorithm = load(job.method)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(3))
    made = AgenticTrainer(
        algorithm=algorithm,
        collector=collector,
        questions=questions,
        run=RunDirectory.open(tmp_path / "run", job),
        entropy_tokens=3,
        model=lm,
        processing_class=tokenizer(),
        train_dataset=Dataset.from_list([{"prompt": task.prompt(q), "index": i} for i, q in enumerate(questions)]),
        args=grpo_config(tmp_path / "run" / "checkpoints", t, 24, job.seed),
        replica=replica,
        stale_steps=t.stale_steps or 0,
    )
    return made


def a_job(method="grpo", **training):
    job = config(method, **training)
    return replace(job, training=replace(job.training, temperature=0.8))


def steps_of(made):
    return [json.loads(p.read_text()) for p in sorted(made.run.parts.glob("*.steps.json"))]


@pytest.mark.parametrize("method", ["grpo", "aepo"])
def test_the_sampler_follows_the_weights_and_the_trainer_scores_its_tokens(tmp_path, kind, method):
    made = a_trainer(tmp_path, kind, a_job(method, learning_rate=1e-2))
    batches, collect = [], made.collector.collect

    def record(*args):
        batches.append(collect(*args))
        return batches[-1]

    made.collector.collect = record
    made.train()
    for step, batch in zip(steps_of(made), batches, strict=True):
        metrics, seconds = step["metrics"], step["seconds"]
        assert metrics["sampler_gap_max"] < 1e-4, "after a step with a large learning rate the sampler has its weights"
        assert metrics["sampler_share_capped"] == 0 and metrics["sampler_ratio_mean"] == pytest.approx(1, abs=1e-4)
        assert set(seconds) == {"seconds_rollout", "seconds_train", "seconds_weight_sync", "seconds_tool_wait"}
        assert metrics["engine_requests"] >= 8 and 0 < metrics["entropy_topk_mean"] < metrics["entropy"]
        hidden = metrics["entropy"] - metrics["entropy_topk_mean"]
        if method == "grpo":  # aepo's pilots are in the truncated mean alone
            assert 0 < hidden <= metrics["entropy_topk_hidden_mean"]
        for path in (t.path for group in batch.groups for t in group.trajectories):
            assert np.isfinite(path.entropies).all()
    assert steps_of(made)[1]["metrics"]["kl_warm_start"] > 0


def test_a_sampler_with_own_weights_may_be_a_step_behind(tmp_path):
    """The gap is to the weights that sampled, not to those that train; the old log-probs are those of the former."""
    job = a_job("grpo", learning_rate=1e-2, steps=4, stale_steps=1)
    made = a_trainer(tmp_path, StandIn, job)
    made.train()
    metrics = [step["metrics"] for step in steps_of(made)]
    assert all(step["sampler_gap_max"] < 1e-4 and step["sampler_share_capped"] == 0 for step in metrics)
    assert made.host._sampler.loads == 4, "weights go over once a step"


def test_a_state_moves_the_temperature_and_asks_for_side_rows(tmp_path, kind):
    """The gap to the sampler stays closed: both sides are at the step's temperature, side rows too."""

    class Asks(State):
        name = "asks"

        def sampling(self, planned):
            return Sampling(planned.temperature + 0.2 * made.rl_step, SideRows(0.5, 1.7))

    made = a_trainer(tmp_path, kind, a_job(learning_rate=1e-2))
    made.states.append(Asks())
    made.train()
    assert [group.side for group in made.batch.groups] == [False, False, True]
    assert made.passes.temperature == pytest.approx(1.2)
    assert all(step["metrics"]["sampler_gap_max"] < 1e-4 for step in steps_of(made))


def watched(events, name, call):
    """`call`, which writes `name` and its tags down first; a name that repeats counts once."""

    def told(*args, **kwargs):
        said = " ".join([name, *kwargs.get("tags", ())])
        if not events or events[-1] != said:
            events.append(said)
        return call(*args, **kwargs)

    return told


@pytest.mark.parametrize("sleep", [True, False], ids=["sleeping", "awake"])
def test_the_sampler_wakes_loads_samples_and_sleeps_before_the_passes_of_training(tmp_path, kind, sleep):
    events, made = [], a_trainer(tmp_path, kind, a_job(learning_rate=1e-2), sleep=sleep)
    start = made.host._start

    def watched_start(model):
        sampler = start(model)
        sampler.load(model, always=True)  # whatever an earlier test left
        if kind is Real:
            engine = sampler._llm
            for said, name in {"wake": "wake_up", "load": "collective_rpc", "sleep": "sleep"}.items():
                setattr(engine, name, watched(events, said, getattr(type(engine), name).__get__(engine)))
            sampler._engine.step = watched(events, "sample", type(sampler._engine).step.__get__(sampler._engine))
        else:
            sampler.model.load_state_dict = watched(events, "load", sampler.model.load_state_dict)
            sampler.step = watched(events, "sample", sampler.step)
            sampler.sleep = watched(events, "sleep", sampler.sleep)
        return sampler

    made.host._start = watched_start
    made.loss_on = watched(events, "train", made.loss_on)
    made.train()
    if kind is Real:  # the session's vLLM goes on without its watchers
        sampler = made.host._sampler
        for name in ("wake_up", "collective_rpc", "sleep"):
            delattr(sampler._llm, name)
        del sampler._engine.step
    pause, wake = (["sleep"], ["wake weights"]) if sleep else ([], [])
    cache = ["wake kv_cache"] if sleep else []
    if kind is StandIn:
        wake = cache = []
    assert events == ["sample", *pause, "train", *wake, "load", *cache, "sample", *pause, "train"]
    assert all(step["metrics"]["sampler_gap_max"] < 1e-4 for step in steps_of(made))


def test_weights_left_behind_stop_the_run(tmp_path, kind):
    made = a_trainer(tmp_path, kind, a_job(learning_rate=1e-1), max_gap=0.05)
    refresh, calls = made.host.refresh, []

    def only_once(model):
        if not calls:
            refresh(model)
        calls.append(1)

    made.host.refresh, made.host.rest = only_once, lambda: None
    with pytest.raises(UserError, match="engine.max_gap"):
        made.train()
    assert len(calls) > 1 and made.run.last_complete_step() == 1


def test_a_capped_correction_changes_the_training_and_none_keeps_the_samplers_log_probs(tmp_path):
    def loss(name, **settings):
        made = a_trainer(tmp_path / name, StandIn, a_job(steps=1), **settings)
        made.host._start = lambda model: Askew(model, 8)
        made.train()
        metrics = steps_of(made)[0]["metrics"]
        return metrics["loss"], metrics

    class Askew(ForwardSampler):
        """Reports log-probabilities that are off by half a nat at every other token."""

        def step(self):
            found = super().step()
            for segment in found:
                segment.logps[::2] = [x - 0.5 for x in segment.logps[::2]]
            return found

    plain, off = loss("none", correction="none", max_gap=1.0)
    full, corrected = loss("full", correction_high=None, max_gap=1.0)
    capped, metrics = loss("capped", correction_high=1.2, max_gap=1.0)
    assert 0.2 < metrics["sampler_gap_mean"] < 0.5
    assert metrics["sampler_ratio_max"] == pytest.approx(np.exp(0.5), rel=1e-4)
    assert 0 < metrics["sampler_share_capped"] < 1 == 1 + corrected["sampler_share_capped"]
    assert len({round(x, 6) for x in (plain, full, capped)}) == 3
    assert off["sampler_ratio_max"] == metrics["sampler_ratio_max"], "the gap is measured without a correction, too"


def test_truncated_entropies_have_a_name_of_their_own(tmp_path):
    made = a_trainer(tmp_path, StandIn, a_job(steps=1), entropy="topk", correction="none")
    made.train()
    metrics = steps_of(made)[0]["metrics"]
    assert np.isnan(metrics["entropy"]) and metrics["entropy_topk_mean"] > 0 and "sampler_gap_mean" not in metrics
    with pytest.raises(UserError, match="engine.entropy: aepo reads entropies"):
        a_trainer(tmp_path / "aepo", StandIn, a_job("aepo"), entropy="topk")


def test_branching_needs_entropies_at_rollout(tmp_path):
    made = a_trainer(tmp_path, StandIn, a_job("arpo"), top_logprobs=0)
    with pytest.raises(UserError, match="engine.top_logprobs"):
        made.train()


def test_a_server_takes_the_weights_of_one_process():
    with pytest.raises(UserError, match="one process, and there are 2"):
        open_engine(EngineConfig(name="vllm_server", url="http://a", sync_folder="x"), processes=2)


def test_evaluation_and_training_share_one_sampler_and_reload_only_what_changed():
    lm, settings = vllm_tiny.model(), EngineConfig()
    host = open_engine(settings)
    starts = []
    host._start = lambda model: starts.append(ForwardSampler(model, 4)) or starts[0]
    grammar = Grammar(tokenizer())
    for _ in range(2):
        host.engine(lm, grammar, 1.0, 0, "evaluation")
    assert len(starts) == 1 and starts[0].loads == 1 and host.costs()["seconds_weight_sync"] == 0.5
    with torch.no_grad():
        lm.lm_head.weight.add_(1.0)
    host.engine(lm, grammar, 1.0, 0, "evaluation")
    host.weights_changed()
    host.engine(lm, grammar, 1.0, 0, "evaluation")
    assert starts[0].loads == 3
