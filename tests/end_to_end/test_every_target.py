"""Every target of the Makefile works in a fresh checkout at its smallest, and leaves the tracked files as they were."""

import os
import re
import shutil
import sys
from pathlib import Path

import hub
import pytest
import question_files
from checkout import fresh, git, make

VENV = Path(sys.prefix)
SMOKE = ("PROFILE=smoke", "SEEDS=0", "JOBS=1")

TRIED = {
    "help": ((), "reproduce-table1"),
    "quick": (("METHODS=grpo", "JOBS=1"), "This was the path, not a result"),
    "report": ((), "runs/report/index.html"),
    ".venv": ((), ""),
    "lint": ((), "All checks passed!"),
    "reproduce-table1": ((*SMOKE, "METHODS=grpo"), "runs/smoke/table1/figures/"),
    "reproduce-table2": ((*SMOKE, "METHODS=grpo"), "runs/smoke/table2/figures/"),
    "reproduce-table3": ((*SMOKE, "METHODS=grpo"), "runs/smoke/table3/figures/"),
    "reproduce-table4": ((*SMOKE, "METHODS=aepo"), "runs/smoke/table4/figures/"),
    "reproduce-table5": ((*SMOKE, "METHODS=grpo-lr1x-minibatches1x"), "runs/smoke/table5/figures/"),
    "reproduce-table6": ((*SMOKE, "METHODS=none,beta-10"), "runs/smoke/table6/figures/"),
    "tune": ((*SMOKE, "TABLE=2", "METHODS=grpo", "SET=training.steps=2", "CSV=runs/tune.csv"), "runs/tune.csv"),
    "publish": (("PROFILE=smoke", "TABLE=2"), "data/results/smoke/table2/manifests.json"),
    "status": ((), "table2"),
    "plan": (("TABLE=2", "PROFILE=paper", "ASSUME=gpu=A100,gpus=16", "CSV=runs/plan.csv"), "runs/plan.csv"),
    "power": (("TABLE=2", "EFFECT=2"), "seeds a row"),
    "warp": (
        (
            "START=runs/smoke/table2/grpo/0",
            "MERGE=runs/smoke/table2/grpo/0,runs/smoke/table2/grpo/0",
            "OUT=runs/merged",
        ),
        "2 merged runs",
    ),
    "preflight": (("TABLE=2",), "nothing fails"),
    "evaluate": (("PRESET=aepo-qwen3-14b-deepsearch", "PLAN=1"), "webwalker"),
    "rehearse": (("TABLE=2", "METHODS=aepo", "QUICK=1"), "needs a card"),
    "check-gpu": (("DRY=1", "ONLY=bf16-step,flex-attention"), "0 of 2 checks failed"),
    "tables": ((), "figures/table1.md"),
    "figures": ((), "figures/entropy_training.pdf"),
    "readme-plans": ((), "README.md"),
    "readme-methods": ((), "README.md"),
    "worlds": ((), "data/worlds/miniweb.jsonl"),
    "bench": (("QUICK=1",), "runs/bench.csv"),
    "real-input": (("DATA={questions}",), "trajectories ended by"),
    "overlap": (("DATA={sets}",), "questions touched"),
    "check-envs": (("GAMES=6", "STEPS=120", "EPISODES=1", "JOBS=1"), "no difference"),
    "trees": (("RUN=aepo", "STEP=1", "AND=arpo"), "runs/trees/aepo-0-step1-"),
    "clean-runs": (("RUNS=runs/old", "CONFIRM=1"), ""),
}
"""target -> (what is given to it, what it says)."""
FIRST = {"publish": "reproduce-table2", "status": "reproduce-table2", "warp": "reproduce-table2"}
"""target -> the target whose runs it is about."""
WRITES = {
    "tables": ("figures/table*", "figures/fidelity*", "figures/success_rules*", "figures/claims*", "figures/regimes*"),
    "figures": ("figures/entropy*", "figures/diversity*", "figures/stability*", "figures/epo*"),
    "worlds": ("data/worlds/miniweb.jsonl", "data/worlds/panels/*"),
    "readme-plans": ("reproduce/commands/plan/README.md",),
    "readme-methods": ("reproduce/algorithms/README.md",),
}
"""target -> the tracked files that it makes again, byte for byte."""
LEAVES = {"publish": "?? data/results/smoke/"}
"""target -> what git sees afterwards, to be committed."""
EXCUSED = {
    "test": "is what CI runs, in a fresh clone",
    "test-all": "runs this file",
    "test-browser": "is a file of `test`, and needs a browser",
    "test-vllm": "installs 4 GB",
    "bench-vllm": "installs 4 GB",
    "pin-hub": "asks the hub; tests/tools/test_hub.py runs it against a server of its own",
    "again": "is for an interpreter that is gone; tests/end_to_end/test_makefile.py",
    ".venv/.installed": "installs 6 GB; CI does so",
    ".venv/.envs-installed": "installs the real environments, some of it from source",
    ".venv-vllm/.installed": "installs 4 GB",
}
"""target -> why it is not tried here."""
REFUSED = {
    "evaluate": "give MODEL (a hub repository or a folder) or PRESET",
    "overlap": "make overlap DATA=FOLDER",
    "real-input": "make real-input DATA=FOLDER",
    "trees": "make trees RUN=aepo",
    "tune": "tables: 1, 2, 3, 4, 5",
    "warp": "required: --start, --merge, --out",
    "clean-runs": "make clean-runs CONFIRM=1",
}
"""target -> what it asks for where nothing is given to it."""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def targets() -> set[str]:
    """All that the Makefile can make, as Make itself lists it."""
    files = make("-npRr", "help").partition("\n# Files\n")[2]
    found = re.findall(r"^(# Not a target:\n)?(?!\.[A-Z])([\w.][^:=\s]*):", files, re.M)
    return {name for no_target, name in found if not no_target}


