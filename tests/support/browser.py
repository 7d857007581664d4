"""A headless Chromium, driven by its DevTools protocol over two pipes: no package, no port."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions "
    "--disable-background-networking --hide-scrollbars --remote-debugging-pipe about:blank"
).split()


def found() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser. errors: what its console, its scripts and its policy of contents complained of.

    requests: addresses that the page asked for.
    """

    def __init__(self, folder: Path, seconds: float = 120.0):
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._left, self._number, self._until = b"", 0, time.monotonic() + seconds
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        words = ["bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "-", str(theirs_in), str(theirs_out), found()]
        words += [f"--user-data-dir={folder}", "--window-size=1400,1200", *SWITCHES]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(words, pass_fds=(theirs_in, theirs_out), **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self._session = None
        (target,) = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        options = {"targetId": target["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **options)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Opens a file from disk and waits until it is loaded."""
        self.loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._take(self._message())

    def run(self, script: str):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other."""
        for key in keys:
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def call(self, method: str, **parameters) -> dict:
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._take(answer)

    def close(self) -> None:
        """Ends the browser: it does so by itself when its pipe is closed."""
        os.close(self._out)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def _message(self) -> dict:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, self._until - time.monotonic()))
            part = os.read(self._in, 1 << 16) if ready else b""
            assert part, "the browser says nothing more"
            self._left += part
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)

    def _take(self, message: dict) -> None:
        """Keeps what an event says."""
        method, told = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
