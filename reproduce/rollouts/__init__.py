"""Trees of trajectories: policies (who branches when), the agent loop, and engines that sample tokens."""
