"""The plan: arithmetic against torch's own count, predictions against what runs took, every number with its source."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from places import ROOT
from tiny import LocalPrinter
from torch.utils.flop_counter import FlopCounterMode

from analysis import readme as blocks
from reproduce import cli
from reproduce.commands.plan import report
from reproduce.commands.plan.assumptions import DEFAULTS, DEMONSTRATED, Assumptions
from reproduce.commands.plan.cost import (
    BASELINE,
    Shape,
    committed,
    factors_of,
    measured,
    plan,
    rl,
    search_rate,
    seconds_one_stale,
    shape_of,
    work,
)
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.training.flops import HUB, Model, model_of
from reproduce.worlds.miniweb.demonstrations import demonstrate
from reproduce.worlds.miniweb.task import open_task

PUBLISHED = {
    "Qwen/Qwen3-0.6B": 0.596e9,
    "Qwen/Qwen3-1.7B": 1.72e9,
    "Qwen/Qwen3-4B": 4.02e9,
    "Qwen/Qwen3-8B": 8.19e9,
    "Qwen/Qwen3-14B": 14.77e9,
    "Qwen/Qwen2.5-3B-Instruct": 3.09e9,
    "Qwen/Qwen2.5-7B-Instruct": 7.62e9,
    "Qwen/QwQ-32B": 32.5e9,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
    "SmolLM2-135M-Instruct, dequantised from Q4_1": 134.5e6,
}
"""Weights, as the models' cards have them."""

SHAPE = Shape(prompt=10, answer=50, result=60, calls=5, rows=1, source="a test")
PLAIN = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def runs():
    return committed()


def a_job(table=2, profile="mini", method="grpo", **training):
    job = TableConfig.load(table).jobs(profile, [method], [0])[0]
    return replace(job, training=replace(job.training, **training))


def test_the_shapes_of_hub_models_have_their_published_number_of_weights():
    assert set(PUBLISHED) == set(HUB)
    for name, weights in PUBLISHED.items():
        assert HUB[name].parameters == pytest.approx(weights, rel=0.01), name


