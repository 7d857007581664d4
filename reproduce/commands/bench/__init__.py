"""`python -m reproduce bench`: speed as ratios against a named alternative, both sides in this process, one thread.

    rollout   sampled tokens per second of our agent loop and engine against the multi-turn path of TRL's own
              `GRPOTrainer` (`environment_factory`, its tool-calling loop around Transformers' generate): same weights,
              questions, tools, limits and tokens (TRL gets chat and response templates that spell our tags)
    step      seconds of an RL step of `aepo` against one of `grpo`, from one warm start on the same questions
    sandbox   a call of the Python tool, per backend, against a bare `subprocess` that starts Python
    engine    sampled tokens per second of vLLM against our Transformers engine, where it is installed
    tools     a rollout whose searches are slow: calls in threads against one by one; with vLLM also paths that go on by
              themselves against rounds that wait for the last call
    scienceworld, alfworld   steps per second and memory of the real environments against the released code's way

With `--model FOLDER`, a pretrained model, instead of these: rollouts, training passes and whole RL steps of one group
against TRL's own path, with the positions that were passed, the arithmetic that they need and the share of matrix
multiplication that this makes; and how the time of a step grows with group, calls and prompt (`lm.py`).

Sides take turns. A ratio is the left side over the right side, the median over repetitions; its smallest and largest
value stand beside it. Rows in CPU seconds count this process alone, so other work disturbs them less. The table goes to
the terminal, and with the machine's facts (no host name, no path) to `bench.csv` of the runs root.

A comparison is a function of `Sizes` that gives rows, and a line in `cli.py`.
"""

from reproduce.commands.bench.cli import main

__all__ = ["main"]
