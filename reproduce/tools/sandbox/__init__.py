"""A sandboxed Python tool: it runs model-written programs in isolation, with limits, in milliseconds.

>>> with PythonSandbox(Limits(seconds=5)) as sandbox:
...     sandbox.run("6 * 7").output
'42'

A call never sees the network, the user's files, the user's environment or what an earlier call left behind. `probe`
picks the backend. We never fall back to a bare subprocess.
"""

from reproduce.tools.sandbox.limits import Limits, SandboxResult
from reproduce.tools.sandbox.pool import PythonSandbox
from reproduce.tools.sandbox.probe import BACKENDS, probe

__all__ = ["BACKENDS", "Limits", "PythonSandbox", "SandboxResult", "probe"]
