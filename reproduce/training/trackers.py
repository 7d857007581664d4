"""Live curves: `training.report_to` names trackers, by the names that TRL's users know, that see every RL step.

    tensorboard   event files in the run directory, `tensorboard --logdir runs`
    trackio       a local database (`trackio show`), or what TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name
    wandb         Weights & Biases, as WANDB_MODE, WANDB_ENTITY and `wandb login` say

A tracker gets the columns of steps.parquet and timings.parquet that have a value, as
`train/<column>`, and the job's config; no file, no output of the terminal, no facts of the machine. The x-axis is the
RL step. No result depends on a tracker. `tracker.json` in the run directory holds the trackers' id of the run and the
last step that they have seen, so a resumed run goes on in the same curve and no step appears twice.

The run directory has everything that a tracker has. So one that fails in the middle of a run (a full disk, a lost
connection that its own retries did not mend) is given up with a line in the log, and the training goes on.
"""

import importlib
import importlib.util
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reproduce.config.strict import nearest
from reproduce.errors import UserError
from reproduce.runs import files
from reproduce.tools.search.keys import Secret, hide

TRACKERS = ("tensorboard", "trackio", "wandb")
"""Names of trackers, and of their packages."""
PROJECT = "aepo-epo"
STATE = "tracker.json"
_KEY = re.compile(r"KEY|TOKEN|SECRET|PASSW")


def tracker_names(report_to: str | None) -> tuple[str, ...]:
    """The names in a `report_to`, separated by commas; None, "" and "none" are no tracker.

    Raises:
        UserError: a name is not known, or its package is not installed.
    """
    names = [name.strip() for name in (report_to or "").split(",") if name.strip() not in ("", "none")]
    for name in names:
        if name not in TRACKERS:
            known = ", ".join([*TRACKERS, "none"])
            raise UserError(
                f"training.report_to: there is no tracker '{name}'; trackers: {known}{nearest(name, TRACKERS)}"
            )
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"training.report_to: the package '{name}' is not installed; run `pip install {name}`, or pip install "
                "-r requirements-trackers.txt"
            )
    return tuple(dict.fromkeys(names))


class _TensorBoard:
    """TensorBoard's writer with the calls that runs of trackio and wandb have."""

    def __init__(self, folder: Path, config: dict, first: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first)  # drops what an earlier session wrote from there on
        if first == 1:
            self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()), 0)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


def _opened(kind: str, folder: Path, name: str, config: dict, first: int):
    """A started tracker. name: of the run, with its id at the end; first: the next RL step."""
    if kind == "tensorboard":
        return _TensorBoard(folder / kind, flat(config), first)
    options = {"project": os.environ.get(f"{kind.upper()}_PROJECT", PROJECT), "name": name, "resume": "allow"}
    options |= {"group": f"{config['profile']}/{config['experiment']}", "config": flat(config)}
    if kind == "trackio":
        options |= {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    else:
        nothing = ("disable_git", "x_disable_stats", "x_disable_machine_info", "x_disable_meta")
        settings = {"console": "off", "save_code": False, "host": "-", **dict.fromkeys(nothing, True)}
        options |= {"id": name.rsplit("-", 1)[1], "dir": str(folder), "settings": settings}
    return importlib.import_module(kind).init(**options)


class ReportedRun:
    """A run directory whose steps also go to trackers; everything else is the run directory's own."""

    def __init__(self, run, trackers: dict, state: dict):
        """trackers: name -> what has `log(values, step)` and `finish()`; state: `tracker.json`, {"id", "step"}."""
        self._run, self._trackers, self._state = run, trackers, state

    def __getattr__(self, name: str):
        return getattr(self._run, name)

    def write_step(self, step: int, metrics: Mapping[str, float], rollouts, seconds: Mapping[str, float]) -> None:
        """As `RunDirectory.write_step`; then the trackers, if they have not seen the step yet."""
        self._run.write_step(step, metrics, rollouts, seconds)
        if step <= self._state["step"]:  # an earlier session reported it, and was killed before its checkpoint
            return
        values = {f"train/{name}": float(value) for name, value in metrics.items() if math.isfinite(value)}
        values |= {f"train/seconds_{name.removeprefix('seconds_')}": float(value) for name, value in seconds.items()}
        self._told(lambda tracker: tracker.log(values, step=step))
        self._state["step"] = step
        files.write_json(self._run.path / STATE, self._state, durable=False)

    def close(self) -> None:
        """Closes the trackers."""
        self._told(lambda tracker: tracker.finish())

    def _told(self, tell) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # of the tracker's own making: any kind, and no reason to lose the training
                print(f"tracker {name}: given up after {type(error).__name__}: {_one_line(error)}", flush=True)
                del self._trackers[name]


@contextmanager
def reported(run, config) -> Iterator[object]:
    """`run` itself without trackers, else a `ReportedRun` of the ones that `config.training.report_to` names.

    Of several processes the first alone reports.

    Args:
        run: an open RunDirectory.
        config: its JobConfig.

    Raises:
        UserError: a tracker cannot be opened.
    """
    from reproduce.training.parallel import process_index  # here: `tracker_names` is asked where torch is not needed

    names = tracker_names(config.training.report_to)
    if not names or process_index():
        yield run
        return
    path = run.path / STATE
    state = files.read_json(path) if path.is_file() else {"id": secrets.token_hex(4), "step": 0}
    files.write_json(path, state)
    name = f"{config.profile}-{config.experiment}-{config.name}-{config.seed}-{state['id']}"
    trackers: dict[str, object] = {}
    made = ReportedRun(run, trackers, state)
    try:
        for kind in names:
            trackers[kind] = _opened(kind, run.path, name, config.to_dict(), state["step"] + 1)
    except Exception as error:
        made.close()
        raise UserError(
            f"training.report_to: {kind} cannot be opened ({type(error).__name__}: {_one_line(error)}); mend it, or "
            "leave report_to out"
        ) from None
    try:
        yield made
    finally:
        made.close()


def flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    """A config as one level, keys joined by dots, without what is None: `training.steps`."""
    found: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return found


def _one_line(error: Exception) -> str:
    """An error's message on one line, without the keys in the environment, which a package may have put into it."""
    keys = [Secret(value) for variable, value in os.environ.items() if _KEY.search(variable)]
    return hide(" ".join(str(error).split()).encode(), keys).decode()
