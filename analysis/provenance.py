"""Notes under a table: panel, training, seeds, commit, config hashes, machine; and its times, apart from it."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis import style
from analysis.load import Source
from analysis.text_table import MISSING, TextTable

COMPARED = ("model", "warm_start", "training", "evaluation", "entropy_tokens")
"""The sections in which a table may differ from table 2 beside its task and its rows."""

REMARKS = {
    "gppo": "GPPO was trained without dual clip and dynamic sampling, which its authors' launchers have (OTHER-4 in "
    "figures/fidelity.md).",
    "ce-gppo": "CE-GPPO was trained without dual clip and dynamic sampling, which its authors' launchers have (OTHER-5 "
    "in figures/fidelity.md).",
}
"""Method -> where its committed runs differ from its authors' own, under every table that has its row."""
NARROW = " Its upper clip is 0.2 in these runs, 0.28 in the launchers."
"""What is added for GPPO's older runs."""

MAX_HASHES = 8  # rows whose first config hash is printed; more only in table<n>_runs.csv


def lines(source: Source, name: Callable[[str], str] = style.name) -> list[str]:
    """Provenance, one sentence a line. Nothing that a rerun changes. name: how rows are called."""
    trained = {m: s for m, s in source.scores.items() if m != style.WARM_START}
    by_seeds: dict[tuple, list[str]] = {}
    for method, scores in trained.items():
        by_seeds.setdefault(scores.seeds, []).append(name(method))
    seeds = "; ".join(f"{_names(names, trained)}: {_seeds(seeds)}" for seeds, names in by_seeds.items()) or "none"
    commit = _counts(
        source.manifests,
        lambda m: _short(m.get("code_commit")) + (" with local changes" if m.get("code_dirty") else ""),
    )
    origin = "published results" if source.origin == "results" else "your own runs"
    found = [
        f"Measured here, profile {source.profile}: {origin}.",
        panel(source),
        *training(source),
        *remarks(source),
        f"Seeds: {seeds}.",
        f"Commit: {commit}. {_hashes(source, name)}",
        f"Machine: {_counts(source.manifests, machine)}.",
    ]
    return found


def remarks(source: Source) -> list[str]:
    """`REMARKS` of the methods that have a row with results."""
    rows = source.config.get("rows") or {}
    methods = {(rows.get(name) or {}).get("method", name) for name in source.scores}
    narrow = any(row["method"] == "gppo" and row.get("algorithm", {}).get("clip_high") == 0.2 for row in rows.values())
    found = {method: text for method, text in REMARKS.items() if method in methods}
    return [text + (NARROW if narrow and method == "gppo" else "") for method, text in found.items()]


def _names(names: list[str], trained: dict) -> str:
    return "all rows" if len(names) == len(trained) else ", ".join(names)


def _hashes(source: Source, name: Callable[[str], str]) -> str:
    every = f"every run: table{source.table}_runs.csv"
    first = {m: source.manifest(m)[:1] for m in source.scores}
    hashes = [f"{name(m)} {_short(ms[0].get('config_hash'))}" for m, ms in first.items() if ms]
    if len(hashes) > MAX_HASHES:
        return f"Config hash of {every}."
    return f"Config hash of the first seed: {', '.join(hashes) or 'unknown'} ({every})."


def panel(source: Source) -> str:
    """How many questions of which kind were asked how often."""
    scores = next(iter(source.scores.values()))
    _, n_questions, n_samples = scores.correct_SQN.shape
    labels_Q = [f"{family}, level {level}" for family, level in zip(scores.families_Q, scores.levels_Q, strict=True)]
    if len(set(scores.families_Q)) == 1:
        labels_Q = [f"level {level}" for level in scores.levels_Q]
    elif len(set(scores.levels_Q)) == 1:
        labels_Q = list(scores.families_Q)
    kinds = ", ".join(f"{k}: {n}" for k, n in zip(*np.unique(labels_Q, return_counts=True), strict=True))
    return (
        f"Panel: {n_questions} questions ({kinds}) × {n_samples} samples a question; last checkpoint, never the best."
    )


