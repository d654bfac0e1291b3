"""How issuers stand, as people ask: whether they answer, who we are there, and what is left of their limits.

`health.py` writes down what renewals find out, `budget.py` what they use. Here it is read, and an issuer is asked
without being asked for anything: `check`. Read `renewers/issuers` for what an issuer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import CertwrightError, Conflict, IssuerUnavailable, NotFound
from ca.ledger import log
from renewers.issuers import Issuer, RollsItsKey
from renewers.issuers.acme import AcmeIssuer
from renewers.issuers.budget import Limit
from renewers.lifecycle import Lifecycle
from renewers.models import AcmeAccount, IssuerHealth, Spending
from renewers.plain import one_line
from renewers.renewing import health


@dataclass(frozen=True, slots=True)
class Left:
    """A limit, and what was used of it where most was: `subject` says for what it is counted there."""

    limit: Limit
    used: int
    subject: str | None

    @property
    def left(self) -> int:
        """How often it may be used before it is full."""
        return max(0, self.limit.count - self.used)


@dataclass(frozen=True, slots=True)
class Standing:
    """One issuer: what kind it is, where it is, how it did, and who we are there."""

    name: str
    kind: str
    directory: str | None
    health: IssuerHealth | None
    account: AcmeAccount | None
    limits: Sequence[Left]


def listing(lifecycle: Lifecycle, caller: Caller) -> list[Standing]:
    """All issuers, in the order of the settings."""
    caller.must(Operation.READ_INVENTORY)
    return [_standing(lifecycle, name) for name in lifecycle.issuers]


def check(lifecycle: Lifecycle, caller: Caller, name: str) -> CertwrightError | None:
    """Ask an issuer whether it could be asked now. Returns what it would be refused with, or None if it could."""
    caller.must(Operation.MANAGE_INVENTORY)
    issuer = _find(lifecycle, name)
    try:
        issuer.check()
    except IssuerUnavailable as error:
        health.failed(lifecycle.store, name, error)
        return error
    except CertwrightError as error:
        return error
    health.succeeded(lifecycle.store, name)
    return None


def roll_key(lifecycle: Lifecycle, caller: Caller, name: str) -> Standing:
    """Exchange the key of our account at an issuer by a new one. `Conflict` if we have none there."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    issuer = _find(lifecycle, name)
    if not isinstance(issuer, RollsItsKey):
        raise Conflict(f"at {name} we have no account whose key could be exchanged", code="no-account")
    lifecycle.store.write(lambda tx: log.append(tx, "account-key-roll-asked", name, caller.identity))
    issuer.roll_key()
    return _standing(lifecycle, name)


def limits_of(issuer: Issuer) -> tuple[Limit, ...]:
    """The limits that an issuer has, as the settings say."""
    return issuer.config.limits if isinstance(issuer, AcmeIssuer) else ()


def _find(lifecycle: Lifecycle, name: str) -> Issuer:
    found = lifecycle.issuers.get(name)
    if found is None:
        message = f"there is no issuer {one_line(name, 60)!r}"
        raise NotFound(message, code="unknown-issuer", hint="certwright issuer list")
    return found


def _standing(lifecycle: Lifecycle, name: str) -> Standing:
    issuer = lifecycle.issuers[name]
    with lifecycle.store.read() as connection:
        row = connection.execute(select(IssuerHealth).where(col(IssuerHealth.issuer) == name)).first()
        account = connection.execute(select(AcmeAccount).where(col(AcmeAccount.issuer) == name)).first()
    return Standing(
        name=name,
        kind="acme" if isinstance(issuer, AcmeIssuer) else type(issuer).__name__.removesuffix("Issuer").lower(),
        directory=issuer.config.directory if isinstance(issuer, AcmeIssuer) else None,
        health=None if row is None else IssuerHealth(**row._mapping),
        account=None if account is None else AcmeAccount(**account._mapping),
        limits=[_left(lifecycle, name, limit) for limit in limits_of(issuer)],
    )


def _left(lifecycle: Lifecycle, name: str, limit: Limit) -> Left:
    within = col(Spending.at) > clock.timestamp() - limit.period_seconds
    of = col(Spending.issuer) == name, col(Spending.budget) == limit.name, within
    count = func.count()
    fullest = select(col(Spending.scope), count.label("used")).where(*of).group_by(col(Spending.scope))
    with lifecycle.store.read() as connection:
        row = connection.execute(fullest.order_by(count.desc(), col(Spending.scope)).limit(1)).first()
    return Left(limit, 0, None) if row is None else Left(limit, row.used, row.scope)
