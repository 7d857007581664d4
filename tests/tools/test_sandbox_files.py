"""What a program may leave in its folder, and that the caller never waits for it, under every backend."""

import importlib
import os
import subprocess
import sys
import time

import pytest
from places import ROOT
from sandboxes import NAMES, usable

from reproduce.tools.sandbox import Limits, PythonSandbox, SandboxResult
from reproduce.tools.sandbox.inside.ledger import Ledger, measure
from reproduce.tools.sandbox.runtime import INSIDE

MB = 1 << 20
FULL = "OSError: [Errno 28] No space left on device"
HELD = "\nprint(sum(512 * os.fstat(f if isinstance(f, int) else f.fileno()).st_blocks for f in files))"


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request):
    limits = Limits(seconds=10, memory_mb=64, processes=6)
    with PythonSandbox(limits, workers=1, backend=usable(request.param), preload=False) as opened:
        yield opened


@pytest.fixture(scope="module", params=NAMES)
def roomy(request):
    with PythonSandbox(workers=1, backend=usable(request.param), preload=False) as opened:
        yield opened


# The whole that a program writes


WRITERS = {
    "fallocate": "os.posix_fallocate(new(), 0, 9 << 20)",
    "files": "os.write(new(), bytes(3 << 20))",
    "one file": "os.write(files[0] if files else new(), bytes(1 << 20))",
    "files without a name": "os.write(new(), bytes(2 << 20)); os.unlink(str(len(files) - 1))",
    "files under another name": "os.write(new(), bytes(2 << 20)); os.rename(str(len(files) - 1), 'same')",
    "a byte in each block": "os.pwrite(files[0] if files else new(), b'x', 4096 * next(number))",
    "a byte at the end of a hole": "files or new(); os.lseek(files[0], 4096, 1); os.write(files[0], b'x')",
    "blocks beyond the end": "allocate(new(), 1, ctypes.c_long(0), ctypes.c_long(9 << 20)) and fail()",
}
FILL = (
    """
import ctypes, itertools, os
files, number = [], itertools.count()
allocate = ctypes.CDLL(None, use_errno=True).fallocate
def new():
    files.append(os.open(str(len(files)), os.O_RDWR | os.O_CREAT))
    return files[-1]
def fail():
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    while len(files) < 60:
        {}
except OSError as problem:
    print(problem)
"""
    + HELD
)


@pytest.mark.parametrize("way", WRITERS)
def test_all_files_together_stay_below_memory_mb(sandbox, way):
    result = sandbox.run(FILL.format(WRITERS[way]))
    problem, held = result.output.split("\n")
    assert problem == "[Errno 28] No space left on device"
    assert 50 * MB <= int(held) <= 64 * MB


def test_twelve_large_files_are_refused_in_one_line(sandbox):
    program = "import os\nfor n in range(12): os.posix_fallocate(os.open(str(n), os.O_RDWR | os.O_CREAT), 0, 64 << 20)"
    assert sandbox.run(program) == SandboxResult(False, "", FULL)
    program = "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))"
    assert sandbox.run(program) == SandboxResult(False, "", FULL)


def test_threads_cannot_outrun_the_limit(sandbox):
    program = """
import os, threading
files, problems = [os.open(str(n), os.O_RDWR | os.O_CREAT) for n in range(3)], []
def fill(file):
    try:
        while True: os.write(file, bytes(1 << 18))
    except OSError as problem:
        problems.append(problem.errno)
threads = [threading.Thread(target=fill, args=(file,)) for file in files]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(problems)
"""
    problems, held = sandbox.run(program + HELD).output.split("\n")
    assert problems == str([28] * 3) and 50 * MB < int(held) <= 64 * MB


def test_a_file_kept_alive_by_a_mapping_counts(sandbox):
    program = """
import mmap, os
total = 0
try:
    for n in range(99):
        file = os.open("file", os.O_RDWR | os.O_CREAT)
        total += os.write(file, bytes(1 << 20))
        mmap.mmap(file, 4096, flags=mmap.MAP_PRIVATE).__setitem__(0, 1)
        os.unlink("file")
        os.close(file)
except OSError as problem:
    print(total >> 20, problem)
"""
    assert sandbox.run(program).output == "63 [Errno 28] No space left on device"


