"""Sample trees of trajectories: the agent loop, episodes, and the engines that sample tokens."""
