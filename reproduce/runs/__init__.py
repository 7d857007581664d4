"""Run directories: how a run writes, resumes, is read and is published."""
