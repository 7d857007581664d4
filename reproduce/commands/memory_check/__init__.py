"""The memory estimate against two measurements: the real step on fake tensors, and real peaks on a CPU."""
