"""The fork server: `server.py <control descriptor> <descriptor of /proc>`.

It reads settings, imports what programs often need, then forks a confined process for each program that it receives. It
ends at the end of its input. Messages are JSON with a 4-byte length in front. A program's process answers on its own
channel.
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

PARENT = os.getppid()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources  # noqa: E402
import view  # noqa: E402

view.install()  # before other modules take the functions that these replace
sources.install_clock()
sources.install_chance()
import confine  # noqa: E402
import gate  # noqa: E402
import leftovers  # noqa: E402
import program  # noqa: E402
import seccomp  # noqa: E402
from replaced import Replaced  # noqa: E402

OWN = ("confine", "folders", "gate", "ledger", "leftovers", "program", "replaced", "seccomp", "sources", "view")
LENGTH = struct.Struct(">I")


def receive(control: socket.socket):
    """Return the next message; SystemExit at the end of the input."""

    def exactly(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = control.recv(size - len(data))
            if not part:
                sys.exit(0)
            data += part
        return bytes(data)

    return json.loads(exactly(LENGTH.unpack(exactly(LENGTH.size))[0]))


def send(control: socket.socket, message) -> None:
    """Send one message to the parent; SystemExit if it is gone."""
    data = json.dumps(message).encode()
    try:
        control.sendall(LENGTH.pack(len(data)) + data)
    except OSError:
        sys.exit(0)


def call(code: str, settings: dict, channel: socket.socket, server: int, idle_bytes: int) -> None:
    """The life of a program's process: confine itself, run, answer on `channel`, end."""
    confine.kill_with_parent(server)
    rules = settings["rules"]
    kept = sorted({channel.fileno()} | ({rules} if rules is not None else set()))
    for low, high in zip([2, *kept], [*kept, 1 << 16], strict=True):
        os.closerange(low + 1, high)
    os.dup2(0, 2)  # the server's messages are not the program's to write
    os.chdir(settings["tmp"])
    confine.limit(settings, idle_bytes)
    listener = confine.restrict(rules, seccomp.program)
    socket.send_fds(channel, [b"."], [] if listener is None else [listener])
    if listener is not None:
        os.close(listener)
    for name in OWN:
        del sys.modules[name]
    del sys.path[0]
    os.environ.pop("PWD", None)  # set by bwrap
    gc.enable()
    view.start(settings)
    sources.start(code)
    Replaced.on = True
    result = program.run(code, settings, confine.lift_memory_limit)
    channel.sendall(json.dumps(result).encode())  # not by write(), which the filter counts


def supervise(channel: socket.socket, control: socket.socket, settings: dict) -> bytes | None:
    """Collect the output of the program's process until it ends or sends too much; None at the time limit."""
    deadline = time.monotonic() + settings["seconds"]
    longest = 24 * settings["output_chars"] + 1000  # two texts, twelve bytes a character at most in JSON
    channel.settimeout(settings["seconds"])
    try:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    except TimeoutError:
        return None
    listener = descriptors[0] if descriptors else None
    poller = select.poll()
    for descriptor in (channel.fileno(), control.fileno(), listener):
        if descriptor is not None:
            poller.register(descriptor, select.POLLIN)
    data = b""
    asked = None if listener is None else gate.Gate(listener, settings)
    try:
        while (left := deadline - time.monotonic()) > 0 and len(data) <= longest:
            for descriptor, event in poller.poll(left * 1000 + 1):
                if descriptor == control.fileno():
                    sys.exit(0)  # the parent is gone
                if descriptor == channel.fileno():
                    part = channel.recv(1 << 16)
                    if not part:
                        return data
                    data += part
                elif event & select.POLLIN:
                    asked.answer()
                else:
                    poller.unregister(listener)
        return data if left > 0 else None
    except ConnectionResetError:
        return data
    finally:
        if listener is not None:
            os.close(listener)


def outcome(data: bytes | None, status: int, settings: dict) -> dict:
    """Make the result of a call from its process's answer (None: out of time) and wait status."""
    if data is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"output": "", "error": f"TimeoutError: the program ran longer than {settings['seconds']:g} s"}
    size = settings["output_chars"]
    try:
        result = json.loads(data)
        output, error = result["output"], result["error"]
        if isinstance(output, str) and isinstance(error, str | None):
            return {"output": valid(output[:size]), "error": error if error is None else valid(error[:size])}
    except (ValueError, TypeError, KeyError, RecursionError):
        data = b""  # nothing that a program's process sends is trusted to have a form
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return {"output": "", "error": f"RuntimeError: the program ended without a result ({how})"}


def valid(text: str) -> str:
    """Return the text without lone surrogates, which a forged answer may hold and no tokenizer or file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def run_call(code: str, settings: dict, control: socket.socket, idle_bytes: int) -> dict:
    """Fork a process for the program; wait for its end, or end it."""
    ours, theirs = socket.socketpair()
    server = os.getpid()
    process = os.fork()
    if process == 0:
        try:
            call(code, settings, theirs, server, idle_bytes)
        finally:
            os._exit(0)
    theirs.close()
    status = 0
    try:
        data = supervise(ours, control, settings)
    finally:
        os.kill(process, signal.SIGKILL)  # all threads of the call; it cannot have children
        status = os.waitpid(process, 0)[1]
        ours.close()
    return outcome(data, status, settings)


def make_rules(settings: dict) -> None:
    """Set settings["rules"], the Landlock ruleset of the calls from here on; None under bubblewrap."""
    if settings.get("rules") is not None:
        os.close(settings["rules"])
    settings["rules"] = None
    if settings["read"] is not None:
        settings["rules"] = confine.landlock_rules(settings["read"], settings["write"])


def _end(*_) -> None:
    """End because the owner is gone. The kernel may say so once per thread of the owner: only the first time counts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def main() -> None:
    """Serve until the input ends."""
    control, proc = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    settings = receive(control)
    left = leftovers.Leftovers(settings["tmp"], settings.get("folder"))
    try:
        signal.signal(signal.SIGTERM, _end)
        confine.die_with_parent(signal.SIGTERM, PARENT)
        make_rules(settings)
        sys.path.append(settings["site"])
        import site

        site.setquit()  # exit() and quit(), which -S leaves out
        site.sethelper()  # and help()
        for statements in settings["warm_up"]:
            with contextlib.suppress(ImportError):  # optional packages; a program that needs one gets the error
                exec(statements, {})
        statm = os.open("self/statm", os.O_RDONLY, dir_fd=proc)  # the sandbox mounts no /proc
        idle_bytes = int(os.read(statm, 100).split()[0]) * resource.getpagesize()
        os.close(statm)
        os.close(proc)
        seccomp.program(0, True)  # assembled here, once for all forks
        gc.collect()
        gc.disable()
        gc.freeze()  # forks then share these pages
        send(control, "ready")
        while True:
            send(control, run_call(receive(control), settings, control, idle_bytes))
            if left.clear():  # after the answer, for which the caller waits
                make_rules(settings)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # clean up undisturbed
        left.close()


if __name__ == "__main__":
    main()
