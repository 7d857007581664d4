"""Small synthetic results for the tests of analysis/: what a training or publishing leaves behind, without training."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from analysis import comparison, reported, write
from reproduce.runs import files, schema
from reproduce.seeding import stream

METHODS = {"grpo": 0.35, "dapo": 0.40, "arpo": 0.42, "aepo": 0.60}
QUESTIONS, SAMPLES, STEPS = 24, 5, 6
WORDS = ("search", "open", "note", "python", "answer")


def eval_rows(
    method, seed, success, questions=QUESTIONS, samples=SAMPLES, families=("mini-deepsearch",), splits=("test",)
):
    """Synthetic eval.parquet rows in which success falls with the level; families in turn, splits in blocks."""
    rng = stream(seed, "synthetic", method)
    rows = []
    for q in range(questions):
        level = 1 + q % 3
        for s in range(samples):
            actions = " > ".join(rng.choice(WORDS, size=int(rng.integers(2, 6))))
            correct = bool(rng.random() < success + 0.15 * (2 - level))
            rows.append(
                {
                    "checkpoint": "warm_start" if method == "warm_start" else "last",
                    "question_id": f"q{q:03d}",
                    "family": families[q % len(families)],
                    "level": level,
                    "split": splits[q * len(splits) // questions],
                    "sample": s,
                    "reward": float(correct),
                    "correct": correct,
                    "format_ok": True,
                    "answer": "a" if splits == ("test",) else f"won {correct:d}",  # worlds of episodes: their rules
                    "gold": "a",
                    "tool_calls": 3,
                    "completion_tokens": 40,
                    "sampled_tokens": 30,
                    "actions": actions,
                    "turn_entropies": [0.1, 0.2],
                    "text": f"<think> {actions} </think> <answer> {q % 5} </answer>",
                }
            )
    return pd.DataFrame(rows)[schema.EVAL_SCHEMA.names]


def step_rows(method, seed):
    """Synthetic steps.parquet rows that meet every premise."""
    rng = stream(seed, "synthetic-steps", method)
    frame = pd.DataFrame({c: 0.1 + 0.01 * rng.random(STEPS) for c in schema.STEP_METRICS})
    frame.insert(0, "step", np.arange(1, STEPS + 1))
    frame["entropy"] = np.linspace(0.4, 0.1 if method == "grpo" else 0.35, STEPS)
    for column, value in (
        ("entropy_after_result", 0.5),
        ("entropy_mid_segment", 0.1),
        ("high_entropy_follow", 0.55),
        ("high_entropy_base", 0.40),
        ("outside_clip_fraction", 0.02),
        ("entropy_outside", 0.9),
        ("entropy_inside", 0.1),
        ("outside_top20_share", 0.9),
        ("sampled_tokens", 1000.0),
        ("trained_tokens", 2000.0),
        ("tool_calls", 300.0),
        ("trajectories", 64.0),
    ):
        frame[column] = value + (0.001 * rng.random(STEPS) if value < 1 else 0)
    return frame


def manifest(method, seed, **more):
    """A finished run's manifest."""
    return {
        "schema_version": 1,
        "status": "finished",
        "profile": "mini",
        "experiment": "table2",
        "method": method,
        "seed": seed,
        "config_hash": f"{method}{seed}",
        "code_commit": "0123456789abcdef",
        "code_dirty": False,
        "versions": {},
        "machine": {"cpu": "Test CPU", "cores": 2, "memory_gb": 8.1, "gpu": None},
        "started_at": "2025-01-01T00:00:00+00:00",
        "finished_at": "2025-01-01T00:02:00+00:00",
        "error": None,
        "cost": {
            "seconds_total": 120.0,
            "seconds_rollout": 60.0,
            "seconds_train": 40.0,
            "seconds_eval": 20.0,
            "peak_memory_mb": 512.0,
        },
    } | more


TRAINING = {
    "steps": STEPS,
    "prompts_per_step": 4,
    "group_size": 4,
    "epochs": 2,
    "minibatches": 2,
    "learning_rate": 1e-3,
}
CONFIG = {"warm_start": {"success_low": 0.1, "success_high": 0.4}, "training": TRAINING}


def save(frame, path, kind, labelled=True):
    """Write a frame as training or publishing would: exactly the schema."""
    expected = getattr(schema, f"{kind.upper()}_SCHEMA")
    expected = schema.labelled(expected) if labelled else expected
    columns = [  # NaN is a number here; only a text may be missing
        pa.array(frame[column.name].to_numpy(), column.type, from_pandas=pa.types.is_string(column.type))
        for column in expected
    ]
    files.write_bytes(path, files.table_bytes(pa.table(columns, schema=expected)), durable=False)


