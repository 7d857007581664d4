"""Training on TRL: the trainer subclass, the warm start, and the job that runs them."""
