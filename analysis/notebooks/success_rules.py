# %% [markdown]
# # What a success rule is worth
# **Asked.** EPO's released code counts a ScienceWorld episode as a success when it is over and its score is above 0.
# An episode is
# also over when its 100 moves are used up, and one `wait` takes 11. How often do policies that do no task succeed then?
#
# They are measured on the real simulator, under each of three success rules, next to the simulator's own expert.
# Nothing is
# played in this notebook: it reads `data/scienceworld/`, which
# `python -m reproduce.commands.check_scienceworld --out data/scienceworld` wrote.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import notebook, scripted_policies

# %%
measured = scripted_policies.load(notebook.data_folder() / "scienceworld")
notebook.save(scripted_policies.files(measured))
notebook.say(scripted_policies.answer(measured))

# %% [markdown]
# ## Success under each rule
# Without a move limit (`move_limit=None` of our environment) an idle episode ends with its turns, not by itself, and is
# no released success either.

# %%
notebook.show(scripted_policies.rates_table(measured))

# %%
notebook.draw("success_rules", scripted_policies.figure_rules(measured))

# %% [markdown]
# ## Against the expert
# The rules do not only differ in level: they order the policies differently.

# %%
notebook.show(scripted_policies.against_gold_table(measured))

# %% [markdown]
# ## How long the expert's paths are

# %%
notebook.show(scripted_policies.gold_table(measured))

# %% [markdown]
# ## Which task types give a score for looking around

# %%
notebook.show(scripted_policies.kinds_table(measured))

# %%
notebook.draw("success_rules_kinds", scripted_policies.figure_kinds(measured))
