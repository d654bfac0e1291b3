"""What a mass replacement is asked to do, as people say it and as its row keeps it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ca import clock
from ca.errors import PolicyRefusal, Reason
from ca.x509.revocation_list import REASONS, RevocationReason
from renewers.plain import one_line
from renewers.replacing.selection import Selection

SHORTEST_REASON, LONGEST_REASON = 10, 500
MOST_PER_MINUTE = 100_000
LONGEST_DEADLINE = 366 * 86400
COMPROMISED_DEADLINE = 86400
"""Seconds after which a compromise leaves no time for proof."""


@dataclass(frozen=True, slots=True)
class ReplacementPlan:
    """A mass replacement that somebody wants."""

    selection: Selection
    reason: str
    per_minute: int = 60
    """How many renewals begin in a minute, at most."""
    revokes: bool = False
    """Whether the old ones are revoked, each once its replacement is where it is used."""
    revocation_reason: RevocationReason = RevocationReason.SUPERSEDED
    deadline: int | None = None
    """Seconds after which what is left is revoked, whether or not it was replaced; None for never."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept of a plan beside the columns of its row."""

    revocation_reason: RevocationReason = RevocationReason.SUPERSEDED
    deadline_at: int | None = None

    def encode(self) -> str:
        """JSON."""
        return json.dumps({"revocation_reason": self.revocation_reason.word, "deadline_at": self.deadline_at})

    @classmethod
    def decode(cls, text: str) -> Policy:
        """The same back."""
        found = json.loads(text)
        word = found.get("revocation_reason", RevocationReason.SUPERSEDED.word)
        return cls(REASONS[word], found.get("deadline_at"))


def policy_of(plan: ReplacementPlan) -> Policy:
    """What a plan that begins now comes to."""
    ends = None if plan.deadline is None or not plan.revokes else clock.timestamp() + plan.deadline
    return Policy(plan.revocation_reason, ends)


def check(plan: ReplacementPlan) -> None:
    """`PolicyRefusal` with all that is wrong with a plan."""
    if found := list(objections(plan)):
        raise PolicyRefusal(found)


def written(reason: str) -> str:
    """A reason that somebody gave in writing, as it is kept. `PolicyRefusal` if it is none."""
    text = one_line(reason, LONGEST_REASON)
    if len(text) < SHORTEST_REASON:
        message = f"this has to be said in writing, in at least {SHORTEST_REASON} characters"
        raise PolicyRefusal([Reason("reason-missing", message)], hint='--reason "..."')
    return text


def objections(plan: ReplacementPlan) -> Iterator[Reason]:
    """What is wrong with a plan whatever it is about."""
    if not SHORTEST_REASON <= len(one_line(plan.reason, LONGEST_REASON + 1)) <= LONGEST_REASON:
        yield _objection(f"a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters is needed", "reason")
    if not 1 <= plan.per_minute <= MOST_PER_MINUTE:
        yield _objection(f"certificates a minute are 1 to {MOST_PER_MINUTE}", "per_minute")
    if plan.deadline is not None and not 0 <= plan.deadline <= LONGEST_DEADLINE:
        yield _objection(f"a deadline is within {LONGEST_DEADLINE // 86400} days", "deadline")
    if plan.deadline is not None and not plan.revokes:
        yield _objection("a deadline is for revoking, and this revokes nothing", "deadline")


def _objection(message: str, field: str) -> Reason:
    return Reason("bad-replacement", message, field)
