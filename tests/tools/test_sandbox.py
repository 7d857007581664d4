"""Hostile and ordinary programs against every sandbox backend that this machine has."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from places import ROOT

from reproduce.errors import UserError
from reproduce.tools.sandbox import BACKENDS, Limits, PythonSandbox, SandboxResult, probe
from reproduce.tools.sandbox.backend import Backend, Launch, Unavailable
from reproduce.tools.sandbox.probe import reason_against

SECRET = "planted-secret-7c1f"
RAW = "import posix as os\nfrom _io import open\n"  # the kernel's answers, not those of `inside/view.py`
LIMITS = Limits(seconds=1, memory_mb=128, processes=6, output_chars=300)


@pytest.fixture(scope="module", params=[backend.name for backend in BACKENDS])
def backend(request):
    chosen = next(known for known in BACKENDS if known.name == request.param)
    reason = reason_against(chosen)
    if reason is not None:
        pytest.skip(f"{chosen.name} does not work on this machine: {reason}")
    return chosen.name


@pytest.fixture(scope="module")
def sandbox(backend):
    os.environ["PLANTED"] = SECRET
    with PythonSandbox(LIMITS, workers=2, backend=backend) as opened:
        yield opened
    del os.environ["PLANTED"]


def servers(sandbox) -> list[int]:
    """Process ids, on the host, of the servers' Python processes (below bwrap: the innermost process)."""
    found = []
    for process in sandbox.pids:
        while Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].endswith(b"bwrap"):
            process = ([process] + _children(process))[-1]  # none yet: bwrap is still starting
        found.append(process)
    return found


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def _tree(process: int) -> set[int]:
    return {process}.union(*(_tree(child) for child in _children(process)))


def _alive(processes: set[int]) -> set[int]:
    states = {}
    for process in processes:
        try:
            states[process] = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {process for process, state in states.items() if state != "Z"}


