"""Tasks: worlds, tools, prompts, rewards and benchmark loaders."""
