"""ALFWorld: published or generated games, the released engine, and a faster stepper."""
