"""Reproduction of AEPO, EPO and their baselines on TRL-based trainers."""
