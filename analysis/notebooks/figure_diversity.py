# %% [markdown]
# # Diversity: how many ways does each policy try?
# **Asked.** Does a policy still try several ways at a question after training, and more so with AEPO? Measured on the
# evaluation trajectories (fixed panel, last checkpoint) of AEPO, its baselines and the warm start.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import diversity, notebook

# %%
source = diversity.shown(notebook.source("2"))
found = diversity.clusters(source)
distance = diversity.distances(source)
notebook.say(diversity.answer(source, distance))

# %% [markdown]
# ## The measures

# %%
notebook.show(diversity.diversity_table(source, found, distance))

# %% [markdown]
# ## Inside a question

# %%
notebook.draw("diversity_measures", diversity.figure_measures(source, distance))

# %% [markdown]
# ## pass@k

# %%
notebook.draw("diversity_pass_at_k", diversity.figure_pass_at_k(source))
