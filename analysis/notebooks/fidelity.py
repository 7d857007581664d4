# %% [markdown]
# # Papers and released code: where they differ, and by how much
# **Asked.** AEPO, ARPO and EPO were published with code that does not do what the papers say. What does the paper
# say, what does
# the code do, what do the methods of this repository do, and what does it change? Every number is computed here, from a
# committed batch of a real training step; every claim has a test. This notebook alone imports `reproduce.algorithms`.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from IPython.display import Markdown, display

# %%
from analysis import notebook
from analysis.fidelity import figures, table
from analysis.fidelity.audit import load_audit

audit = load_audit(notebook.data_folder())
notebook.save(audit.files())
notebook.say(table.answer(audit.rows, audit.values))

# %% [markdown]
# ## How many
# Rows of the three papers by what they change; a row may change several things.

# %%
notebook.show_frame(table.counts(audit.rows).reset_index(names="method"), "Discrepancies")

# %% [markdown]
# ## By how much
# Distances of gradients, |other − paper| / |paper| with respect to the logits of all trained tokens.

# %%
notebook.draw("fidelity_distances", figures.figure_distances(audit.rows, audit.values))

# %% [markdown]
# ## What a token's gradient is multiplied by
# PPO's clip removes the gradient above the upper bound; AEPO keeps it, bounded. The released code adds a dual clip.

# %%
notebook.draw("fidelity_gradient_factors", figures.figure_factors())

# %% [markdown]
# ## Two schedules
# The phase weight of EPO's smoothing, and the budget of whole trajectories of AEPO.

# %%
notebook.draw("fidelity_schedules", figures.figure_schedules(audit.batch))

# %% [markdown]
# ## All rows

# %%
display(Markdown(audit.markdown))
