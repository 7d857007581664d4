"""Table files, their typed settings, and the jobs that they describe. Imports no trainer, model or world."""
