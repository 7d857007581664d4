"""One fork server, seen from outside: start it, send a program, read the result, stop it."""

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from reproduce.tools.sandbox import runtime
from reproduce.tools.sandbox.backend import Backend, Unavailable
from reproduce.tools.sandbox.inside.folders import remove
from reproduce.tools.sandbox.limits import Limits, SandboxResult

START_SECONDS = 120  # importing sympy on a busy machine
GRACE_SECONDS = 30  # beyond the limit of the call: the server has to notice, kill and clean up
LENGTH = struct.Struct(">I")
DIED = SandboxResult(False, "", "RuntimeError: the sandbox ended during this call")


def readable(workers: Sequence["Worker"], seconds: float) -> list["Worker"]:
    """List the workers that have something to read, waiting up to `seconds` for one.

    It takes any descriptor; `select` takes none beyond 1023.
    """
    poller = select.poll()
    of = {worker.fileno(): worker for worker in workers}
    for descriptor in of:
        poller.register(descriptor, select.POLLIN)
    return [of[descriptor] for descriptor, _ in poller.poll(1000 * seconds)]


class Worker:
    """A server that is started again whenever it is found dead. Not safe between threads (the pool locks)."""

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        warm_up: tuple[str, ...] | None = None,
        spawn: Callable[[Callable], object] = lambda start: start(),
    ):
        """Args:
        backend: how the server is confined.
        limits: of every call.
        warm_up: statements that the server runs first; None: `runtime.WARM_UP`.
        spawn: calls its argument in a thread that outlives the worker, because a server dies with that thread.
        """
        self.backend, self.limits, self._spawn = backend, limits, spawn
        self.warm_up = runtime.WARM_UP if warm_up is None else warm_up
        self._process: subprocess.Popen | None = None
        self._socket: socket.socket | None = None
        self._folder: str | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the server; None if none runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the server without waiting for it.

        Raises:
            Unavailable: it cannot start.
        """
        self.stop()
        launch = self.backend.prepare(self.limits)
        self._folder = launch.folder
        self._socket, theirs = socket.socketpair()
        self._messages = tempfile.TemporaryFile()
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._process = self._spawn(
                lambda: subprocess.Popen(
                    [*launch.command, str(theirs.fileno()), str(proc)],
                    env=launch.environment,
                    cwd="/",
                    pass_fds=(theirs.fileno(), proc),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._messages,
                    start_new_session=True,
                )
            )
        except OSError as problem:
            raise Unavailable(str(problem)) from None
        finally:
            theirs.close()
            os.close(proc)
        with contextlib.suppress(OSError):  # a server that died at once is reported by _wait_until_ready
            self._write({**launch.settings, **vars(self.limits), "warm_up": self.warm_up})

    def send(self, program: str) -> None:
        """Give a program to the server, which is started again first if it has died."""
        if self._process is None or (self._ready and readable([self], 0)):
            self.start()
        self._wait_until_ready()
        with contextlib.suppress(OSError):  # `receive` reports a server that died just now
            self._write(program)

    def receive(self) -> SandboxResult:
        """Wait for the result. If the server died, that is this call's error; the next `send` starts another one."""
        try:
            answer = self._read(self.limits.seconds + GRACE_SECONDS)
        except (OSError, EOFError):
            self.stop()
            return DIED
        return SandboxResult(answer["error"] is None, answer["output"], answer["error"])

    def fileno(self) -> int:
        """The descriptor for polling: readable when a result is there or the server has died."""
        return self._socket.fileno()

    def stop(self) -> None:
        """End the server and whatever it runs; does nothing if there is none."""
        if self._process is not None:
            self._socket.close()  # the server ends at the end of its input, and its call with it
            if not self._ready:
                self._process.kill()
            try:
                self._process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._messages.close()
        if self._folder is not None:
            remove(self._folder)
        self._process = self._socket = self._folder = None
        self._ready = False

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            self._read(START_SECONDS)
        except (OSError, EOFError):
            self._process.kill()
            self._process.wait()
            self._messages.seek(0)
            lines = self._messages.read().decode(errors="replace").strip().splitlines()
            self.stop()
            raise Unavailable(lines[-1] if lines else "its server does not start") from None
        self._ready = True

    def _write(self, message) -> None:
        data = json.dumps(message).encode()
        self._socket.settimeout(GRACE_SECONDS)
        self._socket.sendall(LENGTH.pack(len(data)) + data)

    def _read(self, seconds: float):
        self._socket.settimeout(seconds)
        return json.loads(self._exactly(LENGTH.unpack(self._exactly(LENGTH.size))[0]))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data
