"""Rehearse a table's profile paper on this machine's processor: everything of it but its size.

    python -m reproduce rehearse --table 2 [--methods aepo] [--launch-config fsdp_cpu] [--quick]

Two processes under `accelerate launch`, a random Qwen3, the recorded search replayed, a judge behind an
OpenAI-compatible endpoint of this machine, micro-batches, a kill -9 in mid-training, resume, evaluation, the table.
No number of it is a result. Exit codes: 0 every stage did what it had to, 2 one did not (its line says which).
"""

import shutil
from pathlib import Path

from reproduce.arguments import Parser, first_line, folder, names
from reproduce.commands.rehearse import inputs
from reproduce.commands.rehearse.command import Command
from reproduce.commands.rehearse.judge_server import JudgeServer
from reproduce.commands.rehearse.settings import (
    LAUNCH,
    PROCESSES,
    PROFILE,
    QUICK,
    REAL,
    USUAL,
    differing,
    first_methods,
)
from reproduce.commands.rehearse.stages import (
    LIMIT,
    Stages,
    cold_start,
    launch_config,
    resumed,
    shown,
    trained_until_killed,
)
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.command_lines import accelerate_config
from reproduce.grid.resolve import named
from reproduce.paths import shown as path_shown
from reproduce.tools.hub.fetch import folder_revision
from reproduce.training.checkpoints import last_checkpoint

MARK = "rehearsal.txt"
NEEDS_A_CARD = (
    "the real model's size, memory and speed (make plan; python -m reproduce.training.memory)",
    "vLLM on a card: sleep, weights parameter by parameter, its share of the memory (make check-gpu)",
    "bfloat16 kernels, flex attention, NCCL, DeepSpeed (make check-gpu)",
    "the search engine's and the judge's own answers, keys and rate limits (make preflight PROFILE=paper)",
    "the hub's models and data at their pins (make preflight PROFILE=paper)",
)

OF_EPISODES = (
    "ScienceWorld, in whose place MiniHouse is played (make check-envs)",
    "the hub's models at their pins (make preflight PROFILE=paper)",
)


def parser() -> Parser:
    """The command's options."""
    made = Parser(prog="python -m reproduce rehearse", description=first_line(__doc__))
    add = made.add_argument
    add("--table", default="2", help="number of the table (default: %(default)s)")
    add("--methods", type=names, default=None, help="its rows (default: grpo, aepo; of table 3: ppo+epo)")
    add("--folder", type=folder, default=Path("runs/rehearsal"), help="made anew (default: %(default)s)")
    add("--launch-config", default=LAUNCH, help="one of ours, or a file, for these processes (default: %(default)s)")
    add("--model", type=Path, help="a folder that save_pretrained wrote, in place of a random model")
    add("--quick", action="store_true", help="the smallest sizes, for tests")
    add("--card", action="store_true", help="one process on this machine's card in place of two on its processor")
    return made


def main(words: list[str]) -> int:
    """Runs the rehearsal and prints its stages. UserError for bad words, and for a stage that fails."""
    options = parser().parse_args(words)
    methods = options.methods or first_methods(options.table)
    size = QUICK if options.quick else USUAL if options.model is None else REAL
    if options.model is not None:
        folder_revision(_model_folder(options.model))
    job = named(options.table, PROFILE, methods, [0])[0]  # bad words are said before anything is deleted
    accelerate_config(options.launch_config)
    stages, place = Stages(), options.folder.absolute()
    files = fresh(place) / "inputs"
    processes, device = (1, "cuda") if options.card else (PROCESSES, "cpu")
    config = launch_config(options.launch_config, place, processes)
    files.mkdir()
    if job.search is None:
        with stages.stage("inputs from committed files: model"):
            if options.model is None:
                inputs.write_model(files / "model", inputs.messages(job), size.shape)
    else:
        with stages.stage("inputs from committed files: model, question sets, recorded searches") as said:
            inputs.write_data(files / "data", job, size.demonstrations)
            queries = inputs.write_recording(files / "searches", job.search)
            if options.model is None:
                inputs.write_model(files / "model", inputs.texts(files / "data"), size.shape)
            said.append(f"{queries} recorded queries")
    with JudgeServer(job.judge.chat.model if job.judge else "") as judge:
        changes = differing(job, files, judge.url, size, device)
        changes |= {} if options.model is None else {"model.name_or_path": str(options.model.absolute())}
        settings = [f"{key}={value}" for key, value in changes.items()]
        jobs = named(options.table, PROFILE, methods, [0], settings)
        table = [
            *("table", options.table, "--profile", PROFILE, "--methods", ",".join(methods), "--seeds", "0"),
            *("--launcher", "accelerate", "--launch-config", str(config), "--runs-root", str(place)),
            *("--set", *settings),
        ]
        learns = not options.quick and job.warm_start.demonstrations > 0
        _rehearsed(stages, table, jobs, place, learns)
        asked = judge.asked
    _summary(stages, jobs[0], changes, asked, place)
    return 0


