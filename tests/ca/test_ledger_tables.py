"""The tables against the ledger: a row that was changed, taken out or put in behind its back is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update
from sqlmodel import SQLModel, col

from ca import certificates, clock, crl, enrolment, hierarchy, issuance, revocation, tokens
from ca.access import Caller, Role
from ca.authority import State
from ca.enrolment import Wish
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import issuing
from ca.keys.algorithms import KeyType
from ca.ledger.checkpoint import open_head
from ca.ledger.log import encode
from ca.ledger.merkle import leaf_hash
from ca.ledger.reconcile import audit
from ca.ledger.verify import Report
from ca.models import ApiToken, Authority, BlockedKey, Certificate, LedgerEntry, Revocation
from ca.recording import abandon_intents
from ca.retention import prune_answers, prune_certificates
from ca.store import Store, open_store
from ca.tokens import Grant
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, outside, perform, publish, rows

SUPERSEDED, COMPROMISE = RevocationReason.SUPERSEDED, RevocationReason.KEY_COMPROMISE


def installation_with_a_past(store: Store) -> Installation:
    """An installation that has lived through everything that the ledger knows, three days ago."""
    with clock.pinned(clock.now() - timedelta(days=3)):
        installation = rig.make_installation(store)
        live_through_everything(installation)
    return installation


def live_through_everything(installation: Installation) -> None:
    """A history with one of everything."""
    first = rig.issue(installation, rig.WORKLOAD, "api.payments.svc.example.internal", idempotency_key="key")
    stored = certificates.find(installation.store, first.serial)
    holder = Caller(f"certificate:{first.serial}", Role.HOLDER, certificate=first.serial)
    request = rig.make_request(rig.WORKLOAD, key=rig.pooled_key(place=1))
    wish = Wish(lifetime=timedelta(days=7))
    renewal = enrolment.authorise_renewal(installation, holder, stored, request, wish)
    issuance.issue(renewal, installation)
    revocation.revoke(installation, rig.REQUESTER, rig.issue(installation, caller=rig.REQUESTER).serial, SUPERSEDED)
    compromised = rig.issue(installation, "db.example.internal", profile="server", key=rig.pooled_key(place=2))
    revocation.revoke(installation, rig.ADMIN, compromised.serial, COMPROMISE)
    installation.ledger.sequence()
    for _ in range(2):
        perform(issuing(rig.decide(installation), installation), installation, steps=1)
    abandon_intents(installation.store, older_than=clock.timestamp() + 1)
    (given_up, _) = certificates.page(installation.store, certificates.Query(state="abandoned"))[0]
    revocation.revoke(installation, rig.OPERATOR, given_up.serial, SUPERSEDED)
    publish(installation)
    for name in ("ci", "old"):
        tokens.create_token(installation, rig.ADMIN, Grant(name, Role.OPERATOR, timedelta(days=2)))
    tokens.revoke_token(installation, rig.ADMIN, "old")
    hierarchy.create_subordinate(
        installation, rig.ADMIN, "sub-ca", Plan("issuing", rig.common_name("Second"), KeyType.P256, crl_shards=2)
    )
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    rig.issue(installation, profile="ephemeral")
    forget_something(installation)
    installation.ledger.sequence()
    rig.issue(installation)


def forget_something(installation: Installation) -> None:
    """Let certificates expire, one of them revoked, and prune them together with one of an hour."""
    short = [rig.issue(installation, lifetime=timedelta(minutes=5)) for _ in range(3)]
    revocation.revoke(installation, rig.OPERATOR, short[0].serial, SUPERSEDED)
    publish(installation)
    for hours in (13, 26):
        with clock.pinned(clock.now() + timedelta(hours=hours)):
            publish(installation)
    with clock.pinned(clock.now() + timedelta(hours=12)):
        assert prune_certificates(installation, timedelta(hours=1)) == 4
        prune_answers(installation)


def check(installation: Installation) -> Report:
    """Audit against the newest head."""
    row = installation.ledger.head()
    assert row is not None
    head = open_head(row.checkpoint, installation.ledger.verifier)
    return audit(installation.store, installation.ledger.verifier, kept=head)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation with such a history for all tests of this file: every change to it is undone."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('lived')}/certwright.db")
    yield installation_with_a_past(store)
    store.close()


def report_after(installation: Installation, *changes: Any) -> Report:
    """What the audit says after the attacker's changes, which are then taken back."""
    tables = [SQLModel.metadata.tables[name] for name in ("ledger_entry", *TABLES)]
    with outside(installation.store) as attacker:
        saved = {table: [row._mapping for row in attacker.execute(select(table))] for table in tables}
        for change in changes:
            assert attacker.execute(change).rowcount > 0, "the attack has hit nothing"
    try:
        return check(installation)
    finally:
        with outside(installation.store) as connection:
            for table, content in saved.items():
                connection.execute(delete(table))
                if content:
                    connection.execute(insert(table), [dict(row) for row in content])


