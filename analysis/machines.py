"""The processor and the libraries of runs: equal seeds give equal bytes only where these are equal."""

from collections.abc import Iterable

WHY = (
    "Equal seeds give equal outcomes on one type of processor with one build of the libraries. On another, numbers "
    "agree to rounding until a sampled token differs; from there on the run is another sample of the same method."
)


def facts(manifest: dict) -> dict[str, str]:
    """Facts that arithmetic depends on, in words: name -> value. Older manifests lack some of them."""
    machine, versions = manifest.get("machine") or {}, manifest.get("versions") or {}
    known = {
        "processor": machine.get("cpu"),
        "processor model": machine.get("cpu_model"),
        "instruction set": machine.get("instruction_set"),
        "mathematics libraries": ", ".join(machine.get("libraries") or ()),
        "GPU": machine.get("gpu") or ("none" if machine else None),
    }
    packages = {package: version for package, version in versions.items() if package != "python"}
    return {name: str(value) for name, value in (known | packages).items() if value}


def differences(pairs: Iterable[tuple[dict, dict]]) -> list[str]:
    """Sentences that name what differs in (published, own) manifests of the same run; none where nothing is known to.

    The last sentence is `WHY`.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for published, own in pairs:
        a, b = facts(published), facts(own)
        for name in a.keys() & b.keys():
            if a[name] != b[name]:
                found.setdefault(name, set()).add((b[name], a[name]))
    order = {name: place for place, name in enumerate(["processor", "processor model", "instruction set"])}
    lines = []
    for name in sorted(found, key=lambda name: (order.get(name, len(order)), name)):
        yours, published = (", ".join(sorted(set(values))) for values in zip(*found[name], strict=True))
        lines.append(f"Other {name}: yours {yours}; published {published}.")
    return [*lines, WHY] if lines else []
