"""The worlds that agents act in, one folder each, with the prompts and rewards they share."""
