"""The output is a function of the program's text: two calls, two servers, two moments, one answer."""

import re

import pytest
from places import ROOT
from sandboxes import NAMES, usable

from reproduce.tools.sandbox import PythonSandbox

CLOCKS = {
    "time": "import time\nprint(time.time(), time.time_ns(), time.monotonic(), time.perf_counter_ns())",
    "texts": "import time\nprint(time.ctime(), time.asctime(), time.strftime('%H:%M:%S'), tuple(time.localtime()))",
    "datetime": "from datetime import *\nprint(datetime.now(), datetime.now(UTC), datetime.today(), date.today())",
    "old names": "from datetime import datetime as d\nprint(d.utcnow())",
    "logging": "import logging, io\ns = io.StringIO(); logging.basicConfig(stream=s, format='%(asctime)s')\n"
    "logging.error('x'); s.getvalue()",
    "timeit": "import timeit\ntimeit.timeit('1 + 1', number=10)",
    "loop": "import time\nn, end = 0, time.time() + 1\nwhile time.time() < end: n += 1\nn",
}
CHANCES = {
    "urandom": "import os\nprint(os.urandom(8), os.urandom(8), os.getrandom(4))",
    "random": "import random\nprint(random.random(), random.Random().random(), random.SystemRandom().random())",
    "seed": "import random\nrandom.seed()\nrandom.random()",
    "uuid": "import uuid\nprint(uuid.uuid1(), uuid.uuid4(), uuid.uuid4())",
    "secrets": "import secrets\nprint(secrets.token_hex(), secrets.randbelow(10**9))",
    "tempfile": "import tempfile\nprint(tempfile.mktemp(), tempfile.mkdtemp())",
    "numpy": "import numpy as np\nprint(np.random.rand(), np.random.default_rng().random())",
    "numpy seed": "import numpy as np\nnp.random.seed()\nnp.random.rand()",
    "sympy": "import sympy\nprint(sympy.randMatrix(2), sympy.core.random.random())",
    "mpmath": "import mpmath\nmpmath.rand()",
}
FIXED = {
    "process": ("import os\nos.getpid()", "2"),
    "hash": ("print(hash('a') == hash('a'), {'x', 'y', 'z'})", None),
    "start": ("from datetime import datetime\ndatetime.now()", "2025-01-01 00:00:00.001000"),
    "steps": ("import time\na = time.perf_counter()\nround(time.perf_counter() - a, 9)", "0.001"),
    "sleep": ("import time\na = time.monotonic()\ntime.sleep(0.02)\nround(time.monotonic() - a, 9)", "0.021"),
    "given time": (
        "import time\nprint(time.ctime(0), time.strftime('%Y', time.gmtime(0)), time.gmtime(86400).tm_mday)",
        "Thu Jan  1 00:00:00 1970 1970 2",
    ),
    "types": (
        "from datetime import *\nd = datetime(2020, 1, 2)\nprint(repr(d), type(d.now()), "
        "isinstance(d, date), repr(d - timedelta(1)))",
        "datetime.datetime(2020, 1, 2, 0, 0) <class 'datetime.datetime'> True datetime.datetime(2020, 1, 1, 0, 0)",
    ),
    "subclass": (
        "from datetime import *\nclass D(datetime): 0\nprint([type(f()).__name__ for f in (D.now, D.today)])",
        "['D', 'D']",
    ),
    "own seed": (
        "import random\nrandom.seed(7)\nprint(random.random(), random.Random(7).random())",
        "0.32383276483316237 0.32383276483316237",
    ),
    "numpy's own seed": (
        "from numpy.random import *\nseed(0)\nprint(rand(), default_rng(0).random())",
        "0.5488135039273248 0.6369616873214543",
    ),
    "waiting": (
        "import queue, threading\ntry: queue.Queue().get(timeout=.05)\nexcept queue.Empty: print('empty')\n"
        "threading.Event().wait(0.01)\nc = threading.Condition()\nwith c: print(c.wait_for(bool, 0.05))",
        "empty\nFalse",
    ),
    "as class attribute": ("import time\nclass A: now = time.time\nA().now() > 0", "True"),
    "shown": (
        "import time\nprint(time.time, time.sleep.__name__, time.time.__doc__[:6])",
        "<built-in function time> sleep time()",
    ),
}


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    """Two servers of each kind: with numpy and sympy loaded, and without."""
    name = usable(request.param)
    with (
        PythonSandbox(workers=2, backend=name) as loaded,
        PythonSandbox(workers=2, backend=name, preload=False) as bare,
    ):
        yield loaded, bare


@pytest.mark.parametrize("program", [*CLOCKS.values(), *CHANCES.values()], ids=[*CLOCKS, *CHANCES])
def test_two_calls_one_answer(pair, program):
    for sandbox in pair:
        first, second, third = sandbox.run_many([program, program, program])  # on two servers
        assert first.ok and first == second == third
        assert first.output


@pytest.mark.parametrize("program", CLOCKS.values(), ids=CLOCKS)
def test_the_clock_is_the_same_with_and_without_preload(pair, program):
    assert len({sandbox.run(program) for sandbox in pair}) == 1


@pytest.mark.parametrize("program", CHANCES.values(), ids=CHANCES)
def test_another_text_draws_otherwise_and_no_draw_repeats(pair, program):
    for sandbox in pair:
        one, other = sandbox.run(program).output, sandbox.run(program + "\n# another text").output
        numbers = re.findall(r"[0-9a-f.-]{8,}", one)
        assert len(numbers) == len(set(numbers)), one
        assert one != other


@pytest.mark.parametrize(("program", "output"), FIXED.values(), ids=FIXED)
def test_fixed(pair, program, output):
    for sandbox in pair:
        result = sandbox.run(program)
        assert result.ok and output in (None, result.output), result
        assert sandbox.run(program) == result


def test_the_documents_name_what_differs():
    text = (ROOT / "reproduce" / "README.md").read_text()
    text = " ".join(text.split("What differs, between backends or between two calls:")[1].split("\n## ")[0].split())
    for what in ("memory addresses", "threads", "time limit", "numpy.datetime64", "`posix` and `_io`", "`preload`"):
        assert what in text
