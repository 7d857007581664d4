"""What tests of training share."""

import importlib

import pytest
import torch


@pytest.fixture
def wide_norms(monkeypatch):
    """Norms in the model's type. Transformers' work in float32, and round what rows share before it is added up."""

    def forward(self, states):
        return self.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.variance_epsilon)

    for family in ("Llama", "Qwen2", "Qwen3"):
        modeling = importlib.import_module(f"transformers.models.{family.lower()}.modeling_{family.lower()}")
        monkeypatch.setattr(getattr(modeling, f"{family}RMSNorm"), "forward", forward)
