"""Run directories with small rows in them: begun, or finished."""

from pathlib import Path

from run_rows import evaluations, job, metrics, rollouts

from reproduce.runs.directory import RunDirectory

SECONDS = {"rollout": 1.0, "train": 2.0}


def start(root: Path, steps: int = 0, **changes) -> RunDirectory:
    """A run directory with `steps` complete steps."""
    config = job(**changes)
    run = RunDirectory.open(config.directory(root), config)
    for step in range(run.last_complete_step() + 1, steps + 1):
        run.write_step(step, metrics(step), rollouts(step), SECONDS)
    return run


def finished(root: Path, eval_rows=None, **changes) -> RunDirectory:
    run = start(root, 0 if changes.get("method") == "warm_start" else 3, **changes)
    run.write_eval(eval_rows or evaluations("warm_start" if changes.get("method") == "warm_start" else "last"))
    run.finish({"seconds_eval": 0.5})
    return run


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below `path` with its modification time and content."""
    return {
        str(p.relative_to(path)): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(path.rglob("*")) if p.is_file()
    }
