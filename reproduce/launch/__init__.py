"""Where the runs of a table are started: on this machine, through `accelerate`, or as jobs of a Slurm cluster."""
