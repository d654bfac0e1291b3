"""A value that must not be seen: redacted wherever Python would print it, compared in constant time.

Passphrases and tokens travel as `Secret`, so that a log line, a traceback or a `repr` of settings cannot show them.
"""

from __future__ import annotations

import hmac


class Secret:
    """Wraps a string; `reveal()` is the only way to it, and the word to search for in a review."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def matches(self, candidate: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._value.encode(errors="surrogatepass"), candidate.encode(errors="surrogatepass"))

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is never serialised")
