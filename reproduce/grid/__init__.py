"""Start runs: the grid of a table, its processes, and the launchers for one machine, accelerate and Slurm."""
