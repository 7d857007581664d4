"""Real search: a local index or a hosted search engine behind one interface, recorded once and replayed for ever.

`open_search(config)` returns an object with `search_many(queries)`. No call raises: a service that is dead, slow or out
of quota gives an error result for that call. `costs()` counts the calls.

    search.py       one interface over all of it     bm25.py         an index in memory
    services.py     Serper, Brave, Bright Data       corpus.py       BM25 over a JSONL or parquet corpus
    fetch.py        pages                            page_text.py    the text of a page
    dense.py        the same corpus by embeddings    chat.py         an OpenAI-compatible endpoint
    transport.py    requests with retries            limiter.py      at most so many requests a second
    connections.py  connections, addresses checked   addresses.py    which addresses are public
    bodies.py       bodies, inflated within bounds   deadline.py     one time limit for all of a request
    outcomes.py     a value, or why there is none    calls.py        record, replay or live; many at a time
    cache.py        the recording on disk            keys.py         keys, kept out of all output
    retry_after.py  how long a service asks to wait
"""

from reproduce.config.search import SearchConfig
from reproduce.tools.search.search import Found, open_search

__all__ = ["Found", "SearchConfig", "open_search"]
