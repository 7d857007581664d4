"""The section `judge` of a config: the language model that grades answers."""

from dataclasses import dataclass

from reproduce.config.search import MODES, ChatConfig


@dataclass(frozen=True)
class JudgeConfig:
    """The model that judges, and whether its replies are recorded (`reproduce.tools.search.calls`)."""

    chat: ChatConfig
    mode: str = "record"
    cache_dir: str | None = None

    def problems(self):
        """(setting, what is wrong with it) for every setting that cannot be used."""
        yield from ((f"chat.{name}", problem) for name, problem in self.chat.problems())
        if self.mode not in MODES:
            yield "mode", f"must be one of {', '.join(MODES)}, not {self.mode!r}"
        elif self.mode != "live" and not self.cache_dir:
            yield "cache_dir", f"must name the folder of the recording when mode is {self.mode}"
