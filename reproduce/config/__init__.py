"""Table files, their typed settings, and the jobs they describe. Imports no trainer, model or world."""
