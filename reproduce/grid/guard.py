"""The fork server of `workers` imports this first. From then on it ends with the grid that started it, even by kill -9.

Without it the server would end some seconds after the grid, while runs go on writing.
"""

from reproduce.parent import die_with_parent

die_with_parent()
