"""BM25 search over short passages: the search tool of the mini world and of the stored real search results.

Scores are those of bm25s (arXiv 2407.03618; Lucene's BM25 with k1 = 1.5, b = 0.75, its defaults), computed when the
index is built. A query only adds up the stored scores of its tokens, so it costs tens of microseconds on a few thousand
passages. Nothing is random and no progress bar is shown.
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
    """One search result. `score` is the BM25 score, above 0; `position` is the passage's place in the index."""

    id: str | int
    score: float
    title: str
    text: str
    position: int


def tokenize(text: str) -> list[str]:
    """The tokens of a passage, in order: runs of letters, digits and underscores, case folded, in Unicode's form C.

    No stemming, one-letter tokens kept, wide Latin letters and digits as the usual ones. Scripts that write no spaces
    between words (Chinese, Japanese, Thai, ...), and Korean, whose words carry endings, give their characters and the
    pairs of neighbouring characters (as Lucene's CJKBigramFilter with outputUnigrams).
    """
    return [token for run in _runs(text) for token in ([*run, *_pairs(run)] if _unspaced(run) else [run])]


def query_tokens(text: str) -> list[str]:
    """The tokens of a query: as `tokenize`, but of a run without spaces the pairs alone, or its one character."""
    return [token for run in _runs(text) for token in ((_pairs(run) or [run]) if _unspaced(run) else [run])]


def words(text: str) -> list[str]:
    """The words of a text, as `tokenize` cuts them; of a script without spaces, the characters."""
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


class PassageIndex:
    """BM25 index over passages.

    passages: strings (their id is their position), or mappings with `text` and optionally `id` and `title`; title and
    text are searched together. Ids must be unique and of one type, because they break ties between equal scores.
    stopwords: tokens to ignore, none by default. Raises UserError for an empty list or a malformed passage.
    """

    def __init__(
        self,
        passages: Iterable[str | Mapping[str, Any]],
        *,
        k1: float = K1,
        b: float = B,
        stopwords: Sequence[str] = (),
        max_query_chars: int = MAX_QUERY_CHARS,
    ) -> None:
        self.ids: list[str | int] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        for position, passage in enumerate(passages):
            self._add(position, passage)
        if not self.ids:
            raise UserError("search index: no passage given; pass at least one")
        self.max_query_chars = max_query_chars
        self._tie_rank = _tie_ranks(self.ids)
        self._build(frozenset(word.lower() for word in stopwords), k1, b)

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

    def _build(self, stopwords: frozenset[str], k1: float, b: float) -> None:
        vocabulary: dict[str, int] = {}
        documents: list[list[int]] = []
        for title, text in zip(self.titles, self.texts, strict=True):
            words = (word for word in tokenize(f"{title} {text}") if word not in stopwords)
            documents.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
        self._postings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if not vocabulary:
            return
        bm25 = bm25_of(documents, vocabulary, k1, b)
        data, indices, bounds = (np.asarray(bm25.scores[key]) for key in ("data", "indices", "indptr"))
        indices = indices.astype(np.intp)
        for word, column in vocabulary.items():
            start, end = int(bounds[column]), int(bounds[column + 1])
            self._postings[word] = (indices[start:end], data[start:end])

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, query: str) -> np.ndarray:
        """BM25 score of every passage, float32 of shape (passages,); zeros where no token is shared.

        A token that the query repeats counts each time, as in bm25s.
        """
        scores = np.zeros(len(self.ids), dtype=np.float32)
        for word in query_tokens(query):
            posting = self._postings.get(word)
            if posting is not None:
                scores[posting[0]] += posting[1]  # a passage occurs once per posting, so this adds correctly
        return scores

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """The at most `k` best passages that share a token with the query, best first, ties by smaller id.

        An empty query, one without any known word, or one longer than `max_query_chars` gives []. Raises UserError
        for k < 1.
        """
        if k < 1:
            raise UserError(f"search: k is {k}; ask for at least one result")
        if len(query) > self.max_query_chars:
            return []
        scores = self.scores(query)
        found = np.flatnonzero(scores)
        positions = best(scores, found, k, self._tie_rank).tolist()
        return [Hit(self.ids[i], float(scores[i]), self.titles[i], self.texts[i], i) for i in positions]

    def search_batch(self, queries: Sequence[str], k: int = 5) -> list[list[Hit]]:
        """`search` for each query, in order."""
        return [self.search(query, k) for query in queries]


def bm25_of(documents: list[list[int]], vocabulary: Mapping[str, int], k1: float = K1, b: float = B) -> bm25s.BM25:
    """The index of passages. documents: of each the numbers of its tokens in `vocabulary`."""
    bm25 = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", csc_backend="numpy")
    bm25.index((documents, dict(vocabulary)), create_empty_token=False, show_progress=False)
    return bm25


def best(scores: np.ndarray, found: np.ndarray, k: int, tie_rank: np.ndarray | None = None) -> np.ndarray:
    """The at most `k` positions of `found` with the highest scores, best first.

    Ties by smaller `tie_rank`, which holds the rank of every position (None: the position itself).
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
    """Passages of one stored search result of the form `Page 1: ...\\nPage 2: ...`, empty ones dropped."""
    starts = list(_PAGE.finditer(result_text))
    ends = [match.start() for match in starts[1:]] + [len(result_text)] * bool(starts)
    pages = (result_text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True))
    return [page for page in pages if page]


def read_search_cache(path: str | Path) -> list[dict[str, str]]:
    """Passages of a search cache: a JSON object from query to result text (`Page 1: ...` lines).

    Records have `id` ("<number of the query>-<number of the page>", zero padded), `title` ("") and `text`. A passage
    that several queries returned is kept once, at its first place. Raises UserError if the file is missing or is
    not such an object.
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


def load_search_cache(path: str | Path, **options: Any) -> PassageIndex:
    """`PassageIndex` over the passages of a search cache; `options` go to `PassageIndex`."""
    return PassageIndex(read_search_cache(path), **options)
