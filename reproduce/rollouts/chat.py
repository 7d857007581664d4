"""Rollouts of models that were trained on chats: the prompt is a system and a user message in the model's template."""

from reproduce.algorithms import Algorithm
from reproduce.errors import UserError
from reproduce.rollouts.collector import Batch, Collector


class ChatCollector(Collector):
    """A `Collector` whose prompts are chats. task: has `system_prompt(question)` beside `prompt(question)`.

    Each batch's cost also says what its tools asked of outside services, where the environment counts that (`costs`).
    """

    def prompt_ids(self, question) -> list[int]:
        """Token ids up to where the model's answer begins, special tokens as the template has them."""
        return self.chat_ids(
            [
                {"role": "system", "content": self.task.system_prompt(question)},
                {"role": "user", "content": self.task.prompt(question)},
            ]
        )

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a chat in the tokenizer's template. UserError if it has none."""
        tokenizer = self.grammar.tokenizer
        if not tokenizer.chat_template:
            raise UserError("model.name_or_path: the tokenizer has no chat template; take an instruct model")
        return list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        )

    def collect(self, questions: list, k: int, algorithm: Algorithm, step: int) -> Batch:
        """As `Collector.collect`."""
        costs = getattr(self.task.environment, "costs", dict)
        before = costs()
        batch = super().collect(questions, k, algorithm, step)
        batch.cost |= {name: value - before[name] for name, value in costs().items()}
        return batch
