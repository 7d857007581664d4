"""The Makefile: values arrive as they are, a lost interpreter is made again, and the lock is what is installed."""

import importlib.metadata
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from checkout import make
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

HOSTILE = [
    "my runs",
    "a;b",
    "aepo(clip=1)",
    "$(shell echo pwned)",
    "`id`",
    "$HOME",
    "it's",
    'say "x"',
    "a\\b",
    "*",
    "#x",
]
VALUES = {
    "RUNS": "--runs-root",
    "METHODS": "--methods",
    "SEEDS": "--seeds",
    "SET": "--set",
    "JOBS": "--jobs",
    "REPORT_TO": "--report-to",
    "LAUNCHER": "--launcher",
    "LAUNCH_CONFIG": "--launch-config",
    "PROFILE": "--profile",
    "TASK": "--task",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def planned(target: str, *values: str, folder: Path = ROOT, **environment) -> list[list[str]]:
    """The commands that `make target` would run, each as its words."""
    lines = make("-n", target, *values, folder=folder, **environment).splitlines()
    return [shlex.split(line, comments=False) for line in lines]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("variable", VALUES)
def test_a_value_reaches_the_command_as_one_word(variable, value):
    words = planned("reproduce-table2", f"{variable}={value}")[-1]
    assert words[words.index(VALUES[variable]) + 1] == value
    assert planned("reproduce-table2", **{variable: value})[-1] == words, "from the environment too"


@pytest.mark.parametrize(
    ("target", "variable"),
    [
        ("plan", "CSV"),
        ("plan", "ASSUME"),
        ("tune", "CSV"),
        ("real-input", "DATA"),
        ("overlap", "DATA"),
        ("publish", "RUNS"),
        ("status", "RUNS"),
        ("pin-hub", "MODEL"),
        ("bench", "RUNS"),
        ("tables", "PROFILE"),
        ("plan", "TABLE"),
        ("preflight", "SET"),
        ("preflight", "CARD"),
        ("trees", "RUN"),
        ("trees", "QUESTION"),
        ("trees", "AND"),
    ],
)
@pytest.mark.parametrize("value", ["my data", "a;b", "it's"])
def test_so_do_those_of_the_other_targets(target, variable, value):
    assert value in planned(target, f"{variable}={value}")[-1]


def test_an_outer_make_changes_nothing(monkeypatch):
    words = planned("reproduce-table2")
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("MAKEFLAGS", "w -- RUNS=elsewhere")
    assert planned("reproduce-table2") == words


def test_switches_of_the_users_python_do_not_reach_our_commands():
    makefile = (ROOT / "Makefile").read_text()
    gone = re.findall(r"^unexport (.*)$", makefile, re.M)
    assert {"PYTHONOPTIMIZE", "PYTHONSAFEPATH", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS"} <= set(
        " ".join(gone).split()
    )


@pytest.mark.parametrize("broken", ["dangling", "missing", "no program"])
def test_an_interpreter_that_is_gone_is_made_again(tmp_path, broken):
    for name in ("Makefile", "requirements.txt", "requirements-lock.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv" / ".installed").touch()
    if broken == "dangling":
        python.symlink_to("/gone/python3")
    elif broken == "no program":
        python.write_text("")
    commands = [" ".join(words) for words in planned("status", folder=tmp_path)]
    assert "rm -rf .venv" in commands and any("-m venv .venv" in command for command in commands)


# ---------------------------------------------------------------- the lock


def required(path: Path) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


LOCK = {
    canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in required(ROOT / "requirements-lock.txt")
}


def needed() -> set[str]:
    """Names of all installed packages that requirements.txt needs, directly or through others."""
    found: set[str] = set()
    waiting = [(r.name, frozenset(r.extras)) for r in required(ROOT / "requirements.txt")]
    while waiting:
        name, extras = waiting.pop()
        if canonicalize_name(name) in found and not extras:
            continue
        found.add(canonicalize_name(name))
        for text in importlib.metadata.requires(name) or ():
            inner = Requirement(text)
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(each) for each in environments):
                if canonicalize_name(inner.name) not in found or inner.extras:
                    waiting.append((inner.name, frozenset(inner.extras)))
                    found.add(canonicalize_name(inner.name)) if inner.extras else None
    return found


@pytest.mark.skipif(
    not Path(sys.prefix, ".installed").is_file(), reason="an environment that the Makefile did not make"
)
def test_what_is_installed_is_what_the_lock_says():
    cuda = re.compile(r"nvidia-.*|cuda-.*|triton")  # what the CUDA build of torch brings
    names = {name for name in needed() if not cuda.fullmatch(name)}
    assert not names - LOCK.keys(), "not in requirements-lock.txt"
    other = {name: importlib.metadata.version(name).partition("+")[0] for name in names}
    assert {name: version for name, version in other.items() if version != LOCK[name]} == {}


def test_every_direct_pin_is_in_the_lock():
    for requirement in required(ROOT / "requirements.txt"):
        assert str(requirement.specifier) == f"=={LOCK[canonicalize_name(requirement.name)]}", requirement.name
