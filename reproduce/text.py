"""Foreign text made safe: whatever a file, a page, a service or a program brings in passes `clean` once."""

import unicodedata


def clean(text: str) -> str:
    """`text` as valid Unicode in normal form C, without byte-order marks and NUL characters.

    Two halves of a surrogate pair are joined, a lone half becomes U+FFFD: no tokenizer, file or request can hold it.
    Other control characters stay, since the public RL files hold a backspace that decides what they mean.
    """
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", text.replace("\ufeff", "").replace("\0", ""))


def cleaned(value):
    """`value` with every string in it cleaned, keys included: lists and mappings are walked, the rest is kept."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    return value
