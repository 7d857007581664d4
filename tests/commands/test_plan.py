"""The plan: arithmetic against torch's own count, predictions against what runs took, every number with its source."""

import csv
import math
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from places import ROOT
from run_rows import rollouts
from tiny import LocalPrinter
from torch.utils.flop_counter import FlopCounterMode

from analysis import readme as blocks
from reproduce import cli
from reproduce.commands.plan import readme
from reproduce.commands.plan.assumptions import DEFAULTS, DEMONSTRATED, Assumptions
from reproduce.commands.plan.cost import plan
from reproduce.commands.plan.measured import BENCH, COMMITTED, OWN, own, shape_for
from reproduce.commands.plan.speed import Sheet, fitted, speed_for
from reproduce.commands.plan.work import Shape, Work, factors_of, rl, shape_of
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.runs.directory import RunDirectory
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
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
}
"""Weights, as the models' cards have them."""

SHAPE = Shape(prompt=10, answer=50, result=60, calls=5, rows=1, source="a test")
PLAIN = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def observed():
    return readme.known()


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


def test_speeds_are_recovered_from_runs_some_of_which_were_disturbed():
    runs = []
    for number in range(1, 12):
        work = Work(steps=10, updates=80, sampling=number * 1e9, training=number * 3e9)
        slow = 2.0 if number % 5 == 0 else 1.0
        runs.append((work, slow * (number * 1e9 / 2e9 + 1.0), slow * (number * 3e9 / 6e9 + 80 * 0.02)))
    sampling, training = fitted(runs)
    assert sampling == pytest.approx((1 / 2e9, 0.1), rel=0.02) and training == pytest.approx((1 / 6e9, 0.02), rel=0.02)
    _, alike = fitted([runs[2], runs[2]])
    assert alike[1] == 0 and runs[2][0].training * alike[0] == pytest.approx(runs[2][2])
    with pytest.raises(ValueError):
        fitted([])


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
    wasted = rl(job, model, SHAPE, (1.5, 1.0, 1.5))
    assert wasted.sampled == 1.5 * work.sampled and wasted.training == work.training


def test_methods_differ_by_their_parts_where_nothing_was_measured():
    assume = Assumptions()
    grpo, dapo, aepo = (factors_of(a_job(method=name), assume, {})[0] for name in ("grpo", "dapo", "aepo"))
    assert grpo == 1.0 and dapo == assume("resampling")
    assert aepo == pytest.approx(assume("shared_prefix") + 1 / 16)
    measured = {"aepo": (0.97, 1.0, 1.0, "a test"), "grpo": (2.0, 1.0, 1.0, "a test")}
    assert factors_of(a_job(method="aepo"), assume, measured) == measured["aepo"]
    assert factors_of(a_job(), assume, measured)[0] == 1.0  # independent trajectories: longer ones are no setting


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
        Assumptions(changes)


def sum_of(runs, given) -> tuple[float, float]:
    """(predicted, taken) minutes of runs."""
    return readme.predicted_minutes(runs, given), sum(seen.total for seen in runs) / 60


def committed(observed, *tables):
    return [seen for seen in observed if seen.source == COMMITTED and seen.job.experiment in tables]


def test_one_method_foretells_the_others_within_30_percent(observed):
    runs = committed(observed, "table2")
    known = [seen for seen in runs if seen.job.name == "grpo"]
    told, took = sum_of([seen for seen in runs if seen.job.name != "grpo"], known)
    assert told == pytest.approx(took, rel=0.3)


def least_disturbed(runs):
    """The fastest run of each row: `make bench` wants a quiet machine, and what runs beside a run only slows it."""
    rows = {(seen.job.experiment, seen.job.name) for seen in runs}
    return [
        min((seen for seen in runs if (seen.job.experiment, seen.job.name) == row), key=lambda seen: seen.total)
        for row in sorted(rows)
    ]


def test_the_bench_alone_foretells_the_tables_of_a_quiet_machine_within_30_percent(observed):
    runs = least_disturbed(committed(observed, "table1", "table2"))
    known = [seen for seen in observed if seen.source == BENCH]
    assert runs and known
    told = [sum_of(committed(runs, table), known) for table in ("table1", "table2")]
    assert sum(minutes for minutes, _ in told) == pytest.approx(sum(minutes for _, minutes in told), rel=0.3)


def test_the_other_tables_foretell_each_table_within_30_percent_in_sum(observed):
    told = []
    for table in ("table1", "table2"):
        others = [seen for seen in observed if seen.source == COMMITTED and seen.job.experiment != table]
        told.append(sum_of(committed(observed, table), others))
    assert sum(minutes for minutes, _ in told) == pytest.approx(sum(minutes for _, minutes in told), rel=0.3)


def test_what_a_world_shows_is_what_its_runs_then_do(observed):
    for table in (1, 2):
        job, assume = a_job(table), Assumptions()
        shown, did = shape_of(job, assume), shape_for(job, observed, assume)
        assert shown.source.endswith("demonstrations") and did.source.startswith(COMMITTED)
        assert shown.answer == pytest.approx(did.answer, rel=0.3) and shown.prompt == did.prompt
    house = shape_of(a_job(3), Assumptions())
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


