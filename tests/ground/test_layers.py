"""Imports point down: no package imports one above it, no modules import each other, and configs load quickly."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

LAYERS = (
    "ground",
    "config",
    "runs",
    "algorithms",
    "tools",
    "worlds",
    "rollouts",
    "evaluation",
    "training",
    "analysis",
    "grid",
    "commands",
    "cli",
)
"""From the bottom up. "ground" is the modules directly in `reproduce/`, which know no package."""
FOLDERS = {"analysis": ROOT / "analysis", "reproduce": ROOT / "reproduce"}


def modules() -> dict[str, Path]:
    found = {}
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The modules of ours that a module imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            deeper = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (deeper & MODULES.keys()) or {node.module}
    return names & MODULES.keys()


IMPORTS = {name: imported(path) - {name} for name, path in MODULES.items()}


def layer(module: str) -> str:
    top, _, rest = module.partition(".")
    if top == "analysis":
        return top
    first = rest.partition(".")[0]
    return "cli" if first in ("cli", "__main__") else first if (FOLDERS[top] / first).is_dir() and first else "ground"


@pytest.mark.parametrize("name", LAYERS)
def test_a_package_imports_only_what_is_below_it(name):
    own = [module for module in MODULES if layer(module) == name]
    assert own
    below = LAYERS[: LAYERS.index(name) + 1]
    assert [(m, to) for m in own for to in sorted(IMPORTS[m]) if layer(to) not in below] == []


def test_every_module_has_a_layer():
    assert {layer(module) for module in MODULES} == set(LAYERS)


def test_no_modules_import_each_other():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_nothing_imports_a_command_but_the_command_line():
    others = [module for module in MODULES if layer(module) not in ("commands", "cli")]
    assert [(m, to) for m in others for to in IMPORTS[m] if layer(to) == "commands"] == []


WORLD = re.compile(r"reproduce\.worlds\.(miniweb|minihouse|alfworld|scienceworld|benchmarks)\b")
PUBLIC_FILES = ("reproduce.worlds.benchmarks.files", "reproduce.worlds.benchmarks.datasets.sft")
"""Files that a run reads whatever its world is: an SFT set belongs to the warm start of any Hub model."""


def test_what_trains_reaches_a_world_through_the_registry():
    above = [module for module in MODULES if layer(module) in ("rollouts", "evaluation", "training", "grid")]
    named = [(module, to) for module in above for to in sorted(IMPORTS[module]) if WORLD.match(to)]
    assert [(module, to) for module, to in named if to not in PUBLIC_FILES] == []


def test_the_registry_lists_every_world_s_folder():
    folders = {path.parent.name for path in (ROOT / "reproduce" / "worlds").glob("*/__init__.py")}
    assert {f"reproduce.worlds.{name}.task" for name in folders} <= IMPORTS["reproduce.worlds.registry"]


def test_every_engine_s_name_is_a_module_with_a_host():
    from reproduce.config.engine import NAMES
    from reproduce.rollouts.engines.host import EngineHost, host_of

    assert all(issubclass(host_of(name), EngineHost) for name in NAMES)


def test_configs_load_neither_torch_nor_a_world():
    code = "import sys, reproduce.config.tables; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split())
    assert "reproduce.config.tables" in loaded
    assert not loaded & {"torch", "transformers", "trl", "numpy", "pandas", "httpx", "bm25s", "sympy"}
    assert {layer(module) for module in loaded & MODULES.keys()} <= {"ground", "config"}


def test_private_names_of_trl_are_in_one_file():
    private = re.compile(r"\b(_generate_and_score_completions|_compute_loss|_(load_from|save)_checkpoint)\b")
    using = {name for name, path in MODULES.items() if private.search(path.read_text())}
    assert {name for name in using if layer(name) != "commands"} == {"reproduce.training.trainer"}


def test_modules_that_prose_names_exist():
    folders = ("reproduce", "analysis", "tests")
    here = [f"/{path.relative_to(ROOT).as_posix()}" for folder in folders for path in (ROOT / folder).rglob("*.py")]
    elsewhere = re.compile(r"vllm_rollout_with_tools\.py|(verl|ARPO|AEPO|evaluation/src|gigpo|agent_system)/.*")
    prose = [*MODULES.values(), *ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("reproduce/*/*.md")]
    named = {(path, name) for path in prose for name in re.findall(r"`([\w/]+\.py)`", path.read_text())}
    known = {name for _, name in named if elsewhere.fullmatch(name) or any(path.endswith(f"/{name}") for path in here)}
    assert [(str(path), name) for path, name in named if name not in known] == []


def test_configs_know_the_question_sets_that_have_loaders():
    from reproduce.config.question_sets import EVALUATION_SETS, RL_SETS
    from reproduce.worlds.benchmarks.datasets.rl import RL_FILES
    from reproduce.worlds.benchmarks.questions import EVALUATION_FILES

    assert (EVALUATION_SETS, RL_SETS) == (tuple(EVALUATION_FILES), tuple(RL_FILES))


def test_commands_and_imports_that_documents_show_exist():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("reproduce/*/*.md"), *ROOT.glob("data/*/*.json")]
    shown = re.compile(r"(?:python -m|from|import) ((?:reproduce|analysis)(?:\.\w+)*)")
    named = {(path.name, name) for path in documents for name in shown.findall(path.read_text())}
    assert len(named) > 10 and [(path, name) for path, name in named if name not in MODULES] == []


def test_no_docstring_opens_with_what():
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = [(module, node) for module, path in MODULES.items() for node in ast.walk(ast.parse(path.read_text()))]
    said = [(module, ast.get_docstring(node)) for module, node in found if isinstance(node, nodes)]
    assert [(module, text) for module, text in said if text and text.startswith("What ")] == []
