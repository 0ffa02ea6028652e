"""No credential is stored or printed: what looks like one is replaced before a string leaves the process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_SECRET_WORD = r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
_SECRET_KEY = re.compile(rf"(?:^|[\W_]){_SECRET_WORD}$", re.IGNORECASE)
_PATTERNS = (
    # Quantifiers are bounded: a long text without blanks must not cost quadratic time.
    # A MongoDB URI whose password was not escaped may hold any character: all up to the last @ of the word goes.
    (re.compile(r"(mongodb(?:\+srv)?://)[^\s'\"]{0,1000}@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(?!ssh://git@)([a-z][a-z0-9+.-]{0,20}://)[^\s/'\"]{1,1000}@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # A signed address has its secret in the query, under names of each provider's own.
    (re.compile(r"\b((?:https?|gs|s3|ftp)://[^\s?#'\"]{1,1000}\?)[^\s#'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"({_SECRET_WORD}[=:])(?!\s)[^\s&'\";,)]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(\bauthorization:\s*\w+\s+)\S+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
            r"|AKIA[0-9A-Z]{16}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,})"
        ),
        HIDDEN,
    ),
)
_known: set[str] = set()


def remember_secret(text: str | None) -> None:
    """Hide this literal text from now on; shorter than 6 characters it would mangle ordinary words and is not taken."""
    if text and len(text) >= 6:
        _known.add(text)


def scrub_text(text: str) -> str:
    """Replace credentials in a text: user information of URIs, tokens, `password=...`, and remembered secrets."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def reason(error: BaseException) -> str:
    """The first, telling part of an error of pymongo (whose messages run over many lines), without credentials."""
    text = str(error).split("\n")[0]
    for tail in (" (configured timeouts", ", Timeout:", ", full error:"):
        text = text.split(tail)[0]
    return scrub_text(text[:200]) or type(error).__name__


def scrub(value: Any) -> Any:
    """Replace credentials in plain nested values.

    Args:
        value: a string, a mapping, a list or tuple of such, or anything else, which is returned as it is.

    Returns:
        The same structure; a text under a key that names a secret (`password`, `api_key`, ...) is hidden whole.

    Example:
        >>> scrub({"uri": "mongodb://ann:pw@db/x", "num_tokens": 3})
        {'uri': 'mongodb://***@db/x', 'num_tokens': 3}
    """
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, Mapping):
        return {scrub(key): _hidden(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def _hidden(key: Any, item: Any) -> Any:
    return HIDDEN if isinstance(item, str) and item and _SECRET_KEY.search(str(key)) else scrub(item)
