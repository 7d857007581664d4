"""Time that waiting for searches takes, and would take beside the work of the step before.

Inside a step a waiting trajectory holds up no other one (`rollouts.tools`, `engine.tool_workers`). Across steps nothing
runs beside anything today. Searches could run beside sampling and training of the step before, with rollouts from
weights that are one update phase older (a stale step). That is another method than the published one.
"""


def search_rate(limit: float, at_once: float, latency: float) -> float:
    """Searches a second: what the service allows, and what so many waiting calls can ask.

    limit: of the service, 0 for none. at_once: calls that wait together. latency: seconds of a call. 0: no bound.
    """
    asked = at_once / latency if latency else 0.0
    bounds = [bound for bound in (limit, asked) if bound]
    return min(bounds, default=0.0)


def seconds_in_turn(sampling: float, tools: float, training: float, other: float) -> float:
    """Seconds of a run whose stages follow each other. Arguments: seconds of each stage over all steps."""
    return sampling + tools + training + other


def seconds_one_stale(sampling: float, tools: float, training: float, other: float, steps: float) -> float:
    """Seconds of a run in which the searches of a step go on while the cards sample and train for the step before.

    Arguments as of `seconds_in_turn`; steps: RL steps, alike in length. The first step has nothing beside it; each
    further one takes as long as its searches or the cards' work, whichever is longer; `other` stays outside.
    """
    if steps < 1:
        return seconds_in_turn(sampling, tools, training, other)
    first, cards = (sampling + tools + training) / steps, (sampling + training) / steps
    return first + (steps - 1) * max(tools / steps, cards) + other