def _wait_until_gone(processes: set[int], seconds: float = 5) -> set[int]:
    end = time.monotonic() + seconds
    while (left := _alive(processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


# Files


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/hostname", "{repo}/tests/conftest.py", "{home}", "{cwd}"])
def test_no_file_of_the_user_is_readable(sandbox, tmp_path, monkeypatch, path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "diary.txt").write_text(SECRET)
    here = {"repo": ROOT, "home": tmp_path / "diary.txt", "cwd": Path.cwd() / "reproduce" / "errors.py"}
    path = path.format(**here)
    assert Path(path).is_file()
    result = sandbox.run(f"print(open({path!r}).read())")
    assert result == SandboxResult(False, "", f"FileNotFoundError: [Errno 2] No such file or directory: {path!r}")
    result = sandbox.run(RAW + f"print(open({path!r}).read())")
    assert result.error.startswith(("FileNotFoundError", "PermissionError")), result
    assert result.output == ""


@pytest.mark.parametrize("folder", [str(ROOT), "/home", "/proc", "/proc/self/root", "/sys", "/var", "/etc"])
def test_no_folder_of_the_user_can_be_listed(sandbox, folder):
    result = sandbox.run(RAW + f"print('Makefile' in os.listdir({folder!r}) or os.listdir({folder!r}))")
    if sandbox.backend == "bubblewrap" and result.ok:  # the empty folders in which the runtime is mounted
        assert set(result.output.strip("[]").replace("'", "").split(", ")) <= {".venv", "ld.so.cache", ""}
    else:
        assert result.error.startswith(("FileNotFoundError", "PermissionError")), result


def test_nothing_outside_the_private_folder_can_be_written_or_changed(sandbox, tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("before")
    target.chmod(0o644)
    program = f"""
import json, sympy
import numpy
{RAW}
attempts = [lambda: open("/tmp-outside", "w"), lambda: open({str(target)!r}, "w"), lambda: os.remove({str(target)!r}),
    lambda: os.chmod({str(target)!r}, 0o777), lambda: os.utime({str(target)!r}, (1, 1)),
    lambda: os.truncate({str(target)!r}, 0), lambda: os.rename({str(target)!r}, "mine"),
    lambda: os.link({str(target)!r}, "mine"), lambda: os.mkdir({str(tmp_path / "made")!r}),
    lambda: open(json.__file__, "a"), lambda: os.open(json.__file__, os.O_RDONLY | os.O_TRUNC),
    lambda: os.chmod(json.__file__, 0), lambda: open(sympy.__file__, "a"),
    lambda: open(numpy.__file__[:-11] + "new.py", "w")]
for number, attempt in enumerate(attempts):
    try:
        attempt()
        print("open", number)
    except OSError:
        pass
open("inside.txt", "w").write("yes")
print(open("inside.txt").read(), os.listdir("."))
"""
    assert sandbox.run(program).output == "yes ['inside.txt']"
    assert target.read_text() == "before" and target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["target.txt"]


def test_a_link_does_not_lead_out(sandbox):
    result = sandbox.run(RAW + "os.symlink('/etc/passwd', 'way')\nprint(open('way').read())")
    assert result.error.startswith(("FileNotFoundError", "PermissionError")), result


# Network, environment, other processes


def test_no_network(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = sandbox.run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)\nprint('out')")
        assert not result.ok and result.output == ""
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    for program in ("import socket\nsocket.getaddrinfo('example.org', 80)", "import socket\nsocket.socketpair()"):
        assert not sandbox.run(program).ok


def test_the_parents_environment_stays_its_own(sandbox):
    assert os.environ["PLANTED"] == SECRET
    result = sandbox.run("import os\nprint(sorted(os.environ), os.environ.get('PLANTED'))")
    assert "PLANTED" not in result.output and "PATH" not in result.output and result.output.endswith("None")
    for process in (os.getpid(), os.getppid(), "self", 1):
        result = sandbox.run(RAW + f"print(open('/proc/{process}/environ', 'rb').read())")
        assert result.error.startswith(("FileNotFoundError", "PermissionError")), result
    names = ["OMP_NUM_THREADS", "LANG", "TZ", "PYTHONHASHSEED"]
    for server in servers(sandbox):  # nor does the server have it to give away
        environment = Path(f"/proc/{server}/environ").read_text()
        assert SECRET not in environment and all(name in environment for name in names)


def test_ctypes_leads_to_the_same_walls(sandbox):
    program = """
import ctypes, posix as os
libc = ctypes.CDLL(None, use_errno=True)
calls = {"socket": (2, 1, 0), "fork": (), "ptrace": (16, os.getppid(), 0, 0), "unshare": (0x10000000,),
         "mount": (b"none", b"/tmp", b"tmpfs", 0, None), "chroot": (b"/",), "setns": (0, 0),
         "execv": (b"/bin/sh", None), "memfd_create": (b"x", 0), "personality": (0x40000,)}
for name, arguments in calls.items():
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) != -1:
        print("open:", name)
print(libc.prctl(1, 0, 0, 0, 0), ctypes.get_errno())                      # PR_SET_PDEATHSIG
print(libc.syscall(ctypes.c_long(500)), ctypes.get_errno())                # a call that the filter does not know
"""
    assert sandbox.run(program).output == "-1 1\n-1 38"


def test_the_server_cannot_be_killed_from_inside(sandbox):
    before = servers(sandbox)
    program = """
import posix as os, signal
for target in (os.getppid(), 1, -1, 0, %d):
    try:
        os.kill(target, signal.SIGKILL)
        print("sent", target)
    except (PermissionError, ProcessLookupError):
        pass
import fcntl
try:
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())
    print("owner")
except PermissionError:
    pass
"""
    assert sandbox.run(program % before[0]) == SandboxResult(True, "", None)
    assert sandbox.run("1").output == "1" and servers(sandbox) == before


def test_a_forged_answer_is_only_ones_own(sandbox):
    forged = "import os\nfor fd in range(3, 64):\n  try: os.write(fd, {!r})\n  except OSError: pass\nos._exit(0)"
    for answer in (b"garbage", b"[" * 9000, b'{"output": 5, "error": null}', b"x" * 2_000_000, b"[]"):
        result = sandbox.run(forged.format(answer))
        assert result.output == "" and result.error.startswith("RuntimeError: the program ended without a result")
        assert sandbox.run("'next'").output == "next"


# Limits


def test_fork_bomb(sandbox):
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError as error: print(error); break"
    assert sandbox.run(bomb).output == "[Errno 1] Operation not permitted"
    assert sandbox.run("import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'])").error.startswith(
        "PermissionError"
    )
    insistent = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    assert sandbox.run(insistent).error == "TimeoutError: the program ran longer than 1 s"
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout == b"1\n"


def test_threads_are_counted(sandbox):
    program = """
import threading, time
started = 0
try:
    for _ in range(100):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError as error:
    print(started, error)
"""
    assert sandbox.run(program).output == "5 can't start new thread"
    pool = "from concurrent.futures import *\nwith ThreadPoolExecutor(3) as p: print(sum(p.map(abs, [-1, 2])))"
    assert sandbox.run(pool).output == "3"
    assert _threads(sandbox) == [1, 1]


def _threads(sandbox) -> list[int]:
    return [len(os.listdir(f"/proc/{server}/task")) for server in servers(sandbox)]


@pytest.mark.parametrize(
    "hog",
    [
        "x = [0] * 10**9",
        "x = bytearray(200 << 20)",
        "import numpy\nx = numpy.ones(10**9)",
        "x = []\nwhile True: x.append(bytes(1 << 20))",
        "x = 'ab' * (1 << 27)",
    ],
)
def test_memory(sandbox, hog):
    assert sandbox.run(hog) == SandboxResult(False, "", "MemoryError: the program needs more than 128 MB")


def test_memory_below_the_limit_is_there(sandbox):
    assert sandbox.run("x = bytearray(90 << 20)\nlen(x)").output == str(90 << 20)


def test_file_size(sandbox):
    program = "with open('big', 'wb') as f:\n  while True: f.write(bytes(1 << 22))"
    assert sandbox.run(program).error.startswith("OSError: [Errno ")
    assert sandbox.run("import os\nos.listdir('.')").output == "[]"


def test_endless(sandbox):
    loops = [
        "while True: pass",
        "import time\ntime.sleep(99)",
        "print('x')\nn = 9\nn**n**n",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    ]
    start = time.monotonic()
    results = sandbox.run_many(loops)  # on two workers
    assert 1.9 < time.monotonic() - start < 4
    assert set(results) == {SandboxResult(False, "", "TimeoutError: the program ran longer than 1 s")}
    start = time.monotonic()
    closed = sandbox.run("import os\nos.closerange(3, 64)\nwhile True: pass")
    assert closed.error == "RuntimeError: the program ended without a result (signal 9)"
    assert time.monotonic() - start < 0.9


def test_output_is_bounded(sandbox):
    result = sandbox.run("print('é' * 10**6)")
    assert result.ok and result.output == "é" * 297 + "..."
    assert sandbox.run("'z' * 300").output == "z" * 300
    assert sandbox.run("'z' * 301").output == "z" * 297 + "..."
    assert len(sandbox.run("raise ValueError('w' * 10**6)").error) == 300
    endless = sandbox.run("while True: print('y' * 1000)")
    assert endless == SandboxResult(False, "", "TimeoutError: the program ran longer than 1 s")


# What a program's text becomes


@pytest.mark.parametrize(
    ("program", "output", "error"),
    [
        ("print(1)\nprint(2)", "1\n2", None),
        ("x = 6\nx * 7", "42", None),
        ("print('said')\n99", "said", None),
        ("None", "", None),
        ("x = 1", "", None),
        ("", "", None),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(20)", "2432902008176640000", None),
        ("'naïve 中文 😀'", "naïve 中文 😀", None),
        ("print('\\ud800')", "\\ud800", None),
        ("import sys\nsys.stdout.buffer.write(b'raw')\nNone", "raw", None),
        ("input()", "", "EOFError: EOF when reading a line"),
        ("import sys\nsys.stdin.read()", "", None),
        ("print('before')\n1 / 0", "before", "ZeroDivisionError: division by zero"),
        ("{}['key']", "", "KeyError: 'key'"),
        ("x = = 2", "", "SyntaxError: invalid syntax"),
        ("raise ValueError('two\\nlines')", "", "ValueError: two lines"),
        ("class Own(Exception): pass\nraise Own", "", "Own"),
        (
            "import json\njson.loads('{')",
            "",
            "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("def f(): f()\nf()", "", "RecursionError: maximum recursion depth exceeded"),
        ("import reproduce", "", "ModuleNotFoundError: No module named 'reproduce'"),
        ("print('a')\nimport sys\nsys.exit()", "a", None),
        ("exit(0)", "", None),
        ("import sys\nsys.exit('no')", "", "SystemExit: no"),
        ("import os\nos._exit(3)", "", "RuntimeError: the program ended without a result (exit code 3)"),
        ("import ctypes\nctypes.string_at(0)", "", "RuntimeError: the program ended without a result (signal 11)"),
        ("object()", "<object object at 0x0>", None),
        ("import sympy\nsympy.solve(sympy.Symbol('x')**2 - 2)", "[-sqrt(2), sqrt(2)]", None),
        ("import numpy\nnumpy.arange(3) + 1", "[1 2 3]", None),
        ("import os\nos.getcwd()", "/tmp", None),
    ],
)
def test_text(sandbox, program, output, error):
    assert sandbox.run(program) == SandboxResult(error is None, output, error)


def test_no_path_of_this_machine_in_the_text(sandbox):
    result = sandbox.run("import sys, json, numpy\nprint(sys.path, sys.executable, json, numpy)")
    assert result.ok and "/python/lib/python" in result.output and "'/site/numpy/" in result.output
    assert "/usr" in (sys.prefix, sys.base_prefix) or sys.base_prefix not in result.output
    error = sandbox.run("from json import nothing").error
    assert error == "ImportError: cannot import name 'nothing' from 'json' (/python/lib/python/json/__init__.py)"


def test_repeatable(sandbox):
    program = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('a'), {'x', 'y', 'z'})"
    assert len({result.output for result in sandbox.run_many([program] * 4)}) == 1


# Calls do not touch each other


def test_nothing_leaks_between_calls(sandbox):
    leave = """
import builtins, math, os, random, sys
builtins.left = math.left = sys.left = 1
math.pi = 3
os.environ["LEFT"] = "1"
deep = "d"
for _ in range(100):
    os.mkdir("d"); os.chdir("d")
os.mkdir("shut", 0o300)
open("shut/file", "w").write("1")
random.seed(5)
"""
    look = """
import builtins, math, os, sys
print(hasattr(builtins, "left"), hasattr(sys, "left"), math.pi > 3, "LEFT" in os.environ, os.listdir("."))
print("deep" in dir())
"""
    assert [result.error for result in sandbox.run_many([leave] * 4)] == [None] * 4
    for result in sandbox.run_many([look] * 4):
        assert result.output == "False False True False []\nFalse"


def test_run_many_keeps_the_order_and_uses_both_workers(sandbox):
    programs = [f"import time\ntime.sleep({0.3 if n == 0 else 0})\nprint({n})" for n in range(12)]
    assert [result.output for result in sandbox.run_many(programs)] == [str(n) for n in range(12)]
    assert sandbox.run_many([]) == []
    start = time.monotonic()
    sandbox.run_many(["import time\ntime.sleep(0.5)"] * 2)
    assert time.monotonic() - start < 0.95


def test_threads_may_share_it(sandbox):
    answers = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: sandbox.run(f"{n} * 2").output})) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: str(n * 2) for n in range(6)}
    assert sandbox.run("1").ok


