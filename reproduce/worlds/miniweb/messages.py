"""Prompts of MiniWeb, and the words besides the web's own that a model trained from scratch reads and writes."""

TAGS = tuple(f"<{slash}{tag}>" for tag in ("think", "search", "python", "result", "answer") for slash in ("", "/"))
WORDS = (
    "question : of and sum max value year count page find retry other open wrong compute done timeout none error print "
    "( ) + - * , \\boxed{ }"
).split()
LARGEST_NUMBER = 200


def prompt(text: str) -> str:
    """Write the text before the completion, without the beginning-of-sequence token. text: the question."""
    return f"question : {text}"
