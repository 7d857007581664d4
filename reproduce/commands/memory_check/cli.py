"""The command: which settings are measured, the estimate beside each, and the CSV file."""

import csv
import subprocess
import sys
from pathlib import Path

from reproduce.arguments import Parser, names, new_file
from reproduce.commands.memory_check import fake, peak
from reproduce.errors import UserError
from reproduce.training.flops import HUB
from reproduce.training.memory import GB, estimate, pass_bytes, warm_start_estimate

HEADER = ("measurement", "setting", "part", "measured_gb", "estimated_gb", "estimate_over_measured")
LARGE, SEVEN = HUB["Qwen/Qwen3-14B"], HUB["Qwen/Qwen2.5-7B-Instruct"]
STEPS = {  # table 2's rows; table 3's, whose PPO has a critic
    "Qwen3-14B, 1 row": fake.Step(LARGE, 1, 7216, 1024),
    "Qwen3-14B, 4 rows, foreach": fake.Step(LARGE, 4, 7216, 1024, "foreach"),
    "Qwen2.5-7B, 4 rows, single": fake.Step(SEVEN, 4, 2560, 2048, "single"),
    "Qwen2.5-7B's critic, 4 rows": fake.Step(SEVEN, 4, 2560, 2048, critic=True),
}


def estimated(step: fake.Step) -> dict[str, float]:
    """Bytes of a divided step by the estimate: resting (weights, states), gradients, pass, temporaries of AdamW."""
    m = step.model
    trained = (m.body + m.head if step.critic else m.parameters) / fake.CARDS
    temporaries = {"foreach": 4 * trained, "single": 8 * m.head / fake.CARDS, "fused": 0.0}[step.adamw]
    return {
        "resting": 12 * trained,
        "gradients": 4 * trained,
        "passes": sum(pass_bytes(m, "bfloat16", True, step.rows * step.width, step.scored, True)),
        "step": temporaries,
    }


def fake_rows(name: str) -> list[tuple]:
    """Rows of a step on fake tensors, a part each."""
    step = STEPS[name]
    found = fake.measured(step)
    return [_row("fake tensors", name, part, found[part], value) for part, value in estimated(step).items()]


def cpu_rows(name: str) -> list[tuple]:
    """Rows of a real run on a CPU: the most while training, and while sampling."""
    setting = peak.BY_NAME[name]
    job, found = setting.job, peak.measured(setting)
    rows = setting.rows_per_pass or setting.rows
    width = int(found["width"])
    if setting.sft:
        told = warm_start_estimate(job, model=setting.model, width=width)
        return [_row("CPU", name, "training", found["training"], told.training)]
    told = estimate(job, 0.0, tokens=rows * width, model=setting.model, width=width)
    return [
        _row("CPU", name, "training", found["training"], told.training),
        _row("CPU", name, "sampling", found["sampling"], told.resting + told.sampling),
    ]


def _row(measurement: str, setting: str, part: str, measured: float, told: float) -> tuple:
    ratio = f"{told / measured:.2f}" if measured > 0.01 * GB else ""
    return measurement, setting, part, f"{measured / GB:.2f}", f"{told / GB:.2f}", ratio


MEASURED = {**dict.fromkeys(STEPS, fake_rows), **dict.fromkeys(peak.BY_NAME, cpu_rows)}


def main(words: list[str]) -> int:
    """Measures what is asked for, one setting after the other, each in a process of its own, and writes every row at
    once. Goes on after a failure. Returns 1 if one failed. UserError for a setting that there is not."""
    made = Parser(prog="python -m reproduce.commands.memory_check", description=__doc__)
    made.add_argument("--only", type=names, help="settings, with semicolons in place of their commas (default: all)")
    made.add_argument("--csv", type=new_file, default=Path("figures/memory_check.csv"), help="default: %(default)s")
    made.add_argument("--row", help="print the rows of one setting, in this process")
    options = made.parse_args(words)
    if options.row is not None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(MEASURED[options.row](options.row))
        return 0
    wanted = [name.replace(";", ",") for name in options.only or ()] or list(MEASURED)
    unknown = [name for name in wanted if name not in MEASURED]
    if unknown:
        raise UserError(f"memory_check --only: there is no setting {unknown[0]!r}; settings: {'; '.join(MEASURED)}")
    failures = []
    with open(options.csv, "w", encoding="utf-8") as output:
        output.write(",".join(HEADER) + "\n")
        for name in wanted:
            command = [sys.executable, "-m", "reproduce.commands.memory_check", "--row", name]
            rows = subprocess.run(command, capture_output=True, text=True)
            if rows.returncode:
                failures.append(f"{name}: {(rows.stderr.strip().splitlines() or ['no message'])[-1]}")
                print(f"not measured: {failures[-1]}", file=sys.stderr, flush=True)
                continue
            print(rows.stdout, end="", flush=True)
            output.write(rows.stdout)
            output.flush()
    return int(bool(failures))