TABLES = ("certificate", "revocation", "authority", "api_token", "blocked_key")


def test_an_honest_history_is_sound(any_store: Store) -> None:
    """Issuing, renewing, revoking, pruning, giving up, tokens and transitions: nothing of it looks like tampering."""
    installation = installation_with_a_past(any_store)
    report = check(installation)
    assert report.findings == []
    assert report.is_sound
    assert report.first is None
    assert report.entries + report.waiting == count(any_store, LedgerEntry)
    assert report.waiting == 1
    signed = [row for row in rows(any_store, Certificate) if row.signature is not None]
    assert report.certificates == len(signed)
    assert report.heads > 1


def flipped(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case None:
            return 1
        case int():
            return value + 1
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case _:
            return value + "x"


WHERE: dict[type[SQLModel], Callable[[Installation], Any]] = {
    Certificate: lambda i: col(Certificate.renews).is_not(None),
    Revocation: lambda i: col(Revocation.reason) == COMPROMISE,
    Authority: lambda i: col(Authority.name) == "issuing-1",
    ApiToken: lambda i: col(ApiToken.name) == "ci",
    BlockedKey: lambda i: col(BlockedKey.reason) == "key-compromise",
}
"""One row of each table, with something in every column."""


def columns() -> list[Any]:
    """Every column of every compared table but the internal ids, which mean nothing."""
    return [
        pytest.param(table, name, id=f"{table.__tablename__}.{name}")
        for table in WHERE
        for name in table.model_fields
        if not (name == "id" and table in (Certificate, Authority))
    ]


@pytest.mark.parametrize(("table", "name"), columns())
def test_a_changed_column_is_reported(lived: Installation, table: type[SQLModel], name: str) -> None:
    """Whatever is changed in a row that the ledger knows, the audit says so."""
    where = WHERE[table](lived)
    with outside(lived.store) as connection:
        before = connection.execute(select(table).where(where)).one()
    value = State.ACTIVE if name == "state" else flipped(getattr(before, name))
    if name == "certificate":
        value = bytes(before.certificate[:-1]) + bytes([before.certificate[-1] ^ 1])
    report = report_after(lived, update(table).where(where).values({name: value}))
    assert not report.is_sound


DELETIONS: dict[str, Any] = {
    "a certificate": delete(Certificate).where(col(Certificate.renews).is_not(None)),
    "a revocation": delete(Revocation).where(col(Revocation.reason) == COMPROMISE),
    "an authority": delete(Authority).where(col(Authority.name) == "issuing-1"),
    "a token": delete(ApiToken).where(col(ApiToken.name) == "ci"),
    "a revoked token": delete(ApiToken).where(col(ApiToken.name) == "old"),
    "a blocked key": delete(BlockedKey).where(col(BlockedKey.reason) == "key-compromise"),
    "an authority's blocked key": delete(BlockedKey).where(col(BlockedKey.reason) == "authority"),
    "an abandoned certificate": delete(Certificate).where(
        col(Certificate.signature).is_(None),
        col(Certificate.serial).not_in(select(col(Revocation.serial))),
    ),
}


@pytest.mark.parametrize("deletion", DELETIONS.values(), ids=DELETIONS)
def test_a_deleted_row_is_reported(lived: Installation, deletion: Any) -> None:
    """What the ledger remembers and a table has forgotten is missed."""
    report = report_after(lived, deletion)
    assert "lost" in {finding.kind for finding in report.findings}


def copied(table: type[SQLModel], where: Any, **changes: Any) -> Callable[[Connection], Any]:
    """An insert that copies a row, with other keys."""

    def statement(connection: Connection) -> Any:
        row = dict(connection.execute(select(table).where(where)).mappings().one())
        row.pop("id", None) if table in (Certificate, Authority) else None
        return insert(table).values(**{**row, **changes})

    return statement


INSERTIONS: dict[str, Callable[[Connection], Any]] = {
    "a certificate": copied(Certificate, col(Certificate.renews).is_not(None), serial="abc123"),
    "a revocation": copied(Revocation, col(Revocation.reason) == COMPROMISE, serial="abc123"),
    "an authority": copied(Authority, col(Authority.name) == "issuing-1", name="issuing-9", spki_sha256=b"x"),
    "a token": copied(ApiToken, col(ApiToken.name) == "ci", id="0" * 12, name="evil", role="admin"),
    "a blocked key": copied(BlockedKey, col(BlockedKey.reason) == "key-compromise", spki_sha256=b"x" * 32),
}


@pytest.mark.parametrize("insertion", INSERTIONS.values(), ids=INSERTIONS)
def test_an_inserted_row_is_reported(lived: Installation, insertion: Callable[[Connection], Any]) -> None:
    """What stands in a table and in no entry was put there behind the ledger's back."""
    with outside(lived.store) as connection:
        statement = insertion(connection)
    report = report_after(lived, statement)
    assert "added" in {finding.kind for finding in report.findings}


def test_a_revocation_that_is_taken_back_is_reported(lived: Installation) -> None:
    """A revoked certificate that was unrevoked, even under cover of another that nobody revoked, is found."""
    (revoked,) = rows(lived.store, Revocation, reason=int(COMPROMISE))
    innocent = next(row for row in rows(lived.store, Certificate) if row.renews is not None)
    moved = update(Revocation).where(col(Revocation.serial) == revoked.serial).values(serial=innocent.serial)
    report = report_after(lived, moved)
    assert {"lost"} <= {finding.kind for finding in report.findings}


def test_a_token_that_is_revived_is_reported(lived: Installation) -> None:
    """A revoked token in force again is found."""
    revived = update(ApiToken).where(col(ApiToken.name) == "old").values(revoked_at=None)
    assert any("in force again" in finding.message for finding in report_after(lived, revived).findings)


def test_a_revocation_that_never_was_published_is_reported(lived: Installation) -> None:
    """A row for a certificate that exists, with a revocation that no entry speaks of, is one too many."""
    innocent = next(row for row in rows(lived.store, Certificate) if row.renews is not None)
    (other,) = rows(lived.store, Revocation, reason=int(COMPROMISE))
    forged = insert(Revocation).values(**{**other._mapping, "serial": innocent.serial})
    assert not report_after(lived, forged).is_sound


def test_a_forged_pruning_excuses_no_living_certificate(lived: Installation) -> None:
    """Retention takes what has expired: an entry that says more than that does not cover up a deletion."""
    body = {"action": "certificates-pruned", "at": clock.timestamp(), "by": "system:retention", "subject": "retention"}
    forged = encode({**body, "count": 1, "before": 1 << 40})
    report = report_after(
        lived,
        insert(LedgerEntry).values(subject="retention", body=forged, leaf_hash=leaf_hash(forged)),
        delete(Certificate).where(col(Certificate.renews).is_not(None)),
    )
    assert not report.is_sound


def test_the_lists_are_what_was_published(lived: Installation) -> None:
    """Every CRL's number, size and hash is in the ledger, so that an exchanged file is found by whoever has one."""
    published = {(e["subject"], e["shard"], e["number"]): e for e in entries(lived.store, "crl-published")}
    for status in crl.statuses(lived):
        entry = published[status.authority, status.shard, status.number]
        assert (entry["entries"], entry["sha256"]) == (status.entries, status.sha256)