def training(source: Source) -> list[str]:
    """Settings of every run, and where they differ from the published table 2."""
    t = source.config.get("training") or {}
    known = {"steps", "prompts_per_step", "group_size", "epochs"} <= t.keys()
    found = []
    if known:
        text = f"{t['steps']} RL steps × {t['prompts_per_step']} prompts × {t['group_size']} trajectories"
        if "minibatches" in t:
            updates = t["epochs"] * t["minibatches"]
            text += f"; {updates} updates per rollout ({t['epochs']} passes × {t['minibatches']} minibatches)"
        if "learning_rate" in t:
            text += f"; learning rate {t['learning_rate']:g}"
        found.append(f"Training: {text}.")
    if changes := differences(source.config, source.reference):
        found.append(f"Other than the published table 2: {', '.join(changes)}.")
    return found


def differences(config: dict, reference: dict) -> list[str]:
    """`training.steps 15 (there 30)` for every shared setting in which `config` is not `reference`."""
    found = []
    for section in COMPARED:
        mine, theirs = config.get(section), reference.get(section)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += [
                f"{section}.{k} {mine[k]} (there {theirs[k]})"
                for k in mine.keys() & theirs.keys()
                if mine[k] != theirs[k]
            ]
        elif mine is not None and theirs is not None and mine != theirs:
            found.append(f"{section} {mine} (there {theirs})")
    return sorted(found)


def machine(manifest: dict) -> str:
    """`Intel Xeon with AVX512, 2 cores, 8 GB, no GPU` from a manifest; older ones do not hold the instruction set."""
    found = manifest.get("machine") or {}
    memory = f"{float(found['memory_gb']):.0f} GB" if found.get("memory_gb") else "memory unknown"
    instructions = f" with {found['instruction_set']}" if found.get("instruction_set") else ""
    processor = f"{found.get('cpu') or 'CPU unknown'}{instructions}, {found.get('cores', '?')} cores"
    return f"{processor}, {memory}, {found.get('gpu') or 'no GPU'}"


def _short(text: object, length: int = 12) -> str:
    return str(text)[:length] if text else "unknown"


def _counts(manifests: list[dict], describe: Callable[[dict], str]) -> str:
    found = sorted({describe(m) for m in manifests})
    return ", ".join(found) if found else "unknown"


def _seeds(seeds) -> str:
    return ",".join(map(str, seeds))


def time_table(source: Source, name: Callable[[str], str] = style.name) -> TextTable:
    """Minutes a run and dates, from the manifests: what changes from run to run, kept apart from the table."""
    rows, seconds = [], [f"seconds_{stage}" for stage in ("total", "rollout", "train", "eval")]
    for method in style.order([m.get("method") for m in source.manifests if m.get("method")]):
        manifests = source.manifest(method)
        cost = pd.DataFrame([m.get("cost") or {} for m in manifests], columns=[*seconds, "peak_memory_mb"], dtype=float)
        minutes, memory = (cost[seconds] / 60).mean(), cost["peak_memory_mb"].max()
        row = [name(method), *(MISSING if np.isnan(value) else f"{value:.1f}" for value in minutes)]
        days = sorted(str(m["finished_at"])[:10] for m in manifests if m.get("finished_at"))
        finished = MISSING if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        rows.append([*row, MISSING if np.isnan(memory) else f"{memory:.0f}", str(len(manifests)), finished])
    header = ["Method", "Minutes a run", "Rollout", "Training", "Evaluation", "Peak memory, MB", "Runs", "Finished"]
    note = f"Mean over runs, minutes of wall time. {_counts(source.manifests, machine)}."
    return TextTable(f"Table {source.table}, time", header, rows, notes=[note])