def _model_folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"--model {path}: there is no such folder")
    return path


def fresh(place: Path) -> Path:
    """The folder, empty but for a mark. UserError for one that holds something else than an earlier rehearsal."""
    if place.is_dir() and any(place.iterdir()):
        if not (place / MARK).is_file():
            raise UserError(f"{path_shown(place)} holds something else than a rehearsal: name another folder")
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    (place / MARK).write_text("A rehearsal: no number in this folder is a result. The next one replaces it.\n")
    return place


def _rehearsed(stages: Stages, table: list[str], jobs: list[JobConfig], place: Path, learns: bool) -> None:
    first, log = jobs[0], place / "log.txt"
    path = first.directory(place)
    command = Command(table, log)
    try:
        with stages.stage("warm start by all processes, evaluated") as said:
            said.append(cold_start(command, first, place))
        with stages.stage(f"{first.name}: training, then kill -9") as said:
            text, before = trained_until_killed(command, path)
            restart = _step(path, first)
            said.append(text)
        command = Command(table, log)
        with stages.stage(f"{first.name}: the same command again, resumed, evaluated") as said:
            said.append(resumed(command, first, path, before, restart))
            said.append(shown(first, path, learns))
        for job in jobs[1:]:
            with stages.stage(f"{job.name}: trained, evaluated") as said:
                command.until(lambda job=job: _finished(job, place), f"the end of {job.name}", LIMIT)
                said.append(shown(job, job.directory(place), learns))
        with stages.stage("the table") as said:
            command.until(lambda: command.process.poll() is not None, "the table", LIMIT)
            if command.process.returncode:
                raise UserError(f"the command ended with code {command.process.returncode}: {command.last()}")
            made = sorted(place.glob(f"{PROFILE}/*/figures/*.md"))
            if not made:
                raise UserError(f"no table was written below {path_shown(place)}")
            said.append(path_shown(made[0]))
    finally:
        command.stop()


def _finished(job: JobConfig, place: Path) -> bool:
    from reproduce.runs.reader import status_of

    return status_of(job.directory(place)) == "finished"


def _step(path: Path, job: JobConfig) -> int:
    """The RL step of the last checkpoint."""
    updates = job.training.epochs * job.training.minibatches
    return int(last_checkpoint(path / "checkpoints").name.rsplit("-", 1)[1]) // updates


def _summary(stages: Stages, job: JobConfig, changes: dict[str, str], asked: int, place: Path) -> None:
    table = job.experiment.partition(".")[0]
    print(f"\nRehearsed in {stages.seconds / 60:.1f} minutes: the profile {PROFILE} of {table} but for")
    sizes = {key: value for key, value in changes.items() if not value.startswith(str(place))}
    print("  " + " ".join(f"{key}={value}" for key, value in sizes.items()))
    print("Done:")
    for line in stages.done:
        print(f"  {line}")
    if job.judge is not None:
        print(f"  the judge's endpoint was asked {asked} times")
    print("Not shown here, needs a card or a service:")
    for line in NEEDS_A_CARD if job.search is not None else (*NEEDS_A_CARD[:3], *OF_EPISODES):
        print(f"  {line}")