def test_operations_are_those_that_torch_counts():
    import torch

    from reproduce.training.tiny_model import build_model

    shape = dict(hidden_size=64, num_layers=2, num_heads=4, num_kv_heads=2, intermediate_size=192)
    network = build_model(300, 0, **shape, pad_id=0, bos_id=1, eos_id=2)
    network.set_attn_implementation("eager")  # the fused one is not counted on a CPU
    model = Model("a test", 64, 2, 4, 2, 16, 192, 300)
    assert model.parameters == pytest.approx(sum(p.numel() for p in network.parameters()), rel=0.01)  # but for norms
    ids = torch.ones(3, 40, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = network(input_ids=ids, use_cache=False).logits
        forward = counter.get_total_flops()
        logits.sum().backward()
    # torch counts every pair of tokens, causal attention needs half of them: twice the length
    assert model.forward(120, 120, 80) == pytest.approx(forward, rel=0.02)
    assert 3 * model.forward(120, 120, 80) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_a_hub_model_that_is_not_known_is_read_from_its_folder_or_refused(tmp_path):
    section = replace(a_job(profile="paper").model, name_or_path=str(tmp_path))
    with pytest.raises(UserError, match="model.name_or_path: the shape"):
        model_of(section, 0)
    (tmp_path / "config.json").write_text('{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}')
    with pytest.raises(UserError, match="lacks 'intermediate_size'"):
        model_of(section, 0)
    (tmp_path / "config.json").write_text(
        '{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,'
        ' "intermediate_size": 192, "vocab_size": 300, "tie_word_embeddings": true}'
    )
    assert model_of(section, 0) == Model(str(tmp_path), 64, 2, 4, 2, 16, 192, 300, tied=True)


def test_speeds_are_recovered_from_the_runs_that_had_them(runs):
    known = runs[runs["table"].isin(["table1", "table3"])].copy()
    assume = Assumptions(known["job"].iloc[0])
    done = [
        work(r.job, r.model, shape_of(r.job, assume), r.steps, r.trajectories, r.sampled, r.trained, r.calls, r.results)
        for r in known.itertuples()
    ]
    known["rollout"] = [w.sampling / 2e9 + 0.1 * w.steps for w in done]
    known["train"] = [w.training / 6e9 + 0.02 * w.updates for w in done]
    known["total"] = known["rollout"] + known["train"] + known["eval"] + 5.0
    found = measured(known, assume)
    assert found.fitted == pytest.approx((1 / 2e9, 0.1, 1 / 6e9, 0.02), rel=1e-3)
    assert found.run == pytest.approx(5.0) and f"{len(known)} runs of table1, table3" in found.source
    for counts, w in zip(known.itertuples(), done, strict=True):
        assert found.seconds(w, SHAPE) == pytest.approx([counts.rollout, 0, counts.train, 0], rel=1e-3)


def test_the_work_follows_the_settings_of_profile_and_method():
    model = Model("a test", 64, 2, 4, 4, 16, 192, 300)
    job = a_job(steps=24)
    work = rl(job, model, SHAPE, PLAIN)
    assert work.trajectories == 24 * 256 and work.sampled == work.trained == 24 * 256 * 50 and work.updates == 24 * 8
    twice = rl(a_job(steps=48), model, SHAPE, PLAIN)
    assert (twice.sampled, twice.training, twice.calls) == (2 * work.sampled, 2 * work.training, 2 * work.calls)
    critic = rl(a_job(method="ppo", steps=24), model, SHAPE, PLAIN)
    assert critic.training > 2 * work.training  # the critic's passes, and its values at rollout
    again = rl(a_job(gradient_checkpointing=True), model, SHAPE, PLAIN)
    assert again.training / work.training == pytest.approx(4 / 3, rel=0.02)
    split = rl(a_job(tokens_per_pass=1000), model, SHAPE, PLAIN)  # of 64 rows of 120 tokens
    assert split.training / work.training == pytest.approx(4 / 3, rel=0.02), "gradient caching has a further pass"
    assert rl(a_job(tokens_per_pass=10_000), model, SHAPE, PLAIN) == rl(a_job(), model, SHAPE, PLAIN)
    matched = rl(a_job(trajectory_budget=True, steps=24), model, SHAPE, (1.5, 1.0, 1.5))
    assert matched.steps == 16 and matched.sampled == work.sampled and matched.trained == work.trained * 16 / 24
    wasted = rl(job, model, SHAPE, (1.5, 1.0, 1.5))
    assert wasted.sampled == 1.5 * work.sampled and wasted.training == work.training


def test_methods_differ_by_their_parts_where_nothing_was_measured(runs):
    assume, nothing = Assumptions(a_job()), committed(ROOT / "nowhere")
    grpo, dapo, aepo = (factors_of(a_job(method=name), nothing, assume)[0] for name in ("grpo", "dapo", "aepo"))
    assert grpo == 1.0 and dapo == assume("resampling")
    assert aepo == pytest.approx(assume("shared_prefix") + 1 / 16)
    sampled, trained, calls, source = factors_of(a_job(method="dapo"), runs, assume)
    assert 1.2 < sampled < 2 and trained == pytest.approx(1, abs=0.1) and calls > 1.2 and BASELINE in source
    assert factors_of(a_job(), runs, assume)[0] == 1.0  # independent trajectories: longer ones are no setting
    held = factors_of(a_job(method="arbitrary-entropy"), runs, assume)
    assert held == (1.25, 1.0, 1.25, "parts of the method"), "a quarter of the questions twice, for the same updates"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpuz": "8"}, "unknown; did you mean 'gpu"),
        ({"gpus": "many"}, "must be a number"),
        ({"gpus": "0"}, "must be above 0"),
        ({"train_use": "-1"}, "must be above 0"),
        ({"gpu": "H900"}, "there is no such GPU"),
    ],
)
def test_an_assumption_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Assumptions(a_job(), changes)


def of_tables(runs, *tables):
    return runs[runs["table"].isin(tables)]


def test_one_method_foretells_the_others_within_30_percent(runs):
    of_table = of_tables(runs, "table2")
    known, others = (of_table[(of_table["name"] == "grpo") == same] for same in (True, False))
    assert report.predicted_minutes(list(others["job"]), known) == pytest.approx(others["total"].sum() / 60, rel=0.3)


def test_the_other_tables_foretell_each_table_within_30_percent_in_sum(runs):
    told, took = 0.0, 0.0
    for table in ("table1", "table2"):
        own, others = of_tables(runs, table), runs[runs["table"] != table]
        told += report.predicted_minutes(list(own["job"]), others)
        took += own["total"].sum() / 60
    assert told == pytest.approx(took, rel=0.3)


