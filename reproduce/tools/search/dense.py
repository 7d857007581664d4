"""Dense search in a corpus of your own: the passages whose embeddings have the largest inner product with the query's.

Embeddings follow E5 (arXiv 2212.03533): "query: " or "passage: " before the text, the mean of the encoder's last hidden
states over its tokens, length 1. The search is exact and reads every vector, so it suits a corpus of up to a few
million passages; at width 768 a passage takes 3 KB. Passages are those of the BM25 index (`corpus.py`), which is built
too.

Vectors are made once, on a GPU if there is one, and kept beside that index. A build that is cut short resumes. Queries
are encoded on the CPU.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm import tqdm

from reproduce.errors import UserError
from reproduce.locks import locked
from reproduce.tools.hub.fetch import model_folder
from reproduce.tools.search.bm25 import MAX_QUERY_CHARS, Hit, best
from reproduce.tools.search.corpus import CorpusIndex

QUERY, PASSAGE = "query: ", "passage: "
MAX_TOKENS = 512
BATCH = 64
FORMAT = 2  # of the vectors: raised when the same passage gets another one


class Encoder:
    """Encodes texts as vectors of length 1.

    Args:
        folder: a model of transformers' AutoModel with its tokenizer.
        name: its name, for the error.
        device: where it runs.

    Raises:
        UserError: it cannot be loaded.
    """

    def __init__(self, folder: Path, name: str, device: str = "cpu"):
        from transformers import AutoModel, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"search.encoder: {name} cannot be loaded ({reason})") from None
        if self.tokenizer.pad_token_id is None:
            raise UserError(f"search.encoder: the tokenizer of {name} has no padding token; take an encoder such as E5")
        self.model, self.device = model.eval().to(device), device

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> np.ndarray:
        """Encode texts. Returns vectors (len(texts), width), float32."""
        asked = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
            split_special_tokens=True,  # a passage that spells [SEP] holds a text
        )
        asked = asked.to(self.device)
        hidden_BTH = self.model(**asked).last_hidden_state
        mask_BT1 = asked["attention_mask"][..., None]
        mean_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
        return torch.nn.functional.normalize(mean_BH, dim=-1).float().cpu().numpy()


class DenseIndex:
    """As `CorpusIndex`, over its passages. The first process makes the vectors; others wait.

    Args:
        corpus: the BM25 index.
        folder: where that index lies.
        encoder: name or folder of the encoder.
        revision: of the encoder; it identifies the vectors.

    Raises:
        UserError: the encoder is missing.
    """

    def __init__(self, corpus: CorpusIndex, folder: Path, encoder: str, revision: str | None):
        self.corpus, self.passages, self.sha256 = corpus, corpus.passages, corpus.sha256
        self._encoder = Encoder(model_folder(encoder, revision), encoder)
        place = folder.with_name(f"{folder.name}.{(revision or 'no revision')[-16:]}.npy")
        stamp = {"format": FORMAT, "corpus": corpus.sha256, "encoder": revision}
        with locked(place.with_suffix(".lock"), None, "search.index_dir"):
            if not place.is_file() or _read(place.with_suffix(".json")) != stamp:
                self._build(place, stamp, encoder, revision)
        self.vectors = np.load(place, mmap_mode="r")

    def __len__(self) -> int:
        return self.passages

    def close(self) -> None:
        self.corpus.close()

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """List the at most `k` passages with the largest inner product, ties by smaller position. `score` is the
        cosine.
        """
        if not query.strip() or len(query) > MAX_QUERY_CHARS or k < 1:
            return []
        scores = self.vectors @ self._encoder([QUERY + query])[0]
        positions = best(scores, np.arange(len(scores)), k).tolist()
        return [Hit(i, float(scores[i]), *self.corpus.passage(i), i) for i in positions]

    def _build(self, place: Path, stamp: dict, encoder: str, revision: str | None) -> None:
        part, note = place.with_suffix(".part.npy"), place.with_suffix(".part.json")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encode = self._encoder if device == "cpu" else Encoder(model_folder(encoder, revision), encoder, device)
        kept = _read(note) if part.is_file() else {}
        done = kept.get("done", 0) if stamp.items() <= kept.items() else 0
        width = encode([PASSAGE]).shape[1]
        shape = (self.passages, width)
        vectors = (
            np.lib.format.open_memmap(part, "r+")
            if done
            else np.lib.format.open_memmap(part, "w+", dtype=np.float32, shape=shape)
        )
        with tqdm(total=self.passages, initial=done, desc=f"embedding passages ({device})", unit="passage") as bar:
            for start in range(done, self.passages, BATCH):
                end = min(start + BATCH, self.passages)
                found = [self.corpus.passage(i) for i in range(start, end)]
                vectors[start:end] = encode([f"{PASSAGE}{title} {text}" for title, text in found])
                if (start // BATCH) % 100 == 99:
                    vectors.flush()
                    note.write_text(json.dumps(stamp | {"done": end}))
                bar.update(end - start)
        vectors.flush()
        del vectors
        place.with_suffix(".json").unlink(missing_ok=True)
        part.replace(place)
        place.with_suffix(".json").write_text(json.dumps(stamp))
        note.unlink(missing_ok=True)


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
