"""What a rotation is asked to do, as people say it and as its row keeps it. Pure; if it can work, `starting` knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from cryptography import x509

from ca.errors import PolicyRefusal, Reason
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType
from renewers.plain import one_line

COMPROMISED_PATIENCE = 3600
"""Seconds for which the rotation of a compromised CA waits for proof: each of them is the thief's, too."""
COMPROMISED_DRAIN = 86400
"""Seconds for which it waits for leaves that nobody replaces."""
SHORTEST_REASON, LONGEST_REASON = 10, 500
MOST_PER_MINUTE = 100_000


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """A rotation that somebody wants. None is for what follows from the CA that is rotated, or from `is_compromise`."""

    line: str
    reason: str = ""
    is_compromise: bool = False
    key_type: KeyType | None = None
    subject: x509.Name | None = None
    """Of the next generation of `line`; None for the old one's with the new one's number."""
    lifetime: timedelta | None = None
    cross: bool = True
    """Whether an old root certifies the new one, so that who trusts the old one alone accepts new leaves."""
    patience: int | None = None
    """Seconds to wait for proof in one stage, after which it goes on and writes down who was not proved."""
    drain_patience: int | None = None
    """The same for leaves that are left."""
    per_minute: int = 60
    """How many certificates are replaced in a minute, at most."""
    revokes: bool | None = None
    """Whether replaced certificates are revoked; None: only after a compromise."""
    share: float = 1.0
    """The part of those who have to hold something that must be proved to."""
    leaves_left: int = 0
    """How many live leaves the old CA may go with."""
    activate_at: int | None = None
    """Not before then, though everything is proved: for those who fetch bundles and whom nobody told us of."""

    def told(self) -> dict[str, Any]:
        """What decides what will be done, in words; the reason is for the ledger."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("line", "reason")}
        subject = None if self.subject is None else self.subject.rfc4514_string()
        return values | {"subject": subject, "key_type": None if self.key_type is None else str(self.key_type)}


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept of a plan in the rotation's row."""

    cross: bool
    patience: int | None
    drain_patience: int | None
    per_minute: int
    revokes: bool
    share: float
    leaves_left: int
    activate_at: int | None
    key_type: KeyType | None
    subject: x509.Name | None
    lifetime: int | None

    def encode(self) -> str:
        """JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps({**plain, "subject": _plain_name(self.subject)}, sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> Policy:
        """The same back."""
        found: dict[str, Any] = json.loads(text)
        key_type, subject = found.pop("key_type"), found.pop("subject")
        return cls(**found, key_type=KeyType(key_type) if key_type else None, subject=_name(subject))


def policy_of(plan: RotationPlan) -> Policy:
    """What a plan comes to."""
    hurried = plan.is_compromise
    return Policy(
        cross=plan.cross,
        patience=COMPROMISED_PATIENCE if hurried and plan.patience is None else plan.patience,
        drain_patience=COMPROMISED_DRAIN if hurried and plan.drain_patience is None else plan.drain_patience,
        per_minute=plan.per_minute,
        revokes=hurried if plan.revokes is None else plan.revokes,
        share=plan.share,
        leaves_left=plan.leaves_left,
        activate_at=None if hurried else plan.activate_at,
        key_type=plan.key_type,
        subject=plan.subject,
        lifetime=None if plan.lifetime is None else int(plan.lifetime.total_seconds()),
    )


def objections(plan: RotationPlan) -> Iterator[Reason]:
    """What is wrong with a plan whatever it is about."""
    if not SHORTEST_REASON <= len(plan.reason.strip()) <= LONGEST_REASON:
        yield _objection(f"a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters is needed", "reason")
    if plan.key_type is not None and plan.key_type not in AUTHORITY_KEY_TYPES:
        yield _objection(f"a CA does not sign with {plan.key_type}", "key_type")
    if not 0 < plan.share <= 1:
        yield _objection("a share of consumers is more than 0 and at most 1", "share")
    if not 1 <= plan.per_minute <= MOST_PER_MINUTE:
        yield _objection(f"certificates a minute are 1 to {MOST_PER_MINUTE}", "per_minute")
    if plan.leaves_left < 0:
        yield _objection("less than no leaf cannot be left", "leaves_left")
    if any(seconds is not None and seconds < 0 for seconds in (plan.patience, plan.drain_patience)):
        yield _objection("patience is not negative", "patience")


def written(reason: str) -> str:
    """A reason that somebody gave in writing, as it is kept. `PolicyRefusal` if it is none."""
    text = one_line(reason, LONGEST_REASON)
    if len(text) < SHORTEST_REASON:
        message = f"this has to be said in writing, in at least {SHORTEST_REASON} characters"
        raise PolicyRefusal([Reason("reason-missing", message)], hint='--reason "..."')
    return text


def _objection(message: str, field: str) -> Reason:
    return Reason("bad-rotation", message, field)


def _plain_name(name: x509.Name | None) -> list[list[list[str]]] | None:
    if name is None:
        return None
    return [[[part.oid.dotted_string, str(part.value)] for part in relative] for relative in name.rdns]


def _name(found: list[list[list[str]]] | None) -> x509.Name | None:
    if found is None:
        return None
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in relative]
            )
            for relative in found
        ]
    )
