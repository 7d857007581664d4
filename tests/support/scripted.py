"""An engine that says what it is told, with entropies as told, for tests of the agent loop."""

from tiny import encode, environment, tokenizer, world

from reproduce.rollouts.agent import AgentLoop, Grammar, Limits
from reproduce.rollouts.token_path import Engine
from reproduce.worlds.miniweb.questions import make_questions
from reproduce.worlds.tool_server import Call

QUESTIONS = make_questions(world(), "mini-deepsearch", "train", 4, 0)


PROMPTS = [encode(f"question : {q.text}") for q in QUESTIONS]


class ScriptedEngine(Engine):
    """An engine whose policy is a function: `choose(path) -> (token, entropy)`; everything else is the protocol."""

    def __init__(self, choose, eos_id, stop_ids):
        self.choose, self.eos_id, self.stop_ids = choose, eos_id, stop_ids

    def run(self, paths, advance, tools=None):
        live = list(paths)
        while live:
            done = []
            for path in live:
                token, entropy = self.choose(path)
                path.add_sampled(token, -entropy, entropy)
                path.budget -= 1
                if token == self.eos_id or token in self.stop_ids or path.budget <= 0:
                    path.finish = "eos" if token == self.eos_id else "stop" if token in self.stop_ids else "length"
                    done.append(path)
            kept = [p for p in live if p not in done]
            live = kept + (advance(done) if done else [])


def scripted(text_of_turn, entropy_of_turn, calls=4, limits=Limits(8, 200)):
    """A loop whose every path says `text_of_turn(turn)` with entropy `entropy_of_turn(turn)` on each token."""
    t = tokenizer()
    grammar = Grammar(t)

    def choose(path):
        text = text_of_turn(path.turn)
        ids = [t.eos_token_id] if text is None else t.encode(text, add_special_tokens=False)
        said = sum(1 for s, turn in zip(path.sampled, path.turns, strict=True) if s and turn == path.turn)
        return ids[min(said, len(ids) - 1)], entropy_of_turn(path.turn)

    engine = ScriptedEngine(choose, t.eos_token_id, set(grammar.close))
    return AgentLoop(engine, environment(), Call, grammar, limits)


def search(turn, calls=4):
    return "<think> open </think> <search> page 1 </search>" if turn < calls else None
