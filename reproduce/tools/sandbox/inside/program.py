"""Run one program in this process and describe its result."""

import ast
import io
import re
import sys
import types

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")


class Output(io.RawIOBase):
    """Keeps the first `size` bytes written to it and drops the rest. descriptor: what `fileno` returns."""

    def __init__(self, size: int, descriptor: int | None = None):
        self.kept, self.size, self.descriptor = bytearray(), size, descriptor

    def fileno(self) -> int:
        return super().fileno() if self.descriptor is None else self.descriptor

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.kept += bytes(data[: self.size - len(self.kept)])
        return len(data)


def evaluate(code: str, output: Output) -> None:
    """Execute `code` as __main__. If it printed nothing and ends in an expression, print that expression's value."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<program>", "exec"), main.__dict__)
    if last is not None:
        value = eval(compile(last, "<program>", "eval"), main.__dict__)
        if value is not None and not output.kept:
            print(value)


def describe(problem: BaseException, memory_mb: int) -> str | None:
    """Return the last line of the traceback, "Type: message", in one line; None for a normal sys.exit()."""
    if isinstance(problem, SystemExit) and problem.code in (None, 0):
        return None
    if isinstance(problem, MemoryError):
        return f"MemoryError: the program needs more than {memory_mb} MB"
    kind = type(problem)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = home + kind.__qualname__
    try:
        message = problem.msg if isinstance(problem, SyntaxError) else str(problem)
        message = " ".join(str(message).split())
    except Exception:
        message = "<exception str() failed>"  # the words of the standard library's traceback module
    return f"{name}: {message}" if message else name


def tidy(text: str, hide: list, size: int) -> str:
    """Return valid Unicode without this machine's addresses and paths, in at most `size` characters ("..." marks a
    cut).
    """
    text = ADDRESS.sub("at 0x0", text.encode("utf-8", "replace").decode("utf-8"))
    for path, shown in hide:
        text = text.replace(path, shown)
    return text if len(text) <= size else text[: size - 3] + "..."


def run(code: str, settings: dict, on_memory_error) -> dict:
    """Run a program. Returns {"output": str, "error": str or None}; see `SandboxResult`."""
    size, hide, error = settings["output_chars"], settings["hide"], None
    output = Output(4 * (size + 1))  # UTF-8 has at most four bytes a character
    sys.stdin = open("/dev/null", encoding="utf-8")
    sys.stdout = io.TextIOWrapper(output, encoding="utf-8", errors="backslashreplace", write_through=True)
    sys.stderr = io.TextIOWrapper(Output(0, 2), encoding="utf-8", errors="backslashreplace", write_through=True)
    try:
        evaluate(code, output)
    except BaseException as problem:
        if isinstance(problem, MemoryError):
            problem.__traceback__ = None  # and with it the frames that hold the memory
            on_memory_error()
        error = describe(problem, settings["memory_mb"])
    text = output.kept.decode("utf-8", "ignore").rstrip("\n")
    return {"output": tidy(text, hide, size), "error": None if error is None else tidy(error, hide, size)}
