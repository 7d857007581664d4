"""Count the cost of an evaluation before it starts: tokens, calls, hours, money, by the same count as `make plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.format import human
from analysis.text_table import MISSING, TextTable
from reproduce.commands.evaluate.presets import base_of
from reproduce.commands.plan.assumptions import GPUS, Assumptions
from reproduce.commands.plan.cost import BASELINE, committed, evaluation, shape_of, speed_for
from reproduce.commands.plan.report import hours
from reproduce.config.tables import JobConfig
from reproduce.training.flops import model_of, vocabulary_of

ONE_PROCESS, SAMPLES = {"gpus": "1"}, "here one process samples"


def plan(jobs: Sequence[JobConfig], changes: Mapping[str, str]) -> TextTable:
    """The cost of each set and in total. changes: of assumptions, name -> value. Starts nothing, asks nothing.

    UserError for a model of unknown shape, or an unknown assumption.
    """
    made = [replace(job, method=BASELINE) for job in jobs]  # the method is of training alone, of which there is none
    assume = Assumptions(made[0], {**ONE_PROCESS, **changes})
    shaped = replace(made[0].model, name_or_path=base_of(made[0].model.name_or_path))
    model = model_of(shaped, vocabulary_of(made[0]))
    runs, rows, total = committed(), [], [0.0] * 6
    for job in made:
        shape = shape_of(job, assume)
        speed = speed_for(job, runs, assume, model, shape)
        w = evaluation(job, model, shape)
        seconds = float(speed.seconds(w, shape).sum()) + assume("run_seconds")
        hosted = job.search.service != "local"
        searches = w.calls * assume("search_share")
        dollars = searches / 1000 * assume("search_price") if hosted else 0.0
        disk = assume("text_bytes") * (shape.answer + shape.result) * w.trajectories
        numbers = [w.trajectories, w.sampled, w.calls, seconds / 3600, dollars, disk]
        total = [one + other for one, other in zip(total, numbers, strict=True)]
        rows.append([job.name, *_cells(numbers, hosted)])
    rows.append(["total", *_cells(total, hosted)])
    header = ["Set", "Trajectories", "Sampled tokens", "Tool calls", "Hours", "Search cost", "Disk"]
    title = f"Plan: {made[0].model.name_or_path}, {made[0].evaluation.samples} samples, on one {speed.device}"
    ours = ONE_PROCESS.keys() - changes
    notes = [f"{n} = {a}: {a.meaning} ({SAMPLES if n in ours else a.source})" for n, a in assume.used().items()]
    if speed.device in GPUS and 2 * model.parameters > 0.9 * GPUS[speed.device][2]:
        notes.insert(0, f"The weights do not fit into one {speed.device}: several cards share them, and hours differ.")
    notes.insert(
        0, f"{human(model.parameters)} weights; {speed.source}. The judge's model and the download are not counted."
    )
    return TextTable(title, header, rows, bold=frozenset(), notes=notes)


def _cells(numbers: Sequence[float], hosted: bool) -> list[str]:
    trajectories, sampled, calls, of_hours, dollars, disk = numbers
    cost = f"${dollars:,.2f}" if hosted else MISSING
    return [f"{trajectories:.0f}", human(sampled), human(calls), hours(of_hours), cost, f"{human(disk)}B"]
