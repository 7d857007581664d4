"""Tools that agents and judges call: Python sandbox, search, and downloads from the hub."""
