"""Rollouts of chat models: the prompt is a system and a user message in the model's template."""

import re

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.state import Sampling
from reproduce.errors import UserError
from reproduce.rollouts.collector import Batch, Collector
from reproduce.rollouts.episode import Episode
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.text import clean
from reproduce.worlds.messages import fit_history


class _Chats:
    """Turns a chat into tokens. grammar: the model's, with its tokenizer."""

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Encode a chat in the tokenizer's template. Raises UserError if it has none."""
        tokenizer = self.grammar.tokenizer
        if not tokenizer.chat_template:
            raise UserError("model.name_or_path: the tokenizer has no chat template; take an instruct model")
        return encoded_chat(tokenizer, [{**message, "content": clean(message["content"])} for message in messages])


def encoded_chat(tokenizer, messages: list[dict[str, str]]) -> list[int]:
    """Encode a chat up to where the model's answer begins. A control token that a message spells stays text."""
    controls = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelt = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)")
    found: list[str] = []

    def hidden(match: re.Match) -> str:
        found.append(match[0])
        return f"\ue000{len(found) - 1}\ue001"

    if any(spelt.search(message["content"]) for message in messages):
        messages = [{**m, "content": spelt.sub(hidden, m["content"].replace("\ue000", ""))} for m in messages]
    if not found:
        return list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        )
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids: list[int] = []
    for number, piece in enumerate(re.split("\ue000(\\d+)\ue001", text)):
        foreign = number % 2 == 1
        piece = found[int(piece)] if foreign else piece
        ids += tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=foreign)
    return ids


class ChatCollector(_Chats, Collector):
    """A `Collector` whose prompts are chats. task: has `system_prompt(question)` besides `prompt(question)`.

    Each batch's cost also counts the requests of its tools to outside services, if the environment counts them
    (`costs`).
    """

    def prompt_ids(self, question) -> list[int]:
        """Encode a question up to where the model's answer begins, special tokens as in the template."""
        return self.chat_ids(
            [
                {"role": "system", "content": self.task.system_prompt(question)},
                {"role": "user", "content": self.task.prompt(question)},
            ]
        )

    def collect(
        self, questions: list, k: int, algorithm: Algorithm, step: int, sampling: Sampling | None = None
    ) -> Batch:
        """As `Collector.collect`."""
        costs = getattr(self.task.environment, "costs", dict)
        before = costs()
        batch = super().collect(questions, k, algorithm, step, sampling)
        batch.cost |= {name: value - before[name] for name, value in costs().items()}
        return batch


class ChatEpisodeCollector(_Chats, EpisodeCollector):
    """An `EpisodeCollector` whose messages are chats of one user message (EPO's set-up has no system message).

    prompt_tokens: the longest message, in tokens of the template. Longer ones leave out older turns, never the task,
    and what is sampled from is what is trained on. None: no limit.
    """

    def __init__(self, *arguments, prompt_tokens: int | None = None):
        super().__init__(*arguments)
        self.prompt_tokens = prompt_tokens

    def message_ids(self, message: str) -> list[int]:
        """Encode a turn's message up to where the answer begins."""
        return self.chat_ids([{"role": "user", "content": message}])

    def message(self, episode: Episode) -> str:
        """As in `EpisodeCollector`, within the limit. Raises UserError if even a message without history is longer."""
        past, prompt = episode.past, self.task.form.prompt
        if self.prompt_tokens is None:
            return prompt(episode.step, past)
        return fit_history(
            lambda shown: prompt(episode.step, shown, len(past)),
            past,
            self.prompt_tokens,
            lambda text: len(self.message_ids(text)),
        )
