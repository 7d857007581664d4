"""Draw a recorded group as one HTML file: a tree of turns, or strips of an episode's turns.

    python -m reproduce trees RUN [--question ID] [--step N] [--and RUN or STEP] [--out FILE]

RUN is a run directory whose config has `training.token_log`, or the name of a record in data/results/trees.
"""

import shlex
from pathlib import Path

from reproduce.arguments import Parser, first_line, folder, new_file
from reproduce.commands.trees.page import page
from reproduce.commands.trees.view import side
from reproduce.config.strict import nearest
from reproduce.errors import UserError
from reproduce.paths import shown
from reproduce.runs import files, token_records
from reproduce.runs.directory import make_root
from reproduce.runs.publish import RESULTS
from reproduce.runs.token_records import RecordedGroup, TokenRecord

COMMITTED = RESULTS / "trees"
SWITCH = 'SET="training.token_log.every=10"'


def parser() -> Parser:
    """The command's options."""
    made = Parser(prog="python -m reproduce trees", description=first_line(__doc__))
    add = made.add_argument
    add("run", nargs="?", help="a run directory, or the name of a record in data/results/trees")
    add("--question", help="id of a question, or its number in the record, from 0 (default: the first)")
    add("--step", help="a recorded RL step (default: the last one)")
    add("--and", dest="other", metavar="RUN or STEP", help="a second run, or another step of the same run, beside it")
    add("--out", type=new_file, help="the file to write (default: in <runs root>/trees)")
    add("--runs-root", type=folder, default=Path("runs"))
    return made


def main(words: list[str]) -> int:
    """Write the page and print its path. UserError for a run, step or question that is not there."""
    options = parser().parse_args(words)
    if not options.run:
        raise UserError(f"name a run: make trees RUN=aepo, or RUN=runs/mini/table2/aepo/0; {_there()}")
    first = _record(find(options.run), options.step)
    group = chosen(first, options.question)
    shown_groups = [(first, group)]
    if options.other:
        shown_groups.append(_second(options, first, group))
    command = f"make trees RUN={shlex.quote(options.run)} STEP={first.step} QUESTION={shlex.quote(group.question_id)}"
    command += f" AND={shlex.quote(options.other)}" if options.other else ""
    text = page([side(record, one) for record, one in shown_groups], command)
    out = options.out or _place(options.runs_root, shown_groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, text.encode(errors="replace"))
    print(shown(out))
    return 0


def find(name: str) -> Path:
    """Return the directory with the records of a run, given its path or the name of a committed one.

    Raises:
        UserError: there is none; the message says which there are, or how a run gets one.
    """
    for place in (Path(name), COMMITTED / name):
        if token_records.steps_of(place):
            return place
    if Path(name).is_dir():
        raise UserError(f"{name} has no tokens/<step>.json.gz: train it with {SWITCH}, which changes no result")
    known = names()
    raise UserError(f"there is no run {name}{nearest(name, known)}; {_there()}")


def names() -> list[str]:
    """List the committed records."""
    return sorted(path.name for path in COMMITTED.glob("*") if token_records.steps_of(path))


def _there() -> str:
    return f"committed records: {', '.join(names()) or 'none'}; a run of yours has them with {SWITCH}"


def _record(run: Path, step: str | None) -> TokenRecord:
    known = token_records.steps_of(run)
    if step is not None and step not in map(str, known):
        raise UserError(f"{run} has no record of step {step}; recorded steps: {', '.join(map(str, known))}")
    return token_records.read(token_records.path_of(run, known[-1] if step is None else int(step)))


def chosen(record: TokenRecord, question: str | None) -> RecordedGroup:
    """Return the group of a question, by its id or its number. Raises UserError if the record has none."""
    ids = [group.question_id for group in record.groups]
    if not ids:
        raise UserError(f"the record of {record.name}, step {record.step}, holds no group")
    if question is None:
        return record.groups[0]
    if question in ids:
        return record.groups[ids.index(question)]
    if question.isascii() and question.isdigit() and len(question) < 10 and int(question) < len(ids):
        return record.groups[int(question)]
    raise UserError(f"{record.name}, step {record.step}, has no question {question}; it has {', '.join(ids)}")


def _second(options, first: TokenRecord, group: RecordedGroup) -> tuple[TokenRecord, RecordedGroup]:
    """Record and group of the second side: the same question where it is there, else the record's first one."""
    run = find(options.run)
    if options.other in map(str, token_records.steps_of(run)):
        record = _record(run, options.other)
    else:
        other = find(options.other)
        same = first.step in token_records.steps_of(other)
        record = _record(other, str(first.step) if same or options.step else None)
    ids = [one.question_id for one in record.groups]
    if group.question_id in ids:
        return record, record.groups[ids.index(group.question_id)]
    print(f"{record.name}, step {record.step}, has no question {group.question_id}: its first one is shown")
    return record, chosen(record, None)


def _place(root: Path, groups: list[tuple[TokenRecord, RecordedGroup]]) -> Path:
    """Return the path of the page, of plain characters whatever the record says."""
    make_root(root)
    words = [f"{record.name}-{record.seed}-step{record.step}-{group.question_id}" for record, group in groups]
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "+-._") else "-" for c in "_".join(words))
    return root / "trees" / f"{plain[:180].lstrip('.')}.html"
