"""What a CA says when it says no (RFC 8555 section 6.7, RFC 9457), and what that means for us.

Problems are told apart by their type, never by their text or status alone: one family a person has to mend, the other
time does. The texts are strangers' words: they are capped and made printable before anything else happens to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ca.errors import CertwrightError, IssuerRefusal, IssuerUnavailable

PREFIX = "urn:ietf:params:acme:error:"
LONGEST_TEXT, MOST_SUBPROBLEMS = 300, 10
PERMANENT = frozenset(
    {
        *("accountDoesNotExist", "badCSR", "badPublicKey", "badSignatureAlgorithm", "caa", "externalAccountRequired"),
        *("invalidContact", "invalidProfile", "malformed", "rejectedIdentifier", "unauthorized", "unsupportedContact"),
        *("unsupportedIdentifier", "userActionRequired"),
    }
)
"""What only a person can mend."""
PASSING = frozenset({"badNonce", "connection", "dns", "dnssec", "incorrectResponse", "orderNotReady", "rateLimited"})
PASSING_TOO = frozenset({"alreadyReplaced", "serverInternal", "tls", "unknownHost"})
"""What time, or somebody's server or zone, mends."""
OF_A_VALIDATION = PERMANENT - {"unauthorized", "malformed"}
"""Of a challenge that failed, `unauthorized` only means that the answer was not there."""
BUSY = (408, 425, 429)
HINTS = {
    "caa": "let the CAA record of the name allow this CA, or ask another one",
    "externalAccountRequired": "this CA wants an account made with it beforehand: set eab_kid and eab_key_file",
    "invalidProfile": "choose one of the profiles that the CA offers, or none",
    "rejectedIdentifier": "this CA does not issue for that name; choose another issuer for it",
    "unauthorized": "the account may be deactivated, or may not do this; see the CA's pages",
    "unsupportedIdentifier": "this CA does not issue for names of that kind",
    "userActionRequired": "something is to be agreed to at the CA, such as new terms",
}


def plain(text: object, limit: int = LONGEST_TEXT) -> str:
    """A stranger's words as one printable line of bounded length; empty if it is no text."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document. `kind` is the type without ACME's prefix, empty if it is none of ACME's."""

    kind: str
    detail: str
    name: str = ""
    parts: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        about = f"{self.name}: " if self.name else ""
        said = ": ".join(filter(None, (self.kind, self.detail))) or "no reason given"
        return plain(f"{about}{said}" + "".join(f"; {part}" for part in self.parts), 2 * LONGEST_TEXT)

    @property
    def kinds(self) -> set[str]:
        """Its own kind and those of its parts."""
        return {self.kind, *(part.kind for part in self.parts)}


def read_problem(document: Any, *, depth: int = 0) -> Problem:
    """Read a problem document, however odd."""
    if not isinstance(document, dict):
        return Problem("", "")
    typ, identifier, parts = document.get("type"), document.get("identifier"), document.get("subproblems")
    kind = typ.removeprefix(PREFIX) if isinstance(typ, str) and typ.startswith(PREFIX) else ""
    name = plain(identifier.get("value"), 253) if isinstance(identifier, dict) else ""
    found = parts[:MOST_SUBPROBLEMS] if isinstance(parts, list) and depth == 0 else []
    return Problem(
        kind if re.fullmatch("[A-Za-z]{1,40}", kind) else "",
        plain(document.get("detail")) or plain(document.get("title")),
        name,
        tuple(read_problem(part, depth=1) for part in found),
    )


def as_error(problem: Problem, what: str, status: int, retry_after: int | None) -> CertwrightError:
    """The error of our tree that says the same; `what` names the CA and what it was asked."""
    message = f"{what}: {problem}"
    kinds = problem.kinds
    if "rateLimited" in kinds:
        return IssuerUnavailable(message, code="rate-limited", retry_after=retry_after)
    if status >= 500 or status in BUSY:
        return IssuerUnavailable(message, retry_after=retry_after)
    if known := sorted(kinds & PERMANENT):
        return IssuerRefusal(message, hint=HINTS.get(known[0]))
    if kinds & (PASSING | PASSING_TOO) or status < 400:
        return IssuerUnavailable(message, code="not-now", retry_after=retry_after)
    return IssuerRefusal(f"{message} (status {status})")


def of_a_validation(problem: Problem, what: str, code: str) -> IssuerRefusal | IssuerUnavailable:
    """The same for what a CA found wrong while it looked: most of that is somebody's server or zone, and passes."""
    if known := sorted(problem.kinds & OF_A_VALIDATION):
        return IssuerRefusal(f"{what}: {problem}", hint=HINTS.get(known[0]))
    return IssuerUnavailable(f"{what}: {problem}", code=code)
