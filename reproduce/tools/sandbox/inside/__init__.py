"""Code that runs inside the sandbox. It uses the standard library only and imports nothing else of this repository."""
