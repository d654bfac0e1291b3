"""The public keys of whoever signs JSON Web Tokens (RFC 7517): which are taken, for what, and when they are asked for.

A key is for one algorithm, the one that our side fixes for its kind (RFC 8725 section 3.1); what a token asks for
chooses nothing. `known` speaks to nobody and may be called from an event loop; `find` and `ask` may fetch, and are not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ca import clock
from ca.errors import CertwrightError, Unavailable

if TYPE_CHECKING:
    from jwt import PyJWK

KEYS_KEPT = 3600
"""Seconds for which keys are used without asking again, where nothing else is said."""
ASK_AGAIN = 30
"""Seconds at least between two times that a provider is asked for its keys, however many tokens name unknown ones."""
MAX_KEYS = 50
RSA_BITS = 2048
KINDS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The kind of key that makes a signature (RFC 7518 section 3.1, RFC 8037)."""
PEOPLE = ("RS256", "ES256", "EdDSA")
"""What providers of people sign with."""


class Doubt(Exception):
    """Why a token is not believed, as the end of a sentence about it, and what to do."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.why, self.advice = why, advice


class ProviderKeys:
    """The keys of one provider, fetched when needed and no more often than `ASK_AGAIN` allows.

    They are asked for again at half of `kept`, and count for nothing after `kept`: so long at most a key is taken that
    its owner has withdrawn. `pause` is how long a provider that could not be asked is left alone.
    """

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, Any]],
        algorithms: Collection[str] = PEOPLE,
        *,
        kept: float = KEYS_KEPT,
        again: float = ASK_AGAIN,
        pause: float = 0.0,
    ) -> None:
        self._fetch = fetch
        self._kinds = {KINDS[algorithm]: algorithm for algorithm in algorithms}
        self._kept, self._again, self._pause = kept, again, pause
        self._lock = threading.Lock()
        self._keys: list[PyJWK] = []
        self._got: float | None = None
        self._failed: tuple[float, CertwrightError] | None = None

    @property
    def count(self) -> int:
        """How many keys there are that can be used."""
        return 0 if _is_older(self._got, self._kept) else len(self._keys)

    @property
    def failure(self) -> str | None:
        """Why they could not be had when they were last asked for, if they could not."""
        return None if self._failed is None else self._failed[1].message

    def find(self, identity: Any, algorithm: Any) -> PyJWK:
        """The one key of this `kid` for this algorithm, asked for if need be; without a `kid`, the only one for it."""
        self.ask(identity, algorithm)
        return self.known(identity, algorithm)

    def known(self, identity: Any, algorithm: Any) -> PyJWK:
        """The same without asking anybody."""
        if algorithm not in self._kinds.values():
            taken = ", ".join(sorted(self._kinds.values()))
            raise Doubt("is signed in a way that is not taken", f"have it signed with {taken}")
        if _is_older(self._got, self._kept):
            raise Unavailable("the keys of the provider are not known now", code="provider-unavailable")
        found = self._matching(identity, algorithm)
        if len(found) != 1:
            advice = "is it from another issuer, or by a key that was withdrawn? get a new one"
            raise Doubt("is signed by a key that the provider does not name", advice)
        return found[0]

    def lacks(self, identity: Any, algorithm: Any) -> bool:
        """Whether the provider has to be asked before such a key can be spoken of, and may be now."""
        if algorithm not in self._kinds.values():  # before anything is fetched: `none` and HS256 end here
            return False
        if _is_older(self._got, self._kept):
            return True
        return not self._matching(identity, algorithm) and _is_older(self._got, self._again) and not self._is_pausing

    def is_due(self) -> bool:
        """Whether half of their time is over, and nobody has failed to get newer ones just now."""
        pause = max(self._again, self._pause)
        has_failed = self._failed is not None and not _is_older(self._failed[0], pause)
        return _is_older(self._got, self._kept / 2) and not has_failed

    def ask(self, identity: Any, algorithm: Any) -> None:
        """Fetch what is missing: one at a time does, and the others wait for it."""
        with self._lock:
            if self.lacks(identity, algorithm):
                self._refresh()

    def freshen(self) -> CertwrightError | None:
        """Fetch because half the time is over, unless somebody does so already. Returns what went wrong, if that."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self.is_due():
                self._refresh()
        except CertwrightError as error:
            return error
        finally:
            self._lock.release()
        return None

    @property
    def _is_pausing(self) -> bool:
        return self._failed is not None and not _is_older(self._failed[0], self._pause)

    def _matching(self, identity: Any, algorithm: str) -> list[PyJWK]:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        return fitting if identity is None else [key for key in fitting if key.key_id == identity]

    def _refresh(self) -> None:
        if self._failed is not None and self._is_pausing:
            then = self._failed[1]
            raise Unavailable(then.message, code=then.code, hint=then.hint)
        try:
            document = self._fetch()
        except CertwrightError as error:
            self._failed = (clock.monotonic(), error)
            raise
        listed = document.get("keys")
        candidates = listed[:MAX_KEYS] if isinstance(listed, list) else []
        self._keys = [key for key in map(self._usable, candidates) if key is not None]
        self._got, self._failed = clock.monotonic(), None

    def _usable(self, described: Any) -> PyJWK | None:
        """A key that is for checking signatures in a way that we take; None for any other."""
        from jwt import PyJWK, PyJWTError

        if not isinstance(described, dict) or described.get("use", "sig") != "sig" or "d" in described:
            return None
        kind, curve = described.get("kty"), described.get("crv")
        if not isinstance(kind, str) or not isinstance(curve, str | None):
            return None
        algorithm = self._kinds.get((kind, None if kind == "RSA" else curve))
        if algorithm is None or described.get("alg", algorithm) != algorithm:
            return None
        uses = described.get("key_ops")  # some publish what they made of the private key with its `sign` left in it
        if uses is not None and not (isinstance(uses, list) and {"verify", "sign"} & {str(use) for use in uses}):
            return None
        try:
            key = PyJWK(described, algorithm=algorithm)
        except (PyJWTError, ValueError, TypeError):
            return None
        return None if getattr(key.key, "key_size", RSA_BITS) < RSA_BITS and kind == "RSA" else key


def _is_older(moment: float | None, seconds: float) -> bool:
    return moment is None or clock.monotonic() - moment >= seconds
