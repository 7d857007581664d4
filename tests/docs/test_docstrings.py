"""Docstrings of the mathematics name the shapes of the tensors that functions take."""

import ast
import re
from pathlib import Path

import pytest
from places import ROOT

MATHEMATICS = [
    *(ROOT / "reproduce" / "algorithms" / "parts").rglob("*.py"),
    ROOT / "reproduce" / "algorithms" / "kl_cov.py",
    ROOT / "reproduce" / "rollouts" / "engines" / "entropy_topk.py",
]


def functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", MATHEMATICS, ids=lambda path: path.stem)
def test_functions_of_tensors_name_their_shapes(path):
    for function in functions(path):
        said = ast.get_docstring(function) or ""
        for argument in [*function.args.args, *function.args.kwonlyargs]:
            axes = re.search(r"_([A-Z]{1,3})$", argument.arg)
            if axes:
                line = re.search(rf"(?:^ *|\. ){argument.arg}: .*(?:\n {{8,}}.*)*", said, re.MULTILINE)
                shape = re.compile(rf"\({', ?'.join(axes[1])},?\)")
                assert line and shape.search(line[0]), (
                    f"{path.name}: {function.name} does not name {argument.arg}'s shape"
                )


def test_there_is_mathematics_to_hold():
    assert sum(len(functions(path)) for path in MATHEMATICS) > 25
