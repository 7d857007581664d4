"""A real question with its accepted answers, as loaders give it to graders and judges."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """One question with its accepted answers.

    id: unique within the family and stable (row number in the file). golds: at least one. family: the data set's name.
    answer_type: "math" (graded as expressions) or "qa" (graded as text). level: difficulty from 1, 0 if the file states
    none. metadata: remaining columns, and for RL rows `system_prompt`, `data_source`, `ability`, `split`, `index`.
    split: "test", or "train" and "validation" for RL sets.
    """

    id: str
    question: str
    golds: list[str]
    family: str
    answer_type: str = "qa"
    level: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    split: str = "test"

    @property
    def gold(self) -> str:
        """The accepted answers as one text: the only one, or a JSON list of them."""
        return self.golds[0] if len(self.golds) == 1 else json.dumps(self.golds, ensure_ascii=False)
