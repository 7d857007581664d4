"""The same program answers the same under both backends: what a program sees of the machine is not the machine's."""

import sys

import pytest
from sandboxes import NAMES, usable

from reproduce.tools.sandbox import PythonSandbox

MISSING, DENIED = "[Errno 2] No such file or directory", "[Errno 13] Permission denied"
NAMELESS = "KeyError: 'getpwuid(): uid not found: 65534'"
if sys.version_info >= (3, 13):
    NAMELESS = "OSError: No username set in the environment"
SAME = [  # program, output, error; {} is the path in the program
    ("open('/tmp/x', 'w').write('in')\nopen('x').read()", "in", None),
    ("import os\nopen('x', 'w')\nos.listdir('/tmp')", "['x']", None),
    (
        "import os\nos.mkdir('/tmp/a'); os.chdir('/tmp/a'); os.mkdir('../b')\n"
        "print(os.getcwd(), len(os.listdir('..')))",
        "/tmp/a 2",
        None,
    ),
    ("import os\nos.chdir('/')\nprint(os.getcwd(), os.listdir('tmp'))", "/ []", None),
    (
        "from pathlib import *\nPath('/tmp/x').write_text('y')\n"
        "print(Path('x').resolve(), list(Path('/tmp').iterdir()))",
        "/tmp/x [PosixPath('/tmp/x')]",
        None,
    ),
    (
        "import os, tempfile as t\nprint(t.gettempdir(), t.mkdtemp()[:5], os.environ['HOME'], os.environ['TMPDIR'])",
        "/tmp /tmp/ /tmp /tmp",
        None,
    ),
    (
        "from os.path import *\nprint(expanduser('~'), abspath('x'), realpath('/tmp/../tmp/x'), len(realpath('x')))",
        "/tmp /tmp/x /tmp/x 6",
        None,
    ),
    (
        "import os\nos.symlink('/tmp/a', 'b'); open('/tmp/a', 'w').write('z')\n"
        "print(os.readlink('b'), open('b').read())",
        "/tmp/a z",
        None,
    ),
    (
        "import os\nopen('a', 'w'); os.rename('/tmp/a', '/tmp/b'); os.link('/tmp/b', 'c'); print(sorted(os.listdir()))",
        "['b', 'c']",
        None,
    ),
    (
        "try: open('/tmp/no/x', 'w')\nexcept OSError as e: print(e, e.filename)",
        f"{MISSING}: '/tmp/no/x' /tmp/no/x",
        None,
    ),
    (
        "import glob, os, shutil\nos.makedirs('/tmp/p/q'); print(glob.glob('/tmp/*')); shutil.rmtree('/tmp/p')",
        "['/tmp/p']",
        None,
    ),
    ("import numpy as np\nnp.save('/tmp/a.npy', np.arange(2)); np.load('/tmp/a.npy')", "[0 1]", None),
    ("open('/etc/passwd')", "", f"FileNotFoundError: {MISSING}: '/etc/passwd'"),
    ("open('/no/such/file')", "", f"FileNotFoundError: {MISSING}: '/no/such/file'"),
    ("open('/x', 'w')", "", f"FileNotFoundError: {MISSING}: '/x'"),
    ("open('../etc/passwd')", "", f"FileNotFoundError: {MISSING}: '../etc/passwd'"),
    ("import os\nos.listdir('/')", "", f"PermissionError: {DENIED}: '/'"),
    ("import os\nos.listdir('/home')", "", f"FileNotFoundError: {MISSING}: '/home'"),
    ("import os\nos.listdir('/proc/self')", "", f"FileNotFoundError: {MISSING}: '/proc/self'"),
    (
        "from os.path import *\n"
        "[exists(p) for p in ('/', '/tmp', '/dev/null', '/dev/urandom', '/root', '/etc/passwd')]",
        "[True, True, True, False, False, False]",
        None,
    ),
    ("import json\nopen(json.__file__, 'a')", "", f"PermissionError: {DENIED}: '/python/lib/python/json/__init__.py'"),
    ("import json\nlen(open(json.__file__).read()) > 1000", "True", None),
    ("import numpy\nopen('/site/numpy/__init__.py').read() == open(numpy.__file__).read()", "True", None),
    (
        "from os import *\nprint(getuid(), geteuid(), getgid(), getgroups(), getpid(), getppid(), cpu_count())",
        "65534 65534 65534 [65534] 2 1 1",
        None,
    ),
    (
        "import os, platform, socket\nprint(os.uname()[:4], platform.node(), socket.gethostname())",
        "('Linux', 'sandbox', '6.0', '#1') sandbox sandbox",
        None,
    ),
    ("import getpass\ngetpass.getuser()", "", NAMELESS),
    ("import sys, os\nprint(len(os.environ), sys.argv, sys.stdin.read())", "8 [''] ", None),
    ("print(open)", "<built-in function open>", None),
    ("import os\nos.kill(1, 9)", "", "PermissionError: [Errno 1] Operation not permitted"),
    ("import socket\nsocket.socket()", "", "PermissionError: [Errno 1] Operation not permitted"),
    ("import warnings, sys\nwarnings.warn('w'); print('x', file=sys.stderr); print(sys.stderr.fileno())", "2", None),
]
DIFFERENT = {  # asked of the kernel itself: see "What differs" in reproduce/README.md
    "posix and _io below os and io": "import posix\nposix.open('/tmp/new', posix.O_CREAT | posix.O_RDWR) and 1",
    "libraries of C with a path": "import sqlite3\nsqlite3.connect('/tmp/base').execute('create table t(x)') and 1",
    "who owns a file": "import os\nopen('f', 'w')\nos.stat('f').st_dev",
}


@pytest.fixture(scope="module")
def both():
    with PythonSandbox(workers=1, backend=usable(NAMES[0]), preload=False) as one:
        with PythonSandbox(workers=1, backend=usable(NAMES[1]), preload=False) as other:
            yield one, other


@pytest.mark.parametrize(("program", "output", "error"), SAME)
def test_same_answer(both, program, output, error):
    one, other = (sandbox.run(program) for sandbox in both)
    assert one == other
    assert one.error == error and output in (None, one.output)


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_cannot_be_the_same(both, what):
    one, other = (sandbox.run(DIFFERENT[what]) for sandbox in both)
    assert one.ok and one != other


def test_a_face_is_no_wall(both):
    """Whoever goes around the answers meets the kernel, whatever they said."""
    program = """
import ctypes, os, posix, _io
native = ctypes.CDLL(None, use_errno=True)
def below(path):
    if native.open(path.encode(), 0) < 0: raise OSError(ctypes.get_errno(), "below")
ways = [lambda path: os.open.__wrapped__(path, 0), open.__wrapped__]
ways += [lambda path: posix.open(path, 0), _io.FileIO, below]
for switched_on in (True, False):
    type(os.open).on = switched_on
    for path in ("/etc/passwd", "/etc/hostname"):
        for way in (*ways, open):
            try:
                way(path)
                print("open", path, way)
            except OSError:
                print("shut", end=" ")
"""
    for sandbox in both:
        result = sandbox.run(program)
        assert result.ok and result.output.split() == ["shut"] * 24, (sandbox.backend, result)