def test_ways_to_write_that_nobody_counts_do_not_exist(sandbox):
    program = """
import ctypes, mmap, os
a, b = os.open("a", os.O_RDWR | os.O_CREAT), os.open("b", os.O_RDWR | os.O_CREAT)
os.write(a, bytes(8192))
os.lseek(a, 0, 0)
p = os.pipe()
libc = ctypes.CDLL(None, use_errno=True)
def native(name, *arguments):
    if getattr(libc, name)(*arguments) == -1: raise OSError(ctypes.get_errno(), name)
ways = [lambda: os.writev(b, [b"x"]), lambda: os.pwritev(b, [b"x"], 0), lambda: os.sendfile(b, a, 0, 9),
        lambda: os.copy_file_range(a, b, 9), lambda: os.splice(a, p[1], 9),
        lambda: native("vmsplice", p[1], None, 0, 0), lambda: native("tee", p[0], p[1], 9, 0),
        lambda: native("syscall", 206 if os.uname().machine == "x86_64" else 0),  # io_setup
        lambda: mmap.mmap(a, 4096), lambda: mmap.mmap(a, 4096, prot=mmap.PROT_READ),
        lambda: native("mmap", None, 4096, 3, 3, a, 0), lambda: os.open(".", os.O_RDWR | os.O_TMPFILE)]
for way in ways:
    try:
        way()
        print("open")
    except OSError as problem:
        print(problem.errno, end=" ")
print(os.fstat(b).st_size)
"""
    assert sandbox.run(program).output == "38 38 38 38 38 38 38 38 19 19 19 95 0"


def test_what_is_overwritten_is_given_back_and_what_is_removed_is_not(sandbox):
    rewrite = "for n in range(99):\n    with open('f', 'wb') as f: f.write(bytes(1 << 20))\nprint(n)"
    assert sandbox.run(rewrite) == SandboxResult(True, "98", None)
    remove = (
        "import os\nfor n in range(99):\n    with open('f', 'wb') as f: f.write(bytes(1 << 20))\n    os.remove('f')"
    )
    assert sandbox.run(remove) == SandboxResult(False, "", FULL)


def test_ordinary_uses_of_files_work(roomy):
    program = """
import json, os, pathlib, shutil, sqlite3, tempfile
import numpy as np
np.save("a.npy", np.arange(3)); print(np.load("a.npy"))
np.arange(3).tofile("b.bin"); print(np.fromfile("b.bin", dtype=int), np.load("a.npy", mmap_mode="c")[1])
shutil.copyfile("a.npy", "c.npy"); shutil.move("c.npy", "d.npy"); print(os.path.getsize("d.npy"))
with tempfile.TemporaryDirectory() as name: pathlib.Path(name, "x").write_text("kept")
with tempfile.TemporaryFile("w+") as file: file.write("kept"); file.seek(0); print(file.read())
with tempfile.NamedTemporaryFile() as file: print(os.path.exists(file.name))
base = sqlite3.connect("base"); base.execute("create table t(x)"); base.execute("insert into t values(1)")
base.commit(); print(base.execute("select * from t").fetchall())
os.makedirs("e/f"); shutil.rmtree("e"); print(sorted(os.listdir(".")))
"""
    shown = "[0 1 2]\n[0 1 2] 1\n152\nkept\nTrue\n[(1,)]\n['a.npy', 'b.bin', 'base', 'd.npy']"
    assert roomy.run(program) == SandboxResult(True, shown, None)


# Names, and cleaning up


TREE = """
import os
while True: os.mkdir('d'); [os.mkdir(f'd/{i}') or os.mkdir(f'd/{i}/x') for i in range(3)]; os.chdir('d')
"""
NAMED = {
    "a deep tree": TREE,
    "folders": "import itertools, os\nfor n in itertools.count(): os.mkdir(str(n))",
    "files": "import itertools\nfor n in itertools.count(): open(str(n), 'w').close()",
    "links": "import itertools, os\nfor n in itertools.count(): os.symlink('x' * 4000, str(n))",
    "hard links": "import itertools, os\nopen('a', 'w')\nfor n in itertools.count(): os.link('a', str(n))",
}


@pytest.mark.parametrize("way", NAMED)
def test_a_program_makes_a_bounded_number_of_names(sandbox, way):
    result = sandbox.run(NAMED[way])
    assert result.output == "" and result.error.startswith(FULL), result
    assert sandbox.run("import os\nos.listdir('.')").output == "[]"


def test_opening_a_file_again_makes_no_name(sandbox):
    program = "for n in range(3000):\n    with open('f', 'a') as f: f.write('x')\nlen(open('f').read())"
    assert sandbox.run(program).output == "3000"