def test_own_runs_count_first_even_unfinished_ones(tmp_path, observed):
    job = a_job()
    run = RunDirectory.open(job.directory(tmp_path), job)
    for step in (1, 2):
        metrics = {
            "trajectories": 256.0,
            "sampled_tokens": 12800.0,
            "trained_tokens": 12800.0,
            "tool_calls": 1280.0,
            "completion_tokens_mean": 110.0,
        }
        run.write_step(step, metrics, rollouts(step), {"rollout": 100.0, "train": 200.0})
    seen = own(tmp_path)
    assert [(one.counts["steps"], one.sampling, one.source) for one in seen] == [(2, 200.0, OWN)]
    assert seen[0].counts["results"] == 2 * 256 * 60
    speed = speed_for(job, seen + observed, Assumptions())
    assert speed.source.startswith("own runs: 1 runs of table2")
    row = plan([job], seen + observed, Assumptions()).rows[-1]
    assert row["seconds_sampling"] == pytest.approx(24 * 100, rel=0.01)
    assert row["seconds_training"] == pytest.approx(24 * 200, rel=0.01)
    (run.path / "config.yaml").write_text("seed: 1")
    assert own(tmp_path) == []


def test_the_papers_scale_is_bound_by_the_search_service(observed):
    jobs = TableConfig.load(2).jobs("paper", ["grpo", "aepo"], [0])
    slow = plan(jobs, observed, Assumptions(job=jobs[0]))
    free = plan(jobs, observed, Assumptions({"searches_per_second": "0", "search_price": "0"}, jobs[0]))
    assert isinstance(slow.speed, Sheet) and slow.speed.devices == 8
    for row, other in zip(slow.rows, free.rows, strict=True):
        same = ("sampled_tokens", "tool_calls", "seconds_sampling", "seconds_training", "searches")
        assert [row[name] for name in same] == [other[name] for name in same] and other["dollars"] == 0
    grpo = next(row for row in slow.rows if row["row"] == "grpo")
    t, rate = jobs[0].training, jobs[0].search.requests_per_second
    assert grpo["seconds_tools"] == pytest.approx(grpo["tool_calls"] * 0.7 / rate)
    assert grpo["trajectories"] == t.steps * t.prompts_per_step * t.group_size
    evaluated = (103 + 500 + 200 + 100) * jobs[0].evaluation.samples
    assert grpo["searches"] == pytest.approx(0.7 * (grpo["tool_calls"] + evaluated * slow.shape.calls))
    assert grpo["dollars"] == pytest.approx(grpo["searches"] * 1.5e-3)
    assert slow.total["device_hours"] > free.total["device_hours"] > 0
    more = plan(jobs, observed, Assumptions({"gpus": "16", "searches_per_second": "0"}, jobs[0]))
    assert more.rows[-1]["seconds_training"] == pytest.approx(free.rows[-1]["seconds_training"] / 2)


def test_the_command_prints_every_number_it_rests_on_and_writes_a_csv(tmp_path, capsys):
    out = tmp_path / "plan.csv"
    words = ["--table", "2", "--profile", "paper", "--methods", "core", "--csv", str(out)]
    assert cli.main(["plan", *words, "--assume", "gpus=16,search_price=3", "--runs-root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "gpus = 16 GPUs" in printed and "(set by --assume)" in printed and "Qwen/Qwen3-14B" in printed
    for name in ("train_use", "decode_use", "searches_per_second", "search_price", "segment_tokens", "longest"):
        assert f"  {name} = " in printed
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["row"] for row in rows] == ["warm_start", "grpo", "dapo", "arpo", "aepo"]
    for row in rows:
        stages = sum(float(row[f"seconds_{stage}"]) for stage in ("sampling", "tools", "training", "other"))
        assert float(row["device_hours"]) == pytest.approx(16 * stages / 3600, rel=1e-4)
    assert cli.main(["plan", "--table", "2", "--profile", "mini", "--runs-root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "CPU core-hours" in printed and "committed results: " in printed and "$" not in printed
    below = printed[printed.index("of wall time") :].splitlines()
    assert max(map(len, below)) <= 100, "lines that can be read"


def test_a_config_on_a_cpu_is_planned_in_core_hours_whatever_its_model(tmp_path, capsys):
    words = ["--table", "2", "--profile", "gpu", "--methods", "grpo", "--runs-root", str(tmp_path), "--set"]
    assert cli.main(["plan", *words, "training.device=cpu training.dtype=float32"]) == 0
    printed = capsys.readouterr().out
    assert "CPU core-hours" in printed and "cpu_flops" in printed and "this model was not measured on a CPU" in printed
    assert not any(word in printed for word in ("H800", "H100", "RTX", "GPUs"))
    out = tmp_path / "plan.csv"
    assert cli.main(["plan", *words, "training.device=cpu", "--csv", str(out), "--assume", "cpu_flops=1e12"]) == 0
    row = next(csv.DictReader(out.read_text().splitlines()))
    assert (row["device"], row["devices"]) == ("CPU", "1") and "cpu_flops = 1e+12" in capsys.readouterr().out


def test_many_tables_are_counted_and_their_files_named(observed):
    job = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0]
    one = next(seen for seen in observed if seen.source == COMMITTED and seen.job.model == job.model)
    trials = [
        replace(
            one,
            job=replace(one.job, experiment=f"tune2.learning_rate-{n}e-4"),
            source=OWN,
            where="runs/*/manifest.json",
        )
        for n in range(30)
    ]
    source = speed_for(job, trials, Assumptions()).source
    assert "30 runs of 30 tables and trials (runs/*/manifest.json)" in source and len(source) < 120
    assert f"30 runs of {one.job.experiment} (" in speed_for(job, [one] * 30, Assumptions()).source


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


def test_the_readme_shows_the_generated_plans(observed):
    if subprocess.run(["git", "diff", "--quiet", "--", "figures/bench.csv", "data/results"], cwd=ROOT).returncode:
        pytest.skip("figures/bench.csv or data/results was written by local runs")
    assert blocks.block((ROOT / "README.md").read_text(), readme.BLOCK) == readme.block(observed).strip()
