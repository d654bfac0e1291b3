"""Whether issuers answer: who failed lately rests for a while, and whoever comes next in the order is asked first.

An issuer that is down must not cost every renewal its patience; and one that is up again must be found out without a
person. A failure that is about one name (a validation, a limit of its domain) says nothing about the issuer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.errors import IssuerUnavailable, Misconfigured, Refusal, Unavailable
from ca.store import Store, Transaction
from renewers.lifecycle import Lifecycle
from renewers.models import IssuerHealth
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble

FIRST_REST, LONGEST_REST = 30, 900
"""Seconds: how long an issuer rests after its first failure, doubled with each in a row, and at most."""
IS_DOWN = frozenset({"issuer-unavailable"})
"""Codes of `IssuerUnavailable` that speak of the issuer itself."""
ALARM_AFTER = 600
"""Seconds of failing after which it is said."""


def in_order(store: Store, names: Sequence[str]) -> list[str]:
    """The same issuers: those that answer in the order given, then those that rest, the soonest ready first."""
    now = clock.timestamp()
    with store.read() as connection:
        rows = connection.execute(select(IssuerHealth).where(col(IssuerHealth.issuer).in_(names))).all()
    resting = {row.issuer: row.not_before for row in rows if row.not_before > now}
    return sorted(names, key=lambda name: resting.get(name, 0))


def succeeded(store: Store, issuer: str) -> None:
    """It answered. Cheap while it always did."""
    now = clock.timestamp()
    with store.read() as connection:
        row = connection.execute(select(IssuerHealth).where(col(IssuerHealth.issuer) == issuer)).first()
    if row is not None and row.failing_since is None and row.last_success is not None and now - row.last_success < 60:
        return

    def unit(tx: Transaction) -> None:
        fresh = {"failures": 0, "failing_since": None, "not_before": 0, "last_error": None, "last_success": now}
        _put(tx, issuer, fresh)
        alarms.clear_alarm(tx, "issuer-unreachable", issuer)

    store.write(unit)


def failed(store: Store, issuer: str, error: IssuerUnavailable) -> None:
    """It did not answer: it rests. Said once it has lasted, with its age."""
    if error.code not in IS_DOWN:
        return
    now = clock.timestamp()

    def unit(tx: Transaction) -> None:
        row = tx.execute(select(IssuerHealth).where(col(IssuerHealth.issuer) == issuer).with_for_update()).first()
        failures = 1 if row is None else row.failures + 1
        since = now if row is None or row.failing_since is None else row.failing_since
        rest = min(FIRST_REST * 2 ** min(failures - 1, 10), LONGEST_REST)
        rest = max(rest, min(error.retry_after or 0, LONGEST_REST))
        values = {"failures": failures, "failing_since": since, "not_before": now + rest, "last_error": error.message}
        _put(tx, issuer, values)
        if now - since >= ALARM_AFTER:
            message = f"{issuer} does not answer: {error.message}"
            hint = "renewals go on with the issuers that come after it, where a lineage names some"
            alarms.raise_alarm(tx, Trouble("issuer-unreachable", issuer, "error", message, hint, since=since))
        elif failures == 1:
            events.record(tx, "issuer-failed", issuer, error.message, severity="warning")

    store.write(unit)


def check_all(lifecycle: Lifecycle) -> None:
    """Ask every issuer whether it answers; what is found is kept, and said once it lasts."""
    for name, issuer in lifecycle.issuers.items():
        try:
            issuer.check()
        except IssuerUnavailable as error:
            failed(lifecycle.store, name, error)
        except Unavailable as error:
            failed(lifecycle.store, name, IssuerUnavailable(error.message, hint=error.hint))
        except (Refusal, Misconfigured):  # it answers, and says no: whoever asks for a certificate hears why
            succeeded(lifecycle.store, name)
        else:
            succeeded(lifecycle.store, name)


def _put(tx: Transaction, issuer: str, values: Mapping[str, object]) -> None:
    changed = tx.execute(update(IssuerHealth).where(col(IssuerHealth.issuer) == issuer).values(**values))
    if changed.rowcount == 0:
        empty = {"failures": 0, "failing_since": None, "not_before": 0, "last_error": None, "last_success": None}
        tx.execute(insert(IssuerHealth).values(issuer=issuer, **{**empty, **values}))
