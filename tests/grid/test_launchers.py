"""The launchers: accelerate and Slurm start real runs, a lost one is a failure of its own, and nothing runs twice."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import hub
import parallel_child
import psutil
import pytest
import tiny
import yaml
from grid_runs import JOBS, bytes_of, child, importable, paths, steps_in_log  # noqa: F401
from places import ROOT

from reproduce import cli
from reproduce.config.tables import JobConfig
from reproduce.environment import ONE_THREAD
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.grid.command_lines import CONFIGS, WORDS, accelerate_config, accelerated
from reproduce.grid.freeze_inputs import pinned
from reproduce.grid.launchers import Accelerate, Local, open_launcher
from reproduce.grid.on_node import OnNode
from reproduce.grid.slurm import DEFAULT, Slurm, SlurmConfig
from reproduce.runs.directory import RunDirectory
from reproduce.runs.reader import read_run
from reproduce.training.prepare import warm_start_folder

needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="the extra submitit is missing: pip install submitit==1.5.4"
)
HERE = SlurmConfig(cluster="local", gpus_per_node=0, hours=0.1)


def warm_start(config, path: Path, root: Path) -> list[str]:
    return [sys.executable, "-c", "print('made by one process')"]


def run(root: Path, launcher, jobs=JOBS, **orders) -> list[runner.Failure]:
    """The grid of `jobs` through `launcher`; `orders` by method tell its runs how to misbehave."""
    root.mkdir(exist_ok=True)
    (root / "orders.json").write_text(json.dumps({f"{method}/0": order for method, order in orders.items()}))
    return runner.run(jobs, root, 2, command=child, warm_start=warm_start, launcher=launcher)


@needs_submitit
@pytest.mark.slow
def test_every_run_is_a_job_and_a_lost_one_does_not_stop_the_others(tmp_path):
    """Through submitit's own executor of processes: submitted, polled, killed, submitted again, resumed."""
    assert run(tmp_path / "whole", Local()) == []
    (failure,) = run(tmp_path / "cut", Slurm(HERE, tmp_path / "cut"), grpo={"die": 3})
    assert failure.name == "grpo seed 0" and "step 2" in failure.reason
    grpo, aepo = paths(tmp_path / "cut")
    assert read_run(aepo).manifest["status"] == "finished"
    assert json.loads((grpo / "manifest.json").read_text())["status"] == "failed"
    assert run(tmp_path / "cut", Slurm(HERE, tmp_path / "cut")) == []
    assert steps_in_log(grpo) == ["step 1", "step 2", "step 3"], "each step once: resumed, not repeated"
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    jobs = [json.loads(p.read_text())["job_id"] for p in (tmp_path / "cut" / ".slurm" / "jobs").glob("*.json")]
    assert (aepo.parents[1] / "warm_start" / "0" / "log.txt").read_text() == "made by one process\n" * 2
    assert len(set(jobs)) == 3 and all(list((tmp_path / "cut" / ".slurm").glob(f"{job}_0_result.pkl")) for job in jobs)


@needs_submitit
@pytest.mark.slow
def test_a_node_that_dies_is_one_clear_failure(tmp_path, monkeypatch):
    """What dies is all of the job's processes, and no exit code comes back."""
    launcher = Slurm(HERE, tmp_path)
    start = launcher.start

    def dying(command, log):
        made = start(command, log)
        if "grpo" in str(log):
            deadline = time.monotonic() + 300
            while not (tmp_path / "hanging").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            controller = psutil.Process(made.job._process.pid)
            for process in [*controller.children(recursive=True), controller]:
                process.kill()
        return made

    launcher.start = dying
    (failure,) = run(tmp_path, launcher, grpo={"hang": 2})
    assert "grpo seed 0 failed: job " in str(failure) and " was lost (" in failure.reason
    assert "\n" not in str(failure) and read_run(paths(tmp_path)[1]).manifest["status"] == "finished"
    assert run(tmp_path, Slurm(HERE, tmp_path)) == []


