"""Time that waiting for searches takes, and takes beside the training of the step before.

Inside a step a waiting trajectory holds up no other one (`rollouts.tools`, `engine.tool_workers`). With
`training.stale_steps: 1` a step is sampled while the one before it trains, from weights that are one step older. That
is another method than the published one.
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


def seconds_one_stale(
    sampling: float, tools: float, training: float, other: float, steps: float, apart: bool = False
) -> float:
    """Seconds of a run whose steps are sampled while the step before trains.

    Arguments as of `seconds_in_turn`; steps: RL steps, alike in length. The first step has nothing beside it; each
    further one takes as long as its sampling and its tools, or as what the cards compute, whichever is longer; `other`
    stays outside. apart: sampling has cards of its own, and the others train alone.
    """
    if steps < 1:
        return seconds_in_turn(sampling, tools, training, other)
    first, cards = (sampling + tools + training) / steps, (training if apart else sampling + training) / steps
    return first + (steps - 1) * max((sampling + tools) / steps, cards) + other
