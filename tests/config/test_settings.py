"""Settings of the command line: read alike by table, tune and plan, refused at once where they do not fit."""

import dataclasses

import pytest

from reproduce import cli
from reproduce.config import command_line
from reproduce.config.tables import TableConfig, tables
from reproduce.errors import UserError
from reproduce.grid.resolve import named, resolve
from reproduce.runs import publish
from reproduce.runs.manifest import config_hash


def test_words_and_blanks_divide_settings():
    asked = {"training.steps": "48", "task.max_tool_calls": "6"}
    assert command_line.parsed(["training.steps=48 task.max_tool_calls=6"]) == asked
    assert command_line.parsed(["training.steps=48", "task.max_tool_calls=6"]) == asked
    assert command_line.parsed([]) == command_line.parsed([""]) == {}


@pytest.mark.parametrize("table", tables())
def test_every_table_takes_settings_into_its_jobs_hash_and_folder(table, tmp_path):
    plain = named(table, "mini", seeds=[0])
    asked = named(table, "mini", seeds=[0], changes=["training.steps=48 task.max_tool_calls=6"])
    for before, after in zip(plain, asked, strict=True):
        assert (after.training.steps, after.task.max_tool_calls) == (48, 6)
        assert after.experiment == f"table{table}.task.max_tool_calls-6_training.steps-48"
        assert config_hash(after) != config_hash(before)
        assert after.directory(tmp_path).parts[-3:] == (after.experiment, after.name, "0")
        training = dataclasses.replace(after.training, steps=before.training.steps)
        task = dataclasses.replace(after.task, max_tool_calls=before.task.max_tool_calls)
        assert dataclasses.replace(after, training=training, task=task, experiment=before.experiment) == before
    assert named(table, "mini", seeds=[0]) == TableConfig.load(table).jobs("mini", seeds=[0])


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("training.learning_rate=1e-3", lambda job: job.training.learning_rate == 0.001),
        ("training.learning_rate=1", lambda job: job.training.learning_rate == 1.0),
        ("training.dtype=float64", lambda job: job.training.dtype == "float64"),
        ("training.lora.rank=8", lambda job: job.training.lora.rank == 8 and job.training.lora.alpha == 128),
        ("training.gradient_checkpointing=true", lambda job: job.training.gradient_checkpointing is True),
        ("training.rollout_shards=null", lambda job: job.training.rollout_shards is None),
        ("task.families=mini-math,mini-knowledge", lambda job: job.task.families == ["mini-math", "mini-knowledge"]),
        ("entropy_tokens=3", lambda job: job.entropy_tokens == 3),
        ("engine.name=transformers", lambda job: job.engine.name == "transformers"),
    ],
)
def test_a_value_is_read_by_the_type_of_its_setting(word, read):
    made = named("2", "mini", ["grpo"], [0], [word])[0]
    assert read(made) and made.experiment.startswith(f"table2.{word.partition('=')[0]}-")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("training.steps", "--set training.steps is no setting: write section.key=value"),
        ("training.steps=", "is no setting"),
        ("=3", "is no setting"),
        ("training.steps=3 training.steps=4", "names a setting twice: give training.steps once"),
        ("training.step=3", "training.step is not a setting; did you mean 'steps'?"),
        ("trainin.steps=3", "trainin.steps is not a setting that all rows share; did you mean 'training'?"),
        ("seed=3", "seed is not a setting that all rows share"),
        ("engine=3", "engine is a section: name one of its settings, such as engine.name"),
        ("training=3", "training is a section: name one of its settings, such as training.steps"),
        ("training.steps.more=3", "training.steps.more is not a setting: training.steps has none of its own"),
        ("training.steps=many", "'training.steps' must be a whole number, not 'many'"),
        ("training.steps=2.5", "'training.steps' must be a whole number, not 2.5"),
        ("training.steps=null", "'training.steps' must be a whole number, not None"),
        ("training.steps=0", "'training.steps' must be positive, not 0"),
        ("training.learning_rate=inf", "'training.learning_rate' must be a number"),
        ("evaluation.split=dev", "'evaluation.split' must be one of train, validation, test"),
        ("search.results=3", "search.results is not a setting of table2 in profile mini"),
        ("algorithm.clip_high=0.3", "write algorithm.<method>.<setting>=value"),
        ("algorithm.aepo.clip_hig=0.3", "clip_hig"),
        ("algorithm.aepp.clip_high=0.3", "no row runs aepp; methods: grpo, aepo; did you mean 'aepo'?"),
        ("algorithm.aepo.clip_high=high", "clip_high"),
        # what only failed later
        ("evaluation.questions=100000", "evaluation.questions: the panel mini-deepsearch-test holds 240 questions"),
        ("warm_start.check_questions=100000", "warm_start.check_questions: the panel mini-deepsearch-validation"),
        ("task.families=mini-mathh", "task.families: unknown family 'mini-mathh'"),
        ("task.world=webb", "task.world: there is no world 'webb'"),
        ("training.group_size=1", "training.group_size must be at least 2"),
        ("engine.name=vllm", "engine.name: vLLM is not installed"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_starts(words, message, capsys, tmp_path):
    command = ["table", "2", "--methods", "grpo,aepo", "--seeds", "0", "--runs-root", str(tmp_path), "--set", words]
    if "vllm" in words:
        from reproduce.rollouts.engines.vllm_install import vllm_version

        if vllm_version() is not None:
            pytest.skip("vLLM is installed")
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["table", "2"], ["tune", "2"], ["table", "3"], ["tune", "3"]])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.device=cuda", "no CUDA device is found"),
        ("training.device=cuda:99", "training.device"),
        ("evaluation.questions=100000", "evaluation.questions: the panel"),
        ("task.families=kitchen", "'kitchen'"),
    ],
)
def test_table_and_tune_look_before_they_start(command, word, message, capsys, tmp_path):
    import torch

    if word == "training.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert cli.main([*command, "--profile", "smoke", "--runs-root", str(tmp_path), "--set", word]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_part_that_one_update_leaves_inert_is_found_before_the_runs():
    words = ["training.epochs=1 training.minibatches=1"]
    with pytest.raises(UserError, match="one update per rollout batch"):
        resolve("2", "mini", ["gppo"], [0], changes=words)
    assert resolve("2", "mini", ["grpo"], [0], changes=words)[0].training.minibatches == 1