# Life and death


def test_a_killed_server_costs_one_call_at_most(sandbox):
    victim = servers(sandbox)[0]
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    results = sandbox.run_many(["import time\ntime.sleep(0.8)\nprint('done')"] * 2)
    assert sorted(result.output for result in results) == ["", "done"]
    assert [result.error for result in results if not result.ok] == ["RuntimeError: the sandbox ended during this call"]
    assert [result.output for result in sandbox.run_many(["1", "2", "3"])] == ["1", "2", "3"]
    idle = servers(sandbox)[0]
    os.kill(idle, signal.SIGKILL)  # between calls: nothing is lost
    assert _wait_until_gone({idle}) == set()
    assert [result.output for result in sandbox.run_many(["4", "5"])] == ["4", "5"]


def test_no_process_of_a_call_is_left_when_its_server_dies(sandbox):
    victim = servers(sandbox)[0]
    call = []
    threading.Timer(0.3, lambda: (call.extend(_children(victim)), os.kill(victim, signal.SIGKILL))).start()
    sandbox.run_many(["import time\ntime.sleep(0.9)"] * 2)
    assert call and _wait_until_gone({victim, *call}, 1) == set()


def test_close_leaves_nothing(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("reproduce.tools.sandbox.runtime.WARM_UP", ())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = PythonSandbox(LIMITS, workers=2, backend=backend)
    assert opened.run("open('file', 'w').write('x')").output == "1"
    processes = set().union(*map(_tree, opened.pids))
    assert len(processes) >= 2
    opened.close()
    opened.close()
    assert _wait_until_gone(processes, 2) == set()
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError, match="closed"):
        opened.run("1")


