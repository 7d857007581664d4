"""A stepper of ALFWorld games that answers as the released engine does, without TextWorld."""
