"""The book of an issuer's rate limits: what we have used of each, so that a refusal is foreseen instead of asked for.

Each use is a row of `Spending` with its scope and time; a limit is full when that many lie within its period. Public
CAs refill continuously and so allow a little more than this: we wait a little longer and are never told to. Renewals
that say which certificate they replace (RFC 9773 section 5) cost nothing; only failed validations count for them too.

A registered domain is taken for the last two labels of a name. That is an approximation on purpose: the list of public
suffixes would have to be fetched and be fresh. Beneath `co.uk` it counts several domains as one, and waits too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import ColumnElement, and_, delete, select
from sqlmodel import col

from ca.errors import Misconfigured
from ca.store import Store, Transaction
from ca.x509.names import Kind, Name
from renewers.models import Spending

LONGEST_PERIOD = 31 * 86400
PRUNED_AT_ONCE = 20


class Scope(StrEnum):
    """What a limit counts by."""

    ACCOUNT = "account"
    """New orders of one account."""
    REGISTERED_DOMAIN = "registered-domain"
    """Certificates beneath one domain."""
    EXACT_SET = "exact-set"
    """Certificates for the very same names."""
    IDENTIFIER = "identifier"
    """Failed validations of one name."""


ORDERED = frozenset({Scope.ACCOUNT})
"""What is spent when an order is made."""
ISSUED = frozenset({Scope.REGISTERED_DOMAIN, Scope.EXACT_SET})
"""What is spent when a certificate is issued."""
FAILED = frozenset({Scope.IDENTIFIER})
"""What is spent when a validation fails."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` uses within `period_seconds`, counted by `scope`."""

    name: str
    count: int
    period_seconds: int
    scope: str

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.period_seconds <= LONGEST_PERIOD or self.scope not in set(Scope):
            raise Misconfigured(f"the limit {self.name} makes no sense", hint="a count, at most 31 days, a known scope")


LETS_ENCRYPT = (
    Limit("new-orders", 300, 3 * 3600, Scope.ACCOUNT),
    Limit("certificates-per-domain", 50, 7 * 86400, Scope.REGISTERED_DOMAIN),
    Limit("certificates-per-set", 5, 7 * 86400, Scope.EXACT_SET),
    Limit("failed-validations", 5, 3600, Scope.IDENTIFIER),
)
"""Of Let's Encrypt's published limits, those that a well-behaved client can meet."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A refusal that would come: by which limit, for what, and in how many seconds it would not any more."""

    limit: Limit
    wait_seconds: int
    subject: str


def foresee(
    store: Store,
    issuer: str,
    limits: Sequence[Limit],
    names: Iterable[Name],
    now: int,
    *,
    only: frozenset[Scope] = ORDERED | ISSUED | FAILED,
) -> Foreseen | None:
    """The refusal that an order for these names would meet now, the longest wait first; None if it would meet none."""
    wanted = tuple(names)
    full = []
    with store.read() as connection:
        for limit in limits:
            for scope in _scopes(limit, wanted) if limit.scope in only else ():
                within = and_(_of(issuer, limit, scope), col(Spending.at) > now - limit.period_seconds)
                newest = select(col(Spending.at)).where(within).order_by(col(Spending.at).desc())
                at = connection.execute(newest.offset(limit.count - 1).limit(1)).scalar()
                if at is not None:
                    subject = "these very names" if limit.scope == Scope.EXACT_SET else scope
                    full.append(Foreseen(limit, max(at + limit.period_seconds - now, 1), subject))
    return max(full, key=lambda foreseen: foreseen.wait_seconds, default=None)


def spend(
    tx: Transaction,
    issuer: str,
    limits: Sequence[Limit],
    names: Iterable[Name],
    now: int,
    *,
    only: frozenset[Scope] = ORDERED | ISSUED,
) -> None:
    """Write down one use of each limit of those scopes, and forget what no limit looks at any more."""
    wanted = tuple(names)
    for limit in limits:
        for scope in _scopes(limit, wanted) if limit.scope in only else ():
            tx.execute(
                delete(Spending).where(_of(issuer, limit, scope), col(Spending.at) <= now - limit.period_seconds)
            )
            tx.add(Spending, {"issuer": issuer, "budget": limit.name, "scope": scope, "at": now})
    _prune(tx, now)


def _scopes(limit: Limit, names: tuple[Name, ...]) -> list[str]:
    """The rows of the book that an order for these names writes to."""
    match limit.scope:
        case Scope.ACCOUNT:
            return ["account"]
        case Scope.EXACT_SET:
            return [f"set:{sha256(' '.join(sorted(map(str, names))).encode()).hexdigest()[:32]}"]
        case Scope.REGISTERED_DOMAIN:
            return sorted({registered_domain(name) for name in names})
        case _:
            return sorted({name.value.removeprefix("*.") for name in names})


def registered_domain(name: Name) -> str:
    """The last two labels of a DNS name; an IPv4 address itself, an IPv6 address as its /64."""
    if name.kind is not Kind.IP:
        return ".".join(name.value.split(".")[-2:])
    address = ip_address(name.value)
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _of(issuer: str, limit: Limit, scope: str) -> ColumnElement[bool]:
    return and_(col(Spending.issuer) == issuer, col(Spending.budget) == limit.name, col(Spending.scope) == scope)


def _prune(tx: Transaction, now: int) -> None:
    """Forget some of the oldest rows, of scopes that nobody may ever write to again: a few each time, never a scan."""
    oldest = tx.execute(
        select(col(Spending.id), col(Spending.at)).order_by(col(Spending.id)).limit(PRUNED_AT_ONCE)
    ).all()
    if gone := [row.id for row in oldest if row.at <= now - LONGEST_PERIOD]:
        tx.execute(delete(Spending).where(col(Spending.id).in_(gone)))
