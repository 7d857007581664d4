# %% [markdown]
# # The entropy family beside DAPO
# **Asked.** Many methods change DAPO to control the policy's entropy. Which of them keep entropy higher or lower, and
# which differ from DAPO on the test panel at equal budget?

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import entropy_family, notebook

# %%
source = notebook.source("2")
notebook.say(entropy_family.answer(source))

# %% [markdown]
# ## Entropy and success over training

# %%
notebook.draw("entropy_family_training", entropy_family.figure_training(source))

# %% [markdown]
# ## Success against end entropy
# All methods of table 2, whatever they do about entropy.

# %%
notebook.draw("entropy_family_success", entropy_family.figure_success(source))

# %% [markdown]
# ## Differences to DAPO

# %%
notebook.save(entropy_family.files(source))
notebook.show(*entropy_family.tables(source))
