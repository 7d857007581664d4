# %% [markdown]
# # Diversity: how many ways does each policy try?
# Measured on the evaluation trajectories (fixed panel, last checkpoint) of AEPO, its baselines and the warm start.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import diversity, notebook

source = diversity.shown(notebook.source("2"))
found = diversity.clusters(source)
distance = diversity.distances(source)

# %%
notebook.show(diversity.diversity_table(source, found, distance))

# %% [markdown]
# ## Clusters of trajectories
# One panel per method, its first seed, one trajectory per question; colours are clusters inside a panel, grey is noise.

# %%
notebook.draw("diversity_clusters", diversity.figure_clusters(source, found))
# %% [markdown]
# ## Three measures
# Mean with 95 % interval; small dots are single runs.

# %%
notebook.draw("diversity_measures", diversity.figure_measures(source, found, distance))
# %% [markdown]
# ## pass@k

# %%
notebook.draw("diversity_pass_at_k", diversity.figure_pass_at_k(source))
