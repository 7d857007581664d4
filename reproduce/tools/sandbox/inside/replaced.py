"""Give functions of the standard library another answer inside programs. This is only an answer, never a wall."""

import functools


class Replaced:
    """Stands in for `original` and looks like it. In a program's process, where `on` is true, it calls `answer`.

    It is put in place before other modules are imported, so whoever keeps a reference keeps this one.
    """

    on = False

    def __init__(self, original, answer):
        functools.update_wrapper(self, original)
        self.answer = answer

    def __call__(self, *arguments, **words):
        return (self.answer if Replaced.on else self.__wrapped__)(*arguments, **words)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def replace(module, name: str, make) -> None:
    """Put `make(original)` in the place of the function `name` of `module`, if the module has one."""
    original = getattr(module, name, None)
    if original is not None:
        setattr(module, name, Replaced(original, make(original)))
