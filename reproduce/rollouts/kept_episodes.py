"""Keep finished episodes on disk, for environments that cannot repeat an episode (ScienceWorld).

A step or an evaluation that is cut short is sampled again from its start. If the environment is repeatable, that gives
the same bytes and nothing is lost. If it is not, each episode is written down when it is over. The next session reads
it and plays the others, from their start, with another sampling stream.

    <purpose>.jsonl    a line that says whose episodes these are (purpose, seed, weights, tasks), then one per episode

A kill may cut the last line short, which then counts as missing. Episodes of other weights are useless; they are
removed when the next call begins.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from reproduce.rollouts.episode import Episode, Turn
from reproduce.rollouts.token_path import TokenPath
from reproduce.worlds.text_environment import Step

SAMPLED_WEIGHTS = 64


def fingerprint(model: torch.nn.Module) -> str:
    """Hash 64 weights, evenly spaced, of every tensor: an update of the optimiser moves nearly all of them."""
    digest = hashlib.sha256()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            flat = tensor.detach().reshape(-1)
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(flat[:: max(1, len(flat) // SAMPLED_WEIGHTS)].double().cpu().numpy().tobytes())
    return digest.hexdigest()


class KeptEpisodes:
    """The finished episodes of one collector, below `folder`, which is made when the first one is over."""

    def __init__(self, folder: Path):
        self.folder = folder

    def of(self, model: torch.nn.Module, seed: int, purpose: Sequence, tasks: Sequence[str], k: int) -> "KeptCall":
        """Return those of one `sample` call, and remove what other weights left."""
        weights = fingerprint(model)
        for path in self.folder.glob("*.jsonl"):
            head = (_lines(path) or [{}])[0]
            if head.get("weights") != weights:
                path.unlink()
        head = {"purpose": list(purpose), "seed": seed, "weights": weights, "tasks": list(tasks), "k": k}
        return KeptCall(self.folder / f"{'-'.join(map(str, purpose))}.jsonl", head)


class KeptCall:
    """The finished episodes of one `sample` call. path: their file. head: what its first line must say."""

    def __init__(self, path: Path, head: dict):
        self.path, self.head = path, head

    def restore(self, episodes: list[Episode]) -> list[Episode]:
        """Fill in the episodes that were finished before; returns the others, in order."""
        lines = _lines(self.path) if self.path.is_file() else []
        found = lines[1:] if lines[:1] == [self.head] else []
        known = {(line["group"], line["row"]): line for line in found}
        self._rewrite([self.head, *known.values()])
        for episode in episodes:
            line = known.get((episode.group, episode.row))
            if line is not None:
                episode.turns = [
                    Turn(path=_path(number, turn.pop("path")), **turn) for number, turn in enumerate(line["turns"])
                ]
                episode.step = Step(**line["step"])
        return [episode for episode in episodes if (episode.group, episode.row) not in known]

    def add(self, episodes: list[Episode]) -> None:
        """Write down episodes that are over. They survive a kill once this returns."""
        with self.path.open("a") as file:
            for episode in episodes:
                file.write(json.dumps(_line(episode)) + "\n")

    def _rewrite(self, lines: list[dict]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = self.path.with_suffix(".tmp")
        made.write_text("".join(json.dumps(line) + "\n" for line in lines))
        made.replace(self.path)


def _lines(path: Path) -> list[dict]:
    """The lines up to the first that was cut short."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _line(episode: Episode) -> dict:
    """An episode as JSON; numbers keep all their digits."""
    turns = [
        {
            "observation": turn.observation,
            "response": turn.response,
            "command": turn.command,
            "fault": turn.fault,
            "path": {
                "prompt": list(turn.path.prompt),
                "completion": turn.path.completion,
                "logps": turn.path.logps,
                "entropies": turn.path.entropies,
                "finish": turn.path.finish,
                "budget": turn.path.budget,
            },
        }
        for turn in episode.turns
    ]
    step = {"text": episode.step.text, "done": episode.step.done, "success": dict(episode.step.success)}
    return {"group": episode.group, "row": episode.row, "turns": turns, "step": step}


def _path(turn: int, kept: dict) -> TokenPath:
    path = TokenPath.root(kept["prompt"])
    path.turn, path.finish, path.budget = turn, kept["finish"], kept["budget"]
    for token, logp, entropy in zip(kept["completion"], kept["logps"], kept["entropies"], strict=True):
        path.add_sampled(token, logp, entropy)
    return path
