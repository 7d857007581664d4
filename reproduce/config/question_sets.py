"""Names of the public question sets that a config may ask for. Their files: `reproduce.worlds.benchmarks`."""

EVALUATION_SETS = tuple(
    "2wiki hotpotqa musique bamboogle aime24 aime25 math500 gsm8k math webwalker gaia hle xbench".split()
)
RL_SETS = ("train_10k", "valid", "hard_search_1k")
