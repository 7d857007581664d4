"""The largest entropy that a token can have, by which entropies are divided to be shares."""

import math

from reproduce.algorithms.parts.state import RunServices, State

LOG_VOCABULARY = "log_vocabulary"
"""The number under which a part reads ln V, in nats."""


class Vocabulary(State):
    """Knows ln V, V being the entries of the policy's softmax."""

    name = "vocabulary"

    def __init__(self, run: RunServices):
        self._log_size = math.log(run.vocabulary)

    def numbers(self) -> dict[str, float]:
        return {LOG_VOCABULARY: self._log_size}
