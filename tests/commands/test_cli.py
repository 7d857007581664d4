"""The commands with options of their own get every word that follows their name."""

import subprocess
import sys

import pytest
from checkout import make
from places import ROOT

from reproduce import cli
from reproduce.config.tables import tables
from reproduce.errors import UserError


def test_help_lists_them_beside_the_others(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    listed = {line.split()[0] for line in printed.splitlines() if line.strip()}
    assert {"table", "status", "bench", "real-input"} <= listed


def test_publish_takes_every_table_that_has_runs(monkeypatch, tmp_path, capsys):
    from reproduce.runs import publish

    seen = []
    monkeypatch.setattr(publish, "experiments", lambda profile, root: ["table2", "table4"])
    monkeypatch.setattr(publish, "publish", lambda profile, name, **options: seen.append(name) or [tmp_path / name])
    assert cli.main(["publish"]) == 0 and cli.main(["publish", "--experiment", "table5"]) == 0
    assert seen == ["table2", "table4", "table5"]
    assert str(tmp_path / "table4") in capsys.readouterr().out


def test_make_has_a_target_for_every_table_and_help_lists_it():
    listed = make("help")
    groups = [line for line in listed.splitlines() if line and not line.startswith(("make ", " "))]
    assert groups[0] == "Look first" and len(groups) > 5, "targets stand under headings"
    for name in tables():
        assert f"  reproduce-table{name} " in listed
        dry = make("-n", f"reproduce-table{name}", "METHODS=all", "SEEDS=0-2")
        assert f"-m reproduce table {name} " in dry and "--seeds '0-2' --methods 'all'" in dry


def test_an_option_may_come_first(monkeypatch):
    seen = []
    for name in ("bench", "real-input"):
        monkeypatch.setitem(cli.PROGRAMS, name, lambda words, name=name: seen.append((name, words)))
        assert cli.main([name, "--quick", "--only", "step"]) == 0
        assert cli.main([name]) == 0
    words = ["--quick", "--only", "step"]
    assert seen == [("bench", words), ("bench", []), ("real-input", words), ("real-input", [])]


def test_their_errors_are_one_line_and_code_2(monkeypatch, capsys):
    def refuse(words):
        raise UserError("bad\ninput")

    monkeypatch.setitem(cli.PROGRAMS, "bench", refuse)
    assert cli.main(["bench", "--quick"]) == 2
    assert capsys.readouterr().err == "error: bad input\n"


def test_unknown_options_are_refused_in_one_line(capsys):
    assert cli.main(["bench", "--quik"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and "--quik" in printed and printed.count("\n") == 1


def test_bench_help_shows_its_options_without_importing_torch():
    program = "import sys; from reproduce import cli\ntry: cli.main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program, "bench", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout and "--only" in done.stdout