def test_what_a_world_shows_is_what_its_runs_then_do(runs):
    for table in (1, 2):
        job, did = a_job(table), of_tables(runs, f"table{table}").query("name == @BASELINE").sum(numeric_only=True)
        shown = shape_of(job, Assumptions(job))
        assert shown.source.endswith("demonstrations")
        assert shown.answer == pytest.approx(did["sampled"] / did["trajectories"], rel=0.3)
    house = shape_of(a_job(3), Assumptions(a_job(3)))
    assert house.rows == house.calls and 2 < house.calls <= a_job(3).task.max_tool_calls and house.prompt > house.answer


@pytest.mark.parametrize("family", ["mini-math", "mini-knowledge", "mini-deepsearch"])
def test_the_data_sheet_of_demonstrations_is_what_they_show(family):
    task = open_task((family,), "miniweb", LocalPrinter(), 0.0, 0.0)
    questions = task.train_questions(60, seed=0)
    shown = demonstrate(task.environment, questions, 0.2, 8, np.random.default_rng(0))
    own, other = ([sum(len(t.split()) for t, mine in d.pieces if mine == own) for d in shown] for own in (True, False))
    prompts, calls = [1 + len(task.prompt(q).split()) for q in questions], [d.calls for d in shown]
    found = [np.mean(prompts), np.mean(own) + 1, np.mean(other), np.mean(calls)]
    assert found == pytest.approx(DEMONSTRATED[family], rel=0.15, abs=1.5)


def test_the_papers_scale_is_bound_by_the_search_service(runs):
    jobs = TableConfig.load(2).jobs("paper", ["grpo", "aepo"], [0])
    slow = plan(jobs, runs, Assumptions(jobs[0]))
    free = plan(jobs, runs, Assumptions(jobs[0], {"searches_per_second": "0", "search_price": "0"}))
    assert slow.speed.fitted is None and slow.speed.devices == 8
    for row, other in zip(slow.rows, free.rows, strict=True):
        same = ("sampled_tokens", "tool_calls", "seconds_sampling", "seconds_training", "searches")
        assert [row[name] for name in same] == [other[name] for name in same] and other["dollars"] == 0
    grpo = next(row for row in slow.rows if row["row"] == "grpo")
    t = jobs[0].training
    assert jobs[0].search.rate == 100
    rate = 8 * 16 / 3  # 16 threads of each of 8 processes wait 3 s for a call, which is less than the service allows
    assert grpo["seconds_tools"] == pytest.approx(grpo["tool_calls"] * 0.7 / rate)
    released = plan(jobs, runs, Assumptions(jobs[0], {"searches_per_second": "2"}))
    found = next(row for row in released.rows if row["row"] == "grpo")["seconds_tools"]
    assert found == pytest.approx(grpo["tool_calls"] * 0.7 / 2)
    assert grpo["trajectories"] == t.steps * t.prompts_per_step * t.group_size
    evaluated = (103 + 500 + 200 + 100) * jobs[0].evaluation.samples
    assert grpo["searches"] == pytest.approx(0.7 * (grpo["tool_calls"] + evaluated * slow.shape.calls))
    assert grpo["dollars"] == pytest.approx(grpo["searches"] * 1.5e-3)
    assert released.total["device_hours"] > 2 * free.total["device_hours"] > 0
    assert slow.total["device_hours"] == free.total["device_hours"], "bound by waiting calls, not by the service"
    more = plan(jobs, runs, Assumptions(jobs[0], {"gpus": "16", "searches_per_second": "0"}))
    assert more.rows[-1]["seconds_training"] == pytest.approx(free.rows[-1]["seconds_training"] / 2)


def test_the_rate_of_searches_is_what_the_service_allows_or_what_waiting_calls_ask():
    assert search_rate(2.0, 128, 3.0) == 2.0
    assert search_rate(100.0, 128, 3.0) == pytest.approx(128 / 3)
    assert search_rate(0.0, 128, 3.0) == pytest.approx(128 / 3) and search_rate(100.0, 128, 0.0) == 100
    assert search_rate(0.0, 0, 0.0) == 0


