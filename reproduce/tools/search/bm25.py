"""BM25 search over short passages: the search tool of MiniWeb and of stored real search results.

Scores are those of bm25s (arXiv 2407.03618; Lucene's BM25 with k1 = 1.5, b = 0.75, its defaults), computed when the
index is built. A query only adds up the stored scores of its tokens, so it takes a fraction of a millisecond on a few
thousand passages. Nothing is random.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
import numpy as np

from reproduce.errors import UserError
from reproduce.text import clean
from reproduce.tools.reading import json_value

MAX_QUERY_CHARS = 2000  # longer queries come from degenerate generations; hosted engines refuse them too

K1, B = 1.5, 0.75

_UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
_UNSPACED += "\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
_UNSPACED += "\u1100-\u11ff\u3131-\u318e\uac00-\ud7ff"  # Korean
_UNSPACED += "\u3105-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
_WORD = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+")
_WIDE = {0xFF01 + i: chr(0x21 + i) for i in range(94)}  # Latin letters and digits as wide as a Chinese character
_PAGE = re.compile(r"^Page (\d+):[ \t]*", re.MULTILINE)


class Hit(NamedTuple):
    """One search result. score: the BM25 score, above 0. position: the passage's place in the index."""

    id: str | int
    score: float
    title: str
    text: str
    position: int


def tokenize(text: str) -> list[str]:
    """Split a passage into tokens, in order: runs of letters, digits and underscores, case folded, in Unicode's form C.

    There is no stemming, one-letter tokens are kept, and wide Latin letters and digits count as the usual ones. Scripts
    without spaces between words (Chinese, Japanese, Thai, ...), and Korean, whose words carry endings, give their
    characters and the pairs of neighbouring characters (as Lucene's CJKBigramFilter with outputUnigrams).
    """
    return [token for run in _runs(text) for token in ([*run, *_pairs(run)] if _unspaced(run) else [run])]


def query_tokens(text: str) -> list[str]:
    """Split a query as `tokenize` does, but give only the pairs of a run without spaces, or its one character."""
    return [token for run in _runs(text) for token in ((_pairs(run) or [run]) if _unspaced(run) else [run])]


def words(text: str) -> list[str]:
    """Split a text into words, as `tokenize` cuts them; in a script without spaces, into characters."""
    return [word for run in _runs(text) for word in (run if _unspaced(run) else [run])]


def _runs(text: str) -> list[str]:
    if text.isascii():
        return _WORD.findall(text.lower())
    folded = unicodedata.normalize("NFC", clean(text).translate(_WIDE).casefold())
    return _WORD.findall(folded)


def _unspaced(run: str) -> bool:
    return not run.isascii() and re.match(f"[{_UNSPACED}]", run) is not None


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


