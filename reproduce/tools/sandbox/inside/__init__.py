"""Code that runs inside the sandbox. Standard library only, and nothing here imports the rest of the repository."""
