"""What happens to groups and rewards before advantages exist: filters and reward shaping."""

from dataclasses import dataclass

from reproduce.objectives import shaping


@dataclass(frozen=True)
class DynamicSampling:
    """Drop groups whose rewards are all equal and sample other prompts, for at most max_generation_batches batches."""

    dynamic_sampling: bool = True
    max_generation_batches: int = 10
    needs = ()

    def __call__(self, rewards_B, groups_B):
        return shaping.varied_groups(rewards_B, groups_B)


@dataclass(frozen=True)
class OverlongPenalty:
    """Soft punishment inside the last overlong_buffer (a fraction of the maximum length), down to -overlong_factor."""

    overlong_penalty: bool = True
    overlong_buffer: float = 0.2
    overlong_factor: float = 1.0
    needs = ()

    def __call__(self, lengths_B, max_length):
        return shaping.overlong_penalty(lengths_B, max_length, self.overlong_buffer, self.overlong_factor)