def write_runs(root, methods=METHODS, seeds=(0, 1, 2), profile="mini", table="table2", variants=None, **changes):
    """Run directories as a training leaves them, the warm start included; returns `root`.

    methods: row -> success; variants: row -> {method, algorithm, training}; changes: of `eval_rows`.
    """
    rows = _rows(methods, variants)
    for name, seed, success in [("warm_start", 0, 0.25), *((m, s, p) for m, p in methods.items() for s in seeds)]:
        warm = name == "warm_start"
        folder = _made(root / profile / table / name / str(seed))
        save(eval_rows(name, seed, success, **changes), folder / "eval.parquet", "eval", labelled=False)
        config = {"method": name, "seed": seed} | CONFIG
        if not warm:
            steps = step_rows(name, seed)
            save(steps, folder / "steps.parquet", "steps", labelled=False)
            timings = steps[["step"]].assign(seconds_rollout=1.0, seconds_train=1.0)
            save(timings, folder / "timings.parquet", "timings", labelled=False)
            row = rows[name]
            config |= {
                "method": row["method"],
                "variant": name if name in (variants or {}) else None,
                "algorithm": row["algorithm"],
                "training_changes": row["training"],
                "training": TRAINING | row["training"],
            }
        (folder / "manifest.json").write_text(json.dumps(_manifest(name, seed, table, rows)))
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return root


def write_results(
    data_root, methods=METHODS, seeds=(0, 1, 2), profile="mini", table="table2", variants=None, **changes
):
    """Published results, one file per kind, and a small data/papers; returns `data_root`. Arguments: `write_runs`."""
    folder = _made(data_root / "results" / profile / table)
    runs = [("warm_start", 0, 0.25), *((m, s, p) for m, p in methods.items() for s in seeds)]
    evals = pd.concat([eval_rows(m, s, p, **changes).assign(method=m, seed=s) for m, s, p in runs])
    steps = pd.concat([step_rows(m, s).assign(method=m, seed=s) for m, s, _ in runs[1:]])
    save(evals, folder / "eval.parquet", "eval")
    save(steps, folder / "steps.parquet", "steps")
    rows = _rows(methods, variants)
    (folder / "manifests.json").write_text(json.dumps([_manifest(m, s, table, rows) for m, s, _ in runs]))
    varied = {key for row in rows.values() for key in row["training"]}
    training = {key: value for key, value in TRAINING.items() if key not in varied}
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"training": training, "rows": rows}))
    papers().to_csv(_made(data_root / "papers") / "toy.csv", index=False)
    return data_root


def save_validation(source, success):
    """Publish evaluations of the validation panel, after the last step and one before, for every run of `source`.

    success: row -> share of correct answers after the last step, exact to a hundredth; before it is 1.
    """
    frames = []
    for row, share in success.items():
        for seed in source.scores[row].seeds:
            for step in (STEPS - 1, STEPS):
                rows = eval_rows(row, seed, 0.5, questions=100, samples=1, splits=("validation",))
                correct = np.arange(100) < (round(100 * share) if step == STEPS else 100)
                frames.append(rows.assign(checkpoint=f"step {step}", correct=correct, method=row, seed=seed))
    save(pd.concat(frames), source.folder / "validation.parquet", "eval")


def _rows(methods, variants):
    plain = {name: {"method": name, "algorithm": {}, "training": {}} for name in methods}
    return {name: plain[name] | (variants or {}).get(name, {}) for name in methods}


def _manifest(name, seed, table, rows):
    method = rows[name]["method"] if name in rows else name
    more = {} if method == name else {"method": method, "variant": name}
    return manifest(name, seed, experiment=table) | more


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def papers():
    """Reported cells in the columns of data/papers."""
    arpo = {"table": "Table 2", "model": "Qwen3-14B", "method": "GRPO", "source": "ARPO, arXiv 2507.19849"}
    cells = [
        {
            "table": "abstract",
            "model": "Qwen3-14B",
            "method": "AEPO",
            "dataset": "GAIA",
            "value": "47.6",
            "source": "AEPO",
        },
        arpo | {"dataset": "GAIA Avg.", "value": "36.9"},
        arpo | {"dataset": "GAIA Lv.1", "value": "51.2"},
        arpo | {"table": "Table 1", "dataset": "AIME24", "value": "10.0"},
        arpo | {"table": "Table 1", "dataset": "WebWalkerQA", "value": "30.0"},
        arpo | {"method": "AEPO", "dataset": "WebWalkerQA Overall", "value": "20.0", "reported_by": "third party"},
    ]
    same = {
        "paper": "toy",
        "split": "-",
        "metric": "accuracy, pass@1",
        "reported_by": "the paper",
        "confidence": "high",
    }
    frame = pd.DataFrame([same | {"source_url": "https://arxiv.org/abs/2510.14545"} | cell for cell in cells])
    return frame[list(reported.COLUMNS)]


def reported_frame():
    """`papers` as `load_reported` gives it."""
    return papers().assign(number=lambda f: f["value"].astype(float))


def compared(published, own):
    """The comparison of two sources' tables."""
    return comparison.compare(write.build(published), write.build(own))