def test_an_algorithms_setting_belongs_to_its_rows():
    made = {job.name: job for job in named("2", "mini", ["grpo", "aepo"], [0], ["algorithm.aepo.clip_high=0.28"])}
    assert made["aepo"].algorithm == {"clip_high": 0.28} and made["grpo"].algorithm == {}
    assert made["aepo"].experiment == made["grpo"].experiment == "table2.algorithm.aepo.clip_high-0.28"


def test_what_a_row_sets_itself_is_not_set_for_all():
    with pytest.raises(UserError, match="training.learning_rate is .* in the row"):
        named("5", "mini", seeds=[0], changes=["training.learning_rate=1e-3"])
    with pytest.raises(UserError, match="training.learning_rate .*grpo-lr1x-minibatches1x"):
        named("5", "mini", ["grpo-lr1x-minibatches1x"], [0], ["training.learning_rate=1e-3"])
    with pytest.raises(UserError, match="algorithm.aepo.branch_penalty"):
        named("4", "mini", seeds=[0], changes=["algorithm.aepo.branch_penalty=true"])
    with pytest.raises(UserError, match="training.group_size is 1 .*ppo.* 8 .*grpo"):
        named("3", "paper", seeds=[0], changes=["training.group_size=4"])


def test_a_setting_that_changes_no_result_changes_no_folder():
    made = named("2", "mini", ["grpo"], [0], ["training.checkpoint_every=5"])[0]
    assert made.training.checkpoint_every == 5 and made.experiment == "table2"
    assert config_hash(made) == config_hash(named("2", "mini", ["grpo"], [0])[0])


def test_a_name_is_the_same_for_the_same_settings_and_no_other():
    def name(*words):
        return named("2", "mini", ["grpo"], [0], words)[0].experiment

    assert name("training.learning_rate=5e-3", "task.max_tool_calls=6") == name(
        "task.max_tool_calls=6 training.learning_rate=0.005"
    )
    assert name("task.families=mini-math,mini-knowledge") != name("task.families=mini-knowledge,mini-math")
    assert name("training.learning_rate=1e-3") != name("warm_start.learning_rate=1e-3")
    assert command_line.label({"a.b": "x/y"}) != command_line.label({"a.b": "x-y"}) == "a.b-x-y"
    long = {f"section.key{i}": "1" for i in range(40)}
    assert len(command_line.label(long)) < 140 and command_line.label(long) != command_line.label(
        {**long, "section.key39": "2"}
    )


def test_runs_under_settings_are_never_published(tmp_path, capsys):
    from run_folders import finished

    for experiment in ("table2", "table2.training.steps-3"):
        finished(tmp_path / "runs", method="warm_start", experiment=experiment)
        finished(tmp_path / "runs", experiment=experiment)
    with pytest.raises(UserError, match="table2.training.steps-3"):
        publish.publish("smoke", "table2.training.steps-3", tmp_path / "runs", tmp_path / "results")
    command = ["publish", "--profile", "smoke", "--runs-root", str(tmp_path / "runs")]
    assert cli.main([*command, "--results-root", str(tmp_path / "results")]) == 0
    said = capsys.readouterr().out
    assert "not published: table2.training.steps-3, runs under settings of the command line" in said
    assert [path.name for path in (tmp_path / "results" / "smoke").iterdir()] == ["table2"]
    moved = tmp_path / "moved" / "smoke" / "table2"
    moved.parent.mkdir(parents=True)
    (tmp_path / "runs" / "smoke" / "table2.training.steps-3").rename(moved)
    with pytest.raises(UserError, match="it belongs elsewhere"):
        publish.publish("smoke", "table2", tmp_path / "moved", tmp_path / "results")


def test_a_plan_takes_settings_too(capsys):
    assert cli.main(["plan", "--table", "2", "--set", "training.steps=48"]) == 0
    said = capsys.readouterr().out
    assert "48 RL steps" in said and "under settings of the command line: training.steps-48" in said


def test_a_section_that_a_profile_adds_can_be_left_out():
    job = named("2", "paper", ["grpo"], [0], ["engine=null"])[0]
    assert job.engine is None and job.experiment == "table2.engine-null"
