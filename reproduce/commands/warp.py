"""Merge runs that began with the same weights, and move these towards the merge (WARP, stages 2 and 3).

    make warp START=folder MERGE=run,run OUT=folder [ETA=0.3]

START holds the weights that the runs began with: a warm start, a model's folder, or an earlier OUT. MERGE names
directories of runs, whose last checkpoints are taken, or folders with weights. OUT gets START's other files and the new
weights; a model of the hub's kind goes on from it with `model.name_or_path`. Every tensor counts as a layer (assumed).
"""

import shutil
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open

from reproduce import arguments
from reproduce.algorithms.parts.merging import warp_layer
from reproduce.errors import UserError
from reproduce.training.checkpoints import last_checkpoint

KEPT = ("*.json", "*.txt", "*.model", "*.jinja")
NOT_KEPT = ("hashes.json", "checks.json", "*.index.json")
ETA = 0.3  # WARP's settings


def main(words: list[str] | None = None) -> int:
    """Merge and write; prints what was merged."""
    parser = arguments.Parser(prog="python -m reproduce warp", description=arguments.first_line(__doc__))
    parser.add_argument("--start", type=Path, required=True, help="folder with the weights that the runs began with")
    parser.add_argument(
        "--merge", type=arguments.names, required=True, help="runs or folders with weights, two or more"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not exist")
    parser.add_argument("--eta", type=float, default=ETA, help="how far the start moves, above 0 and up to 1 (0.3)")
    options = parser.parse_args(words)
    count = merge(options.start, [Path(name) for name in options.merge], options.out, options.eta)
    print(
        f"{options.out}: {count} tensors, {options.eta:g} of the way from the start to {len(options.merge)} merged runs"
    )
    return 0


def merge(start: Path, runs: list[Path], out: Path, eta: float) -> int:
    """Write the merge to `out` and return how many tensors it has.

    Args:
        start: the folder that the runs began with.
        runs: directories of runs, or folders with weights.
        out: a new folder.
        eta: how far the start moves.

    Raises:
        UserError: a folder has no weights or adapters, tensors differ in name or shape, or a value is bad.
    """
    if not 0 < eta <= 1:
        raise UserError(f"--eta must be above 0 and at most 1, not {eta:g}")
    if len(runs) < 2:
        raise UserError("--merge: name at least two runs, with commas between them")
    if out.exists():
        raise UserError(f"--out {out} exists; name a new folder")
    folders = [weights_of(run) for run in runs]
    base, others = opened(weights_of(start)), [opened(folder) for folder in folders]
    for folder, tensors in zip(folders, others, strict=True):
        if tensors.keys() != base.keys():
            odd = min(tensors.keys() ^ base.keys())
            raise UserError(f"{folder} and {start} hold different models: {odd} is in one of them alone")
    merged = {}
    for name in base:
        first, *rest = (tensors[name].get_tensor(name) for tensors in (base, *others))
        if any(tensor.shape != first.shape for tensor in rest):
            raise UserError(f"{name} has different shapes in {start} and the runs")
        merged[name] = warp_layer(first, rest, eta) if first.is_floating_point() else first
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for path in sorted(path for kind in KEPT for path in weights_of(start).glob(kind)):
        if not any(path.match(kind) for kind in NOT_KEPT):
            shutil.copy2(path, temporary)
    save_torch_state_dict(merged, temporary)
    temporary.replace(out)
    return len(merged)


def weights_of(folder: Path) -> Path:
    """Find the folder with weights: `folder`, or the last checkpoint of the run in it. UserError if there is none."""
    if (folder / "checkpoints").is_dir():
        folder = last_checkpoint(folder / "checkpoints") or folder
    if (folder / "adapter_model.safetensors").exists():
        raise UserError(
            f"{folder} holds adapters: the merge of products of factors is not the product of merged factors; "
            "merge them into their model first"
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no weights (*.safetensors)")
    return folder


def opened(folder: Path) -> dict:
    """Open the weights in a folder: name -> the file that holds the tensor."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            file = safe_open(path, "pt")
        except SafetensorError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        found |= dict.fromkeys(file.keys(), file)
    return found
