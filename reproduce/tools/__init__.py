"""Tools that agents and judges call: a Python sandbox, search, and downloads from the Hugging Face Hub."""
