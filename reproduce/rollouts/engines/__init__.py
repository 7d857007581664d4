"""Engines: they sample tokens for paths and know nothing of tasks, tools or rewards."""
