"""The section `judge` of a config: the language model that grades answers."""

from reproduce.config.search import ChatConfig, Mode
from reproduce.config.strict import Unhashed, section


@section
class JudgeConfig:
    """The model that judges, and whether its replies are recorded (`reproduce.tools.search.calls`)."""

    chat: ChatConfig
    mode: Unhashed[Mode] = "record"
    cache_dir: Unhashed[str | None] = None

    def problems(self):
        """Yield (setting, problem) for settings that do not go together."""
        if self.mode != "live" and not self.cache_dir:
            yield "cache_dir", f"must name the folder of the recording when mode is {self.mode}"
