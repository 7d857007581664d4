"""Imported first by the fork server of `workers`: from then on it ends with the grid that started it, even by kill -9.

Without it the server would end by itself once the grid is gone, but only after seconds in which runs go on writing.
"""

from reproduce.parent import die_with_parent

die_with_parent()
