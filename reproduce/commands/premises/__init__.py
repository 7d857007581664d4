"""Measure the premises of AEPO and ARPO on a warm model: definitions in `analysis/preregistration_lm.md`."""
