"""Tables and figures, rebuilt from the logged results: reads data/results or finished runs, trains nothing."""