def test_every_target_is_tried_or_excused():
    assert not TRIED.keys() & EXCUSED.keys()
    assert targets() == TRIED.keys() | EXCUSED.keys()


@pytest.mark.parametrize("target", EXCUSED)
def test_an_excused_target_can_be_planned(target):
    make("-n", target)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A fresh one with the environment of these tests."""
    if not (VENV / ".installed").is_file():
        pytest.skip("an environment that the Makefile did not make")
    folder = fresh(tmp_path_factory.mktemp("every target") / "repository")
    (folder / ".venv").symlink_to(VENV)
    (folder / ".git/info/exclude").write_text(".venv\n")
    for name in folder.glob("requirements*.txt"):  # older than the environment
        os.utime(name, (0, 0))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of question files, by the names that `TRIED` calls them."""
    folder = tmp_path_factory.mktemp("data")
    return {"questions": question_files.write(folder / "questions"), "sets": hub.data_folder(folder / "sets")}


def spoil(folder: Path, patterns: tuple[str, ...]) -> None:
    """Deletes the files, and empties the README's block of plans where the README is one of them."""
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        if path.name == "README.md":
            path.write_text(re.sub("(<!-- plans -->).*(<!-- /plans -->)", r"\1\n\2", path.read_text(), flags=re.S))
        else:
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("target", TRIED)
def test_the_target_runs(target, checkout, data):
    if target == "check-envs" and not (VENV / ".envs-installed").is_file():
        pytest.skip("needs requirements-envs.txt, as make check-envs installs them")
    words, said = TRIED[target]
    if target in FIRST and not (checkout / "runs/smoke/table2").is_dir():
        make(FIRST[target], *TRIED[FIRST[target]][0], folder=checkout)
    spoil(checkout, WRITES.get(target, ()))
    assert bool(git(checkout, "status", "--porcelain")) == (target in WRITES)
    assert said in make(target, *(word.format(**data) for word in words), folder=checkout)
    assert git(checkout, "status", "--porcelain").strip() == LEAVES.get(target, "")
    git(checkout, "clean", "-fdq", "data")


@pytest.mark.slow
@pytest.mark.parametrize("target", REFUSED)
def test_a_target_that_needs_a_word_asks_for_it_in_one_line(target, checkout):
    lines = [line for line in make(target, folder=checkout, code=2).splitlines() if not line.startswith("make")]
    assert len(lines) == 1 and REFUSED[target] in lines[0]


def test_runs_are_deleted_where_that_is_confirmed(tmp_path):
    runs = tmp_path / "old runs"
    (runs / "smoke").mkdir(parents=True)
    make("clean-runs", f"RUNS={runs}", code=2)
    assert runs.is_dir()
    make("clean-runs", f"RUNS={runs}", "CONFIRM=1")
    assert not runs.exists() and tmp_path.is_dir()
