"""Run directories: what a run writes, how it resumes, how it is read and published."""
