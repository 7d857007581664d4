"""The requirement files of machines with vLLM hold the pins of requirements.txt, but for the one that cannot be."""

from places import ROOT

MAY_DIFFER = {"numpy"}


def pins(name):
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_the_pins_are_the_same():
    plain, gpu, cpu = pins("requirements.txt"), pins("requirements-gpu.txt"), pins("requirements-vllm-cpu.txt")
    for found in (gpu, cpu):
        assert {k: v for k, v in found.items() if k in plain and k not in MAY_DIFFER}.items() <= plain.items()
    assert plain.keys() <= gpu.keys(), "a GPU machine runs everything"
    assert gpu["vllm"] == cpu["vllm-cpu"] and gpu["numpy"] == cpu["numpy"] < plain["numpy"]