@needs_submitit
@pytest.mark.slow
def test_an_interrupted_command_cancels_its_jobs(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell job inherits it ignored
    launcher = Slurm(HERE, tmp_path)
    (tmp_path / "orders.json").write_text(json.dumps({"grpo/0": {"hang": 2}}))
    path = paths(tmp_path)[0]
    RunDirectory.open(path, JOBS[0])
    made = launcher.start(child(JOBS[0], path, tmp_path), path / "log.txt")
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 300
    while not (tmp_path / "hanging").exists() or not (tmp_path / "hanging").read_text():
        assert made.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    pid = int((tmp_path / "hanging").read_text())
    launcher.stop([made])
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_settings_of_slurm_are_strict(tmp_path):
    assert SlurmConfig.load(None) == SlurmConfig(), f"{DEFAULT.name} shows the defaults"
    path = tmp_path / "my.yaml"
    for text, message in (
        ("gpus: 8", "my.yaml: unknown key 'gpus'; did you mean 'gpus_per_node'"),
        ("nodes: 0", "my.yaml: 'nodes' must be positive"),
        ("cluster: pbs", "my.yaml: 'cluster' must be one of slurm, local"),
        ("{cluster: local, nodes: 2}", "my.yaml: 'nodes' must be 1 on this machine"),
    ):
        path.write_text(text)
        with pytest.raises(UserError) as error:
            SlurmConfig.load(str(path))
        assert message in str(error.value)
    with pytest.raises(UserError, match="'fdsp'; .*ddp, "):
        accelerate_config("fdsp")
    with pytest.raises(UserError, match="--launch-config belongs to"):
        open_launcher("local", "ddp", tmp_path)


@needs_submitit
@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="this machine has Slurm")
def test_a_machine_without_slurm_is_told_so(tmp_path):
    with pytest.raises(UserError, match="--launcher slurm: .*sbatch"):
        Slurm(SlurmConfig(), tmp_path)


def test_nodes_of_a_job_are_told_their_place():
    task = OnNode(tuple(accelerated(CONFIGS / "fsdp_nodes.yaml", ["job", "run"])), Path("log.txt"), WORDS, 2, 8)
    words = task.place(1, "node7", "41234_0")
    assert words == [
        "--num_machines",
        "2",
        "--machine_rank",
        "1",
        "--main_process_ip",
        "node7",
        "--num_processes",
        "16",
        "--main_process_port",
        "21234",
    ]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configs(path):
    """By its own parser, with the words that we add; what a config sets is what the launch gets."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    words = accelerated(path, ["job", "run"], "--main_process_port", "0")[3:]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    said = yaml.safe_load(path.read_text())
    assert arguments.num_processes == said["num_processes"] and arguments.num_machines == said["num_machines"]
    assert arguments.use_fsdp == path.stem.startswith("fsdp")
    assert arguments.use_deepspeed == path.stem.startswith("zero")
    assert arguments.module and arguments.training_script == "reproduce" and arguments.main_process_port == 0
    if arguments.use_fsdp:
        assert arguments.fsdp_version == 2
    if arguments.use_deepspeed:
        assert arguments.zero_stage == 3 and arguments.deepspeed_multinode_launcher == "standard"


def real_jobs(root: Path, methods=("grpo", "aepo")):
    """Smoke-sized runs in two shards, with a warm start that was not trained."""
    found = []
    for method in methods:
        made = parallel_child.config(method, {"steps": 2})
        found.append(replace(made, evaluation=replace(made.evaluation, questions=3, samples=1)))
    folder = warm_start_folder(found[0], root)
    folder.parent.mkdir(parents=True)
    tiny.model(scale=2.0).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return found


def two_processes(folder: Path, name: str = "ddp") -> Path:
    """Our config of that name, with two processes."""
    said = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump(said | {"num_processes": 2}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ddp", "fsdp_cpu"])
def test_a_run_through_accelerate_is_the_run_of_one_process(tmp_path, config):
    """The whole job: two processes, one run directory, evaluation shared out; resumed after it was killed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        jobs = real_jobs(tmp_path / name, ("grpo",))
    assert runner.run(jobs, tmp_path / "one", 1, warm_start=False) == []
    launcher = Accelerate(two_processes(tmp_path, config))
    start = launcher.start

    def killed(command, log):
        made = start(command, log)
        while not list((log.parent / "parts").glob("000001.steps.json")):
            assert made.poll() is None
            time.sleep(0.05)
        made.send_signal(signal.SIGKILL)
        return made

    launcher.start = killed
    (failure,) = runner.run(jobs, tmp_path / "two", 1, warm_start=False, launcher=launcher)
    assert "SIGKILL" in failure.reason
    again = Accelerate(two_processes(tmp_path, config))
    assert runner.run(jobs, tmp_path / "two", 1, warm_start=False, launcher=again) == []
    one, two = (read_run(jobs[0].directory(tmp_path / name)) for name in ("one", "two"))
    for name in ("steps", "eval"):
        a, b = one.frame(name), two.frame(name)
        numbers = a.select_dtypes("number").columns
        assert a[numbers].to_dict("list").keys() == b[numbers].to_dict("list").keys() and len(a) == len(b) > 0
        for column in numbers:
            assert a[column].tolist() == pytest.approx(b[column].tolist(), abs=1e-5, rel=1e-4, nan_ok=True), column
    assert one.frame("eval")["question_id"].tolist() == two.frame("eval")["question_id"].tolist()
    assert len(one.rollouts) == len(two.rollouts)