class Ranking:
    """Passages ranked by bm25s, with one rule for ties. Every BM25 index here is built on it.

    bm25: an index with its vocabulary; None if no passage has a word. passages: their number. tie_rank: the rank of
    every position among equal scores; None: the position itself.
    """

    def __init__(self, bm25: bm25s.BM25 | None, passages: int, tie_rank: np.ndarray | None = None):
        self.bm25, self.passages, self.tie_rank = bm25, passages, tie_rank

    @classmethod
    def of(cls, passages: Iterable[Sequence[str]], tie_rank: np.ndarray | None = None) -> Ranking:
        """Rank passages that are given as their tokens."""
        vocabulary: dict[str, int] = {}
        documents = [[vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in passages]
        if not vocabulary:
            return cls(None, len(documents), tie_rank)
        bm25 = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
        bm25.index((documents, vocabulary), create_empty_token=False, show_progress=False)
        return cls(bm25, len(documents), tie_rank)

    def scores(self, query: str) -> np.ndarray:
        """Compute the BM25 score of every passage, float32 of shape (passages,); zeros if no token is shared.

        A token that the query repeats counts each time, as in bm25s.
        """
        known = {} if self.bm25 is None else self.bm25.vocab_dict
        words = [known[word] for word in query_tokens(query) if word in known]
        if not words:
            return np.zeros(self.passages, dtype=np.float32)
        return self.bm25.get_scores_from_ids(words)

    def best(self, query: str, k: int) -> list[tuple[int, float]]:
        """List (position, score) of the at most `k` best passages that share a token with the query, best first."""
        scores = self.scores(query)
        positions = best(scores, np.flatnonzero(scores), k, self.tie_rank).tolist()
        return [(i, float(scores[i])) for i in positions]


class PassageIndex:
    """BM25 index over passages.

    passages: strings (their id is their position), or mappings with `text` and optionally `id` and `title`. Title and
    text are searched together. Ids must be unique and of one type, because they break ties between equal scores.

    Raises:
        UserError: the list is empty, or a passage is malformed.
    """

    def __init__(self, passages: Iterable[str | Mapping[str, Any]]) -> None:
        self.ids: list[str | int] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        for position, passage in enumerate(passages):
            self._add(position, passage)
        if not self.ids:
            raise UserError("search index: no passage given; pass at least one")
        words = (tokenize(f"{title} {text}") for title, text in zip(self.titles, self.texts, strict=True))
        self._ranking = Ranking.of(words, _tie_ranks(self.ids))

    def _add(self, position: int, passage: str | Mapping[str, Any]) -> None:
        if isinstance(passage, str):
            record: Mapping[str, Any] = {"text": passage}
        elif isinstance(passage, Mapping):
            record = passage
        else:
            raise UserError(f"search index: passage {position} is {type(passage).__name__}; use a string or a record")
        title, text = record.get("title") or "", record.get("text")
        if not isinstance(text, str) or not isinstance(title, str):
            raise UserError(f"search index: passage {position} needs a string 'text' (and, if given, a string 'title')")
        self.ids.append(record.get("id", position))
        self.titles.append(title)
        self.texts.append(text)

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, query: str) -> np.ndarray:
        """Compute the BM25 score of every passage; see `Ranking.scores`."""
        return self._ranking.scores(query)

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """List the at most `k` best passages that share a token with the query, best first, ties by smaller id.

        An empty query, one without any known word, or one longer than `MAX_QUERY_CHARS` gives [].

        Raises:
            UserError: k < 1.
        """
        if k < 1:
            raise UserError(f"search: k is {k}; ask for at least one result")
        if len(query) > MAX_QUERY_CHARS:
            return []
        return [Hit(self.ids[i], score, self.titles[i], self.texts[i], i) for i, score in self._ranking.best(query, k)]


def best(scores: np.ndarray, found: np.ndarray, k: int, tie_rank: np.ndarray | None = None) -> np.ndarray:
    """Select the at most `k` positions of `found` with the highest scores, best first.

    Args:
        scores: a score for every position.
        found: positions to choose from.
        k: how many.
        tie_rank: the rank of every position among equal scores, smaller first; None: the position itself.
    """
    if len(found) > k:
        values = scores[found]
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        found = found[values >= threshold]  # all that tie with the k-th, so that the tie rule decides
    return found[np.lexsort((found if tie_rank is None else tie_rank[found], -scores[found]))[:k]]


def _tie_ranks(ids: list[str | int]) -> np.ndarray:
    """Rank of each passage's id in sorted order, int64 of shape (passages,). UserError on duplicate or mixed ids."""
    try:
        order = sorted(range(len(ids)), key=ids.__getitem__)
    except TypeError:
        raise UserError("search index: passage ids are not of one type; use only strings or only integers") from None
    for previous, current in itertools.pairwise(order):
        if ids[previous] == ids[current]:
            raise UserError(f"search index: passage id {ids[current]!r} occurs twice; ids must be unique")
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids))
    return ranks


def split_pages(result_text: str) -> list[str]:
    """Split a stored search result `Page 1: ...\\nPage 2: ...` into passages; empty ones are dropped."""
    starts = list(_PAGE.finditer(result_text))
    ends = [match.start() for match in starts[1:]] + [len(result_text)] * bool(starts)
    pages = (result_text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True))
    return [page for page in pages if page]


def read_search_cache(path: str | Path) -> list[dict[str, str]]:
    """Read the passages of a search cache: a JSON object from query to result text (`Page 1: ...` lines).

    A passage that several queries returned is kept once, at its first place.

    Returns:
        Records with `id` ("<number of the query>-<number of the page>", zero padded), `title` ("") and `text`.

    Raises:
        UserError: the file is missing or is not such an object.
    """
    path = Path(path)
    cache = json_value(path)
    if not isinstance(cache, dict):
        raise UserError(f"{path}: the search cache must be a JSON object from query to result text")
    records: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, (query, result) in enumerate(cache.items()):
        if not isinstance(result, str):
            raise UserError(f"{path}: key {query!r} holds {type(result).__name__}; expected the result text")
        for page, text in enumerate(split_pages(result), start=1):
            if text not in seen:
                seen.add(text)
                records.append({"id": f"{number:05d}-{page:02d}", "title": "", "text": text})
    return records


def load_search_cache(path: str | Path) -> PassageIndex:
    """Index the passages of a search cache."""
    return PassageIndex(read_search_cache(path))
