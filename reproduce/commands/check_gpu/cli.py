"""Check, on the first machine with a card, what no machine without one can show; write figures/gpu_check.csv.

    python -m reproduce check-gpu [--only lora,flex-attention] [--dry]

Each check is a process of its own with a time limit, and a failure does not stop the others. --dry: the same functions
at tiny size on the processor, where they can run at all; nothing is written unless --out names a file.
Exit codes: 0 nothing failed, 1 a check failed, 2 bad input.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from reproduce.arguments import Parser, first_line, names, new_file
from reproduce.errors import UserError, closest
from reproduce.paths import shown
from reproduce.runs.manifest import ROOT, code_version

OUT = ROOT / "figures" / "gpu_check.csv"
VERSIONS = ("torch", "transformers", "trl", "accelerate", "vllm", "deepspeed", "peft")


def main(words: list[str]) -> int:
    """Runs the checks, prints a line for each. UserError for bad words and, without --dry, for want of a card."""
    options = _parser().parse_args(words)
    from reproduce.commands.check_gpu.one import CHECKS

    chosen = options.only or list(CHECKS)
    for name in chosen:
        if name not in CHECKS:
            raise UserError(f"--only {name}: there is no such check; did you mean '{closest(name, CHECKS)}'?")
    machine = _machine(options.dry)
    print(", ".join(f"{name} {value}" for name, value in machine.items() if value), flush=True)
    rows, failed, began = [], 0, time.monotonic()
    for name in chosen:
        made = run(name, options.dry, CHECKS[name][1])
        rows += made
        failed += any(row["state"] == "FAIL" for row in made)
        print(_line(name, made), flush=True)
    print(f"{failed} of {len(chosen)} checks failed; {(time.monotonic() - began) / 60:.1f} minutes")
    out = options.out or (None if options.dry else OUT)
    if out is not None:
        write(out, rows, machine)
        print(f"written: {shown(out)}")
    return int(failed > 0)


def _parser() -> Parser:
    made = Parser(prog="python -m reproduce check-gpu", description=first_line(__doc__))
    made.add_argument("--dry", action="store_true", help="tiny sizes on the processor")
    made.add_argument("--only", type=names, help="some of the checks")
    made.add_argument("--out", type=new_file, help="the CSV file (default: figures/gpu_check.csv, --dry: none)")
    return made


def run(name: str, dry: bool, limit: float) -> list[dict]:
    """The rows of one check, run in a process group of its own for at most `limit` seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="check-gpu-") as folder:
        file, log = Path(folder) / "found.json", Path(folder) / "log.txt"
        words = [sys.executable, "-m", "reproduce.commands.check_gpu.one", name, str(file), *(["--dry"] if dry else [])]
        with open(log, "wb") as output:
            apart = dict(stdin=subprocess.DEVNULL, start_new_session=True)
            process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, **apart)
        try:
            process.wait(limit)
            found = json.loads(file.read_text()) if file.exists() else {"error": _died(process.returncode, log)}
        except subprocess.TimeoutExpired:
            found = {"error": f"it took longer than {limit:.0f} s"}
        finally:
            _end(process)
    return rows_of(name, found, time.monotonic() - began)


def _died(code: int, log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    return f"the process ended with code {code}: {last[:200]}"


def _end(process: subprocess.Popen) -> None:
    """Ends what the check's process group still runs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def rows_of(name: str, found: dict, seconds: float) -> list[dict]:
    """The CSV rows of a check from what it wrote: its figures, what it needs, or its error."""
    from reproduce.commands.check_gpu.figures import Figure

    row = {"check": name, "seconds": round(seconds, 1)}
    if "needs" in found:
        return [row | {"state": "not run", "said": f"needs {found['needs']}"}]
    if "error" in found:
        return [row | {"state": "FAIL", "said": found["error"]}]
    figures = [Figure(**figure) for figure in found["figures"]]
    return [
        row
        | {"state": "ok" if f.ok else "FAIL", "figure": f.name, "value": f.value, "unit": f.unit, "limit": f.limit}
        | {"said": str(f)}
        for f in figures
    ]


def _line(name: str, rows: list[dict]) -> str:
    states = {row["state"] for row in rows}
    state = "FAIL" if "FAIL" in states else "not run" if states == {"not run"} else "ok"
    return f"{state:8}{name:16}{rows[0]['seconds']:5.0f} s  {'; '.join(row['said'] for row in rows)}"


def _machine(dry: bool) -> dict[str, str]:
    """Card, driver's CUDA, commit and versions. UserError where there is no card and this is not dry."""
    import torch

    found: dict[str, str] = {"card": "none (dry)", "card_gb": "", "cuda": ""}
    if torch.cuda.is_available() and not dry:
        card = torch.cuda.get_device_properties(0)
        found |= {"card": card.name, "card_gb": f"{card.total_memory / 1e9:.1f}", "cuda": str(torch.version.cuda)}
    elif not dry:
        raise UserError("no CUDA device is found: run this on a machine with a card, or DRY=1 (--dry) on this one")
    commit, dirty = code_version()
    found["commit"] = f"{commit or ''}{' with changes' if dirty else ''}"
    for package in VERSIONS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def write(path: Path, rows: list[dict], machine: dict[str, str]) -> None:
    """The CSV file: a row for each figure, with the machine beside it."""
    import pandas

    from reproduce.runs.files import write_bytes

    columns = ["check", "state", "figure", "value", "unit", "limit", "seconds", "said", *machine]
    table = pandas.DataFrame([row | machine for row in rows], columns=columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, table.to_csv(index=False).encode())