@pytest.mark.slow
def test_an_sft_warm_start_takes_the_processes_of_the_runs(tmp_path):
    """A table on a hub's model as a command begins it: warm start and run, each by two processes."""
    model, data = hub.checkpoint(tmp_path / "model"), hub.data_folder(tmp_path / "data")
    changes = {"warm_start": {"batch_size": 4}, "training": {"steps": 1, "rollout_shards": 2}}
    jobs = pinned([JobConfig.from_dict(hub.config(model, data, **changes))])
    assert runner.run(jobs, tmp_path, 1, launcher=Accelerate(two_processes(tmp_path))) == []
    start = jobs[0].warm_start_job().directory(tmp_path)
    said = (start / "log.txt").read_text()
    assert said.count("rows of arpo-sft-54k.json have at most") == 2, "both processes"
    assert len(read_run(start).eval) == 8 and len(read_run(jobs[0].directory(tmp_path)).steps) == 1


@pytest.mark.slow
def test_the_error_of_one_of_several_processes_is_the_error_of_the_run(tmp_path):
    jobs = real_jobs(tmp_path, ("grpo",))
    shutil.rmtree(warm_start_folder(jobs[0], tmp_path))
    (failure,) = runner.run(jobs, tmp_path, 1, warm_start=False, launcher=Accelerate(two_processes(tmp_path)))
    assert "needs its warm start made before" in failure.reason and "\n" not in failure.reason


def test_the_command_line_names_the_launchers(capsys):
    with pytest.raises(SystemExit):
        cli.main(["table", "--help"])
    assert "--launcher {local,accelerate,slurm}" in capsys.readouterr().out
    assert cli.main(["table", "2", "--launcher", "accelerate", "--launch-config", "fdsp"]) == 2
    assert "there is no accelerate config 'fdsp'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_launch_of_accelerate_ends_with_what_started_it(tmp_path):
    """Even after kill -9: the launcher and the processes that it started."""
    script = tmp_path / "sleeper.py"
    script.write_text(
        "import os, sys, time\nfrom reproduce.parent import die_with_parent\ndie_with_parent()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    words = [*accelerated(CONFIGS / "one_gpu.yaml", ["job", "run"])[:5], str(script)]
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom reproduce.grid import processes\n"
        f"processes.start({words!r}, Path({str(tmp_path / 'log.txt')!r}))\ntime.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **ONE_THREAD})
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and owner.poll() is None, (tmp_path / "log.txt").read_text()
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
