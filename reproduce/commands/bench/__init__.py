"""`python -m reproduce bench`: speed as ratios against a named alternative, both sides in this process, one thread.

Comparisons, each repetition of which times one side right after the other:

    rollout   sampled tokens per second of our agent loop and engine (independent rollouts) against the multi-turn path
              of TRL's own `GRPOTrainer` (`environment_factory`, its tool-calling loop around Transformers' generate).
              Same weights, questions, tools and limits, and the same tokens: TRL gets a chat template and a response
              template that spell a conversation in our tags, and the closing tool tags as end-of-sequence tokens.
    step      seconds of an RL step of `aepo` against one of `grpo`: two trainers from one warm start on the same
              questions take turns, step by step.
    sandbox   median time of a call of the Python tool, per backend, against a bare `subprocess` that starts Python (on
              a fixed program of ours; the Python tool itself never runs anything outside its sandbox).
    engine    sampled tokens per second of vLLM against our Transformers engine, same script of segments and results,
              where vLLM is installed (`make bench-vllm`).
    tools     seconds of a rollout whose searches are slow, now and then very slow: calls in threads against one after
              the other; with vLLM also paths that go on by themselves against rounds that wait for the last call.
    scienceworld, alfworld   steps per second and memory of the real environments against the released code's way
              (`bench.envs`), where the packages of requirements-envs.txt are installed.

A ratio is the left side over the right side, the median over repetitions; its smallest and largest value stand beside
it. Rows in CPU seconds count this process alone, so other work on the machine disturbs them less. The table goes to the
terminal, and with the machine's facts (no host name, no path) to `bench.csv` of the runs root.
"""

from reproduce.commands.bench.cli import main

__all__ = ["main"]
