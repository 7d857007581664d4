"""A stepper of ALFWorld games that gives the released engine's answers, without TextWorld."""