STUBBORN = """
import os
def quietly(make, name):
    try: make(name)
    except OSError: pass
while True:
    quietly(os.mkdir, "d")
    for i in range(3): quietly(os.mkdir, f"d/{i}"); quietly(os.mkdir, f"d/{i}/x")
    quietly(os.chdir, "d")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nobody_waits_for_what_a_program_leaves_behind(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PythonSandbox(Limits(seconds=1), workers=1, backend=usable(name), preload=False) as sandbox:
        assert sandbox.run("print(1)").output == "1"
        for _ in range(3):
            start = time.monotonic()
            assert sandbox.run(STUBBORN) == SandboxResult(False, "", "TimeoutError: the program ran longer than 1 s")
            assert time.monotonic() - start < 2.5, "one call's time, and what the last call left behind"
            start = time.monotonic()
            assert sandbox.run("import os\nos.listdir('.')").output == "[]"
            assert time.monotonic() - start < 1.5
    assert os.listdir(tmp_path) == []


def test_folders_aside_are_bounded_and_go_away(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(INSIDE))
    leftovers = importlib.import_module("leftovers")  # a module of the server, which knows its neighbours by bare names
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(leftovers, "SOON", -1)
    monkeypatch.setattr(leftovers, "MOST", 2)
    left = leftovers.Leftovers(str(tmp_path / "tmp"), str(tmp_path))
    assert not left.clear()
    for _ in range(6):
        for number in range(200):
            (tmp_path / "tmp" / str(number)).mkdir()
        assert left.clear() and os.listdir(tmp_path / "tmp") == []
        assert len(left.removers) <= 2 and len(os.listdir(tmp_path)) <= 1 + 2
    end = time.monotonic() + 20
    while os.listdir(tmp_path) != ["tmp"] and time.monotonic() < end:
        time.sleep(0.05)
    assert os.listdir(tmp_path) == ["tmp"]
    left.close()
    assert not tmp_path.exists()


def test_no_new_file_where_nobody_can_count(tmp_path):
    """In a container whose own seccomp supervisor takes the one place there is."""
    program = """
import ctypes, os, struct, sys
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.sandbox.inside import confine
confine.prctl(confine.PR_SET_NO_NEW_PRIVS, 1)
allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), 8)
confine.system_call(confine.SECCOMP_CALL[os.uname().machine], 1, 8, struct.pack("@HP", 1, ctypes.addressof(allow)))
with PythonSandbox(workers=1, backend=sys.argv[1], preload=False) as sandbox:
    for code in ("open('x', 'w')", "import os\\nos.mkdir('x')", "import os\\nos.write(os.pipe()[1], b'x')",
                 "import _thread\\n_thread.start_new_thread(print, ())", "print(open('/dev/null').read(), 1 + 1)"):
        result = sandbox.run(code)
        print(result.error or result.output)
"""
    for name in NAMES:
        command = [sys.executable, "-c", program, usable(name)]
        where = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=where, check=False)
        assert done.stdout.splitlines() == [
            f"{FULL}: 'x'",
            f"{FULL}: 'x'",
            "1",
            "RuntimeError: can't start new thread",
            " 2",
        ], done.stderr


# The ledger by itself


def test_ledger_counts_what_other_threads_may_be_writing(tmp_path):
    ledger = Ledger(str(tmp_path), 100 * 4096, 10)
    ledger.block = 0
    assert ledger.grant(1, size=300_000) and ledger.grant(2, size=100_000)
    assert not ledger.grant(3, size=20_000), "both may still be under way"
    assert ledger.grant(1, size=100_000), "thread 1 asks again, so its 300,000 bytes would be in the folder"
    assert ledger.bytes == 200_000


def test_ledger_falls_to_what_is_there_until_something_is_removed(tmp_path):
    ledger = Ledger(str(tmp_path), 1 << 20, 4)
    for _ in range(20):
        assert ledger.grant(1, size=1 << 19, names=1)
        (tmp_path / "file").write_bytes(bytes(4096))
    ledger.removal(1)
    kept = ledger.bytes
    assert kept <= 8192 and ledger.names == 1
    assert ledger.grant(1, size=1 << 19) and not ledger.grant(1, size=1 << 19)


def test_ledger_keeps_its_sum_where_the_folder_cannot_be_measured(tmp_path):
    ledger = Ledger(str(tmp_path), 1 << 20, 9)
    ledger.folder = str(tmp_path / "missing")
    assert ledger.grant(1, size=600_000) and not ledger.grant(1, size=600_000)


def test_measure(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(10_000))
    os.link(tmp_path / "a" / "b", tmp_path / "c")
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(50_000)
    os.symlink("/", tmp_path / "out")
    size, names = measure(str(tmp_path))
    assert names == 5 and 60_000 <= size < 60_000 + 5 * 8192