def test_one_stale_step_hides_the_shorter_of_searches_and_work():
    stages = dict(sampling=100.0, tools=600.0, training=200.0, other=50.0)
    assert seconds_one_stale(**stages, steps=10) == pytest.approx(90 + 9 * 70 + 50), "rollouts are the longer part"
    quick = stages | {"tools": 30.0}
    assert seconds_one_stale(**quick, steps=10) == pytest.approx(33 + 9 * 30 + 50), "the cards are"
    assert seconds_one_stale(**quick, steps=10, apart=True) == pytest.approx(33 + 9 * 20 + 50), "those that train"
    assert seconds_one_stale(**stages, steps=1) == 950, "nothing to be beside"
    assert seconds_one_stale(**stages, steps=0) == 950
    for steps in (2, 5, 100):  # never slower, and never faster than the longer part alone
        assert 700 < seconds_one_stale(**stages, steps=steps) < 950


def test_the_command_prints_every_number_it_rests_on_and_writes_a_csv(tmp_path, capsys):
    out = tmp_path / "plan.csv"
    words = ["--table", "2", "--profile", "paper", "--methods", "core", "--csv", str(out)]
    assert cli.main(["plan", *words, "--assume", "gpus=16,search_price=3"]) == 0
    printed = capsys.readouterr().out
    assert "gpus = 16 GPUs" in printed and "(set by --assume)" in printed and "Qwen/Qwen3-14B" in printed
    for name in ("train_use", "decode_use", "searches_per_second", "search_price", "segment_tokens", "longest"):
        assert f"\n{name} = " in printed
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["row"] for row in rows] == ["warm_start", "grpo", "dapo", "arpo", "aepo"]
    for row in rows:
        stages = sum(float(row[f"seconds_{stage}"]) for stage in ("sampling", "tools", "training", "other"))
        assert float(row["device_hours"]) == pytest.approx(16 * stages / 3600, rel=1e-4)
    assert cli.main(["plan", "--table", "2", "--profile", "mini"]) == 0
    printed = capsys.readouterr().out
    assert "CPU core-hours" in printed and "committed results: " in printed and "$" not in printed
    assert "training.stale_steps" not in printed
    below = printed[printed.index("of wall time") :].splitlines()
    assert max(map(len, below)) <= 118, "lines that can be read"


def test_the_plan_says_what_stale_steps_save_and_whether_they_are_set(capsys):
    def said(*words):
        assert cli.main(["plan", "--table", "2", "--methods", "grpo", *words]) == 0
        return " ".join(capsys.readouterr().out.split())

    paper = said("--profile", "paper")
    assert "one step stale (training.stale_steps: 1), which takes a vLLM server on other cards" in paper
    assert "memory of the warm start, by estimate: 71 GB" in paper
    stale = said("--profile", "gpu", "--set", "training.stale_steps=1")
    assert "as configured, each step sampled while the one before trains" in stale and "copy 3.4" in stale
    assert "training.stale_steps" not in said("--profile", "gpu")


def test_a_config_on_a_cpu_is_planned_in_core_hours_whatever_its_model(tmp_path, capsys):
    words = ["--table", "2", "--profile", "gpu", "--methods", "grpo", "--set"]
    assert cli.main(["plan", *words, "training.device=cpu training.dtype=float32"]) == 0
    printed = capsys.readouterr().out
    assert "CPU core-hours" in printed and "cpu_flops" in printed and "this model was not measured on a CPU" in printed
    assert not any(word in printed for word in ("H800", "H100", "RTX", "GPUs"))
    out = tmp_path / "plan.csv"
    assert cli.main(["plan", *words, "training.device=cpu", "--csv", str(out), "--assume", "cpu_flops=1e12"]) == 0
    row = next(csv.DictReader(out.read_text().splitlines()))
    assert (row["device"], row["devices"]) == ("CPU", "1") and "cpu_flops = 1e+12" in capsys.readouterr().out


def test_bad_words_are_one_line(capsys):
    for words, message in (
        (["--table", "9"], "no table '9'"),
        (["--profile", "tiny"], "no profile 'tiny'"),
        (["--assume", "gpus"], "write NAME=VALUE"),
        (["--methods", "gppo-"], "gppo-"),
    ):
        assert cli.main(["plan", *words]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1


def test_every_assumption_has_a_meaning_and_a_source():
    for assumption in DEFAULTS.values():
        assert assumption.meaning and assumption.source
        assert isinstance(assumption.value, str) or math.isfinite(assumption.value)


def test_the_readme_shows_the_generated_plans(runs):
    shown = blocks.block(report.README.read_text(), report.BLOCK)
    assert shown == report.block(runs).strip(), "make readme-plans"
