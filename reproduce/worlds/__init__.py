"""The worlds that agents act in, one folder each, and the prompts and rewards that they share."""