OWNER = """
import sys
from reproduce.tools.sandbox import Limits, PythonSandbox
from reproduce.tools.sandbox import runtime
runtime.WARM_UP = ()
with PythonSandbox(Limits(seconds=60), workers=1, backend=sys.argv[1]) as sandbox:
    print(sandbox.run("'ready'").output, sandbox.pids[0], flush=True)
    sandbox.run("import time\\nwhile True: time.sleep(1)")
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_the_owner(backend, end, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell job inherits it ignored
    )
    word, process = owner.stdout.readline().split()
    time.sleep(0.3)
    processes = _tree(int(process))
    assert word == b"ready" and len(processes) >= 2  # a server and its call
    owner.send_signal(end)
    owner.wait(10)
    owner.stdout.close()
    assert _wait_until_gone(processes) == set()
    assert os.listdir(tmp_path) == []


# The probe and bad settings


def test_probe_names_one_backend():
    if any(reason_against(known) is None for known in BACKENDS):
        assert probe().name in ("bubblewrap", "landlock") and probe().description
    else:
        with pytest.raises(UserError):
            probe()


def test_probe_refuses_what_does_not_hold():
    def absent(limits):
        raise Unavailable("it is not there")

    def bare(limits):
        from reproduce.tools.sandbox import runtime

        settings = {"tmp": "/tmp", "site": "/", "read": None, "write": None, "visible": [], "hide": []}
        return Launch(["/bin/false", *runtime.server_command(str(runtime.INSIDE))], {}, settings)

    def talking(limits):
        return Launch(["/bin/sh", "-c", "echo the kernel says no >&2"], {}, {})

    backends = [Backend("one", "", absent), Backend("two", "", bare), Backend("three", "", talking)]
    with pytest.raises(UserError) as problem:
        probe(backends)
    text = str(problem.value)
    assert "one: it is not there" in text and "two: its server does not start" in text
    assert "three: the kernel says no" in text and "apt install bubblewrap" in text and "\n" not in text


def test_probe_runs_a_program_against_the_walls(tmp_path):
    """A backend whose server starts but hides no files is refused."""

    def leaky(limits):
        from reproduce.tools.sandbox import runtime

        (tmp_path / "tmp").mkdir()
        settings = {"tmp": str(tmp_path / "tmp"), "site": "/", "read": None, "write": None, "visible": [], "hide": []}
        return Launch(runtime.server_command(str(runtime.INSIDE)), runtime.environment("/tmp"), settings)

    with pytest.raises(UserError, match="leaky: a test program got out"):
        probe([Backend("leaky", "", leaky)])


@pytest.mark.parametrize("setting", ["seconds", "memory_mb", "processes", "output_chars"])
def test_bad_limits(setting):
    with pytest.raises(UserError, match=f"{setting} is 0"):
        Limits(**{setting: 0})


def test_bad_arguments():
    with pytest.raises(UserError, match="no backend is called 'docker'"):
        PythonSandbox(backend="docker")
    with pytest.raises(UserError, match="workers is 0"):
        PythonSandbox(workers=0)


def test_descriptors_beyond_1023_are_no_problem():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with PythonSandbox(workers=1, preload=False) as sandbox:
            assert sandbox.run("print(1 + 1)").output.strip() == "2"
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_forged_answer_is_valid_text():
    forge = (
        'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'{"output": "\\\\ud800 x", "error": null}\')\n'
        "    except OSError: pass\nos._exit(0)"
    )
    with PythonSandbox(workers=1, preload=False) as sandbox:
        result = sandbox.run(forge)
    (result.output + (result.error or "")).encode()
