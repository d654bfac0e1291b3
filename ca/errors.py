"""Every error this product raises on purpose, in one tree.

    CertwrightError
      x Refusal                      what was asked for is not done; nothing has changed
        + BadRequest                 it could not be read, or says something that no certificate can say
          - TooLarge                 it is larger than we read
        + Unauthenticated            no identity, or one that does not hold
        + Forbidden                  an identity that may not do this
        + PolicyRefusal              a profile or rule says no; carries all reasons at once
        + NotFound
        + Conflict                   it clashes with what already exists
        + RateLimited                too much, too fast
        + IssuerRefusal              a CA that we asked says no; asking again would not help
        + MailRefused                a mail server takes nothing for this recipient, for good
      x Unavailable                  it could be done, but not now; we fail closed and recover by ourselves
        + StoreUnavailable
        + Busy                       more is asked for than can be done at once; says when to ask again
        + StateLocked                another process owns the state directory
        + KeyUnavailable             a key is missing, locked or does not answer
        + ClockUnavailable           the machine's clock cannot be believed
        + IssuerUnavailable          a CA that we asked does not answer now, or says when to ask again
        + NotDelivered               what was sent out did not arrive, or is not seen where it is used
      x Misconfigured                the installation's own files are wrong; says which one and why
      x Defect                       we caught ourselves about to release something wrong

Each has a stable `code` (kebab-case, part of the interface), a message for people and, where it helps, a hint.
HTTP status, ACME problem types and exit codes are assigned by the outer layers (`pki/web/problems.py`, `pki/cli`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a refusal: a stable code, a sentence, and the rule (profile key, RFC section) behind it."""

    code: str
    message: str
    rule: str | None = None

    def __str__(self) -> str:
        return f"{self.message} [{self.rule}]" if self.rule else self.message


class CertwrightError(Exception):
    """Root of the tree; never raised itself."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class Refusal(CertwrightError):
    """The request is refused and nothing has changed."""

    code = "refused"


class BadRequest(Refusal):
    """The input cannot be read, or asks for something that no certificate may carry."""

    code = "bad-request"


class TooLarge(BadRequest):
    """The input is larger than we are willing to read."""

    code = "too-large"


class Unauthenticated(Refusal):
    """The caller has no identity, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(Refusal):
    """The caller is known and may not do this."""

    code = "forbidden"


class PolicyRefusal(Refusal):
    """Policy says no. `reasons` holds every reason found, so that a caller can mend all of them at once."""

    code = "policy-refused"

    def __init__(self, reasons: Sequence[Reason], *, hint: str | None = None) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(str(reason) for reason in self.reasons) or "refused by policy", hint=hint)


class NotFound(Refusal):
    """There is no such thing, or the caller may not know that there is."""

    code = "not-found"


class Conflict(Refusal):
    """What is asked for clashes with what exists."""

    code = "conflict"


class RateLimited(Refusal):
    """The caller is over its limit; `retry_after` is in seconds."""

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, hint=f"try again in {retry_after} s")
        self.retry_after = retry_after


class Unavailable(CertwrightError):
    """It cannot be done now. Nothing was answered as done; the same request may be sent again."""

    code = "unavailable"


class Busy(Unavailable):
    """More is asked for than can be done at once; `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, hint=f"nothing was begun; try again in {retry_after} s")
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The database does not take what must be durable."""

    code = "store-unavailable"


class StateLocked(Unavailable):
    """Another process owns this state directory or database."""

    code = "state-locked"


class KeyUnavailable(Unavailable):
    """A key is missing, its passphrase is wrong, or the device that holds it does not answer."""

    code = "key-unavailable"


class ClockUnavailable(Unavailable):
    """Something speaks against the machine's clock: no date is taken from it."""

    code = "clock-unavailable"


class IssuerRefusal(Refusal):
    """A CA that we asked says no, for a reason that time does not mend: a person has to."""

    code = "issuer-refused"
    about: str | None = None
    """The one name that it is about, if it is about one: `dns:api.example`."""


class MailRefused(Refusal):
    """A mail server refuses a recipient or a message for good (RFC 5321, a 5yz reply)."""

    code = "mail-refused"


class IssuerUnavailable(Unavailable):
    """A CA that we asked cannot answer now. `retry_after` is in seconds, if it said so."""

    code = "issuer-unavailable"
    about: str | None = None
    """The one name that it is about, if it is about one: `dns:api.example`."""

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class NotDelivered(Unavailable):
    """What was sent out did not arrive where it is used, or is not seen there. It is tried again."""

    code = "not-delivered"


class Misconfigured(CertwrightError):
    """A settings file, a profile or the state directory is wrong."""

    code = "misconfigured"


class Defect(CertwrightError):
    """A check of our own work failed: nothing was released. Always worth a bug report."""

    code = "defect"
