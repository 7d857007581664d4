# %% [markdown]
# # Entropy: do the papers' premises hold here?
# **Asked.** AEPO and ARPO rest on five observations about entropy in agentic training. Which of them do the logged
# runs show?

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import entropy, notebook

# %%
source = notebook.source("2")
notebook.say(entropy.answer(source))

# %% [markdown]
# ## The premises

# %%
notebook.show(entropy.premises_table(source), entropy.start_end_table(source))

# %% [markdown]
# ## Over training

# %%
notebook.draw("entropy_training", entropy.figure_training(source))

# %% [markdown]
# ## Around tool results

# %%
notebook.draw("entropy_tool_results", entropy.figure_tool_results(source))

# %% [markdown]
# ## High-entropy tool steps in a row
# A tool step counts as high-entropy if it lies above the median. Shuffling inside trajectories gives what chance would.

# %%
notebook.draw("entropy_in_a_row", entropy.figure_in_a_row(source))

# %% [markdown]
# ## Tokens outside the clip range
# How many tokens have a probability ratio outside [1 − ε_low, 1 + ε_high], and how their entropy compares with the
# rest.

# %%
notebook.draw("entropy_clip", entropy.figure_clip(source))
