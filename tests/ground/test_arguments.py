"""What option parsers refuse at once, in one line."""

import argparse
import os

import pytest

from reproduce import arguments


@pytest.mark.parametrize(
    "text",
    [
        "0-999999999",
        "0-1000",
        "0-999,2000",
        "5-3",
        "a",
        "0-",
        "-1",
        "1,1",
        "0-3,2",
        "²",
        "1.0",
        "",
        ",",
        "99999999999",
        "٣",
    ],
)
def test_seeds_that_cannot_be_meant_are_refused_at_once(text):
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.seeds(text)


@pytest.mark.parametrize(("text", "found"), [("0", [0]), ("0,4-6", [0, 4, 5, 6]), (" 3 , 1 ", [3, 1])])
def test_seeds(text, found):
    assert arguments.seeds(text) == found and len(arguments.seeds("0-999")) == 1000


@pytest.mark.parametrize("text", ["0", "-1", "²", "x", "", "1e3"])
def test_a_number_of_runs_is_a_whole_number(text):
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.count(text)


@pytest.mark.parametrize(("width", "left"), [("0", None), ("", None), ("00", None), ("120", "120")])
def test_a_width_that_is_none_is_forgotten(monkeypatch, width, left):
    monkeypatch.setenv("COLUMNS", width)
    arguments.readable_output()
    assert os.environ.get("COLUMNS") == left
