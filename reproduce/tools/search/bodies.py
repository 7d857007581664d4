"""Read the body of a reply, inflated piece by piece. Neither a piece nor the whole grows beyond a bound."""

import zlib
from collections.abc import Iterable, Iterator

from reproduce.tools.search.outcomes import Retry, Unusable

ACCEPTED = "gzip, deflate"
"""Codings that requests offer. A reply in another coding (br, zstd) is refused."""

PIECE = 1 << 16
MOST_CODINGS = 2
_CODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def body(pieces: Iterable[bytes], content_encoding: str, most: int) -> bytes:
    """Read and decode a whole body. Memory: the body, and one piece for each coding.

    Args:
        pieces: the bytes of the reply.
        content_encoding: its header.
        most: the largest size in bytes, on the wire and after each decoding.

    Raises:
        Unusable: the body is larger, or its coding is unknown.
        Retry: it cannot be decoded.
    """
    codings = [name.strip().lower() for name in content_encoding.split(",")]
    codings = [name for name in codings if name not in ("", "identity")]
    if len(codings) > MOST_CODINGS or not all(name in _CODINGS for name in codings):
        raise Unusable("unknown content encoding")
    pieces = _bounded(pieces, most)
    for name in reversed(codings):
        pieces = _bounded(_inflated(pieces, name), most)
    return b"".join(pieces)


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise Unusable("reply too large")
        yield piece


def _inflated(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Yield at most `PIECE` bytes at a time. What follows the end of the compressed data is ignored, as in browsers."""
    inflater, begun = zlib.decompressobj(_CODINGS[coding]), False
    for piece in pieces:
        while piece and not inflater.eof:
            try:
                found = inflater.decompress(piece, PIECE)
            except zlib.error:
                if begun or coding != "deflate":
                    raise Retry("malformed reply") from None
                inflater, begun = zlib.decompressobj(-zlib.MAX_WBITS), True  # some servers leave out zlib's frame
                continue
            begun, piece = True, inflater.unconsumed_tail
            if found:
                yield found
