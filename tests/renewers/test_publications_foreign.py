"""Trust anchors of other trust domains: who may give them, what is taken for one, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import insert

from ca import clock
from ca.access import Caller
from ca.errors import BadRequest, Conflict, Forbidden, NotFound
from ca.store import Store
from renewers.distribution import foreign, publishing, streams
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Event, ForeignAnchor
from tests import rig
from tests.renewers.publications import (
    OWN,
    PARTNER,
    ca_certificate,
    check_chain,
    ledger,
    make_lifecycle,
    needs,
    published,
    rows,
    standing,
    versions,
)

STREAM = f"trust:{PARTNER}"


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """A root and an issuing CA of ours."""
    return make_lifecycle(store)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifecycle]:
    """The same with one anchor of the partner's, for what is refused."""
    with standing(tmp_path_factory.mktemp("standing")) as lifecycle:
        put(lifecycle, ca_certificate("Before"))
        yield lifecycle


def pem(*certificates: bytes) -> bytes:
    """PEM text."""
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates)


def put(lifecycle: Lifecycle, *certificates: bytes) -> list[foreign.Anchor]:
    """Give the partner these anchors."""
    return foreign.put(lifecycle, rig.ADMIN, PARTNER, pem(*certificates))


def add_consumer(lifecycle: Lifecycle, name: str, *domains: str) -> None:
    """A consumer that needs these, as its row says."""
    told = json.dumps(needs(trust_domains=list(domains), crl="none").as_json())
    texts = {"kind": "proxy", "publisher": "pull", "settings": "{}", "probe": "", "identities": "[]", "state": "active"}
    row = {"name": name, "needs": told, "gates": True, "fresh_within": 60, "created_at": 0, "created_by": "test"}
    lifecycle.store.write(lambda tx: tx.execute(insert(Consumer).values(**row, **texts)) and None)


def test_a_set_is_replaced_whole(lifecycle: Lifecycle) -> None:
    """What is not in the new one is no anchor any more; the same once more changes nothing and says nothing."""
    first, second = ca_certificate("Partner One"), ca_certificate("Partner Two", place=1)
    assert [one.subject for one in put(lifecycle, first, first)] == ["CN=Partner One"]
    publishing.publish_due(lifecycle)
    shown = put(lifecycle, second)
    assert [(one.subject, one.trust_domain, one.added_by) for one in shown] == [
        ("CN=Partner Two", PARTNER, "local:test")
    ]
    put(lifecycle, second)
    publishing.publish_due(lifecycle)
    assert len(check_chain(lifecycle, STREAM)) == 2
    assert [entry.certificate for entry in published(lifecycle, STREAM).anchors] == [second]
    assert published(lifecycle, STREAM).trust_domain == OWN
    entries = ledger(lifecycle, "foreign-anchors-changed")
    assert [(e["by"], len(e["new"]), len(e["gone"])) for e in entries] == [("local:test", 1, 0), ("local:test", 1, 1)]
    assert [row.kind for row in rows(lifecycle, Event)].count("foreign-anchors-changed") == 2


@pytest.mark.parametrize("caller", [rig.OPERATOR, rig.REQUESTER, rig.CONSUMER, rig.AUDITOR])
def test_only_an_administrator_says_whom_to_trust(unchanged: Lifecycle, caller: Caller) -> None:
    """Others may look: it is public."""
    lifecycle = unchanged
    for change in (
        lambda: foreign.put(lifecycle, caller, PARTNER, pem(ca_certificate())),
        lambda: foreign.remove(lifecycle, caller, PARTNER),
    ):
        with pytest.raises(Forbidden):
            change()
    assert foreign.listing(lifecycle, caller) == ([PARTNER], None)
    assert len(foreign.show(lifecycle, caller, PARTNER)) == 1


def key_pem() -> bytes:
    key = rig.pooled_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: b"", "cannot be parsed"),
        (lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be parsed"),
        (ca_certificate, "cannot be parsed"),
        (lambda: pem(ca_certificate()) + key_pem(), "private key"),
        (lambda: pem(ca_certificate(is_ca=False)), "is not a CA's"),
        (lambda: pem(ca_certificate(may_sign=False)), "may not sign"),
        (lambda: pem(ca_certificate(ends=timedelta(seconds=-1))), "has expired"),
        (lambda: pem(ca_certificate(key=ec.generate_private_key(ec.SECP256K1()))), "cannot be published"),
        (lambda: pem(*(ca_certificate(f"Root {n}") for n in range(21))), "21 certificates"),
        (lambda: pem(ca_certificate()) + b" " * (300 * 1024), "larger than"),
    ],
)
def test_what_is_no_anchor_is_refused(unchanged: Lifecycle, given: Callable[[], bytes], said: str) -> None:
    """And nothing is changed: what was given before stays."""
    with pytest.raises(BadRequest, match=said) as caught:
        foreign.put(unchanged, rig.ADMIN, PARTNER, given())
    assert caught.value.code == "bad-anchor"
    assert [one.subject for one in foreign.show(unchanged, rig.ADMIN, PARTNER)] == ["CN=Before"]


def test_everything_that_is_wrong_is_said_at_once_and_made_harmless(unchanged: Lifecycle) -> None:
    """A subject is a stranger's text."""
    worst = ca_certificate("Ev\x1b[2Jil\nRoot", is_ca=False, may_sign=False, ends=timedelta(seconds=-1))
    with pytest.raises(BadRequest) as caught:
        put(unchanged, ca_certificate(), worst)
    message = caught.value.message
    assert all(part in message for part in ("certificate 2", "is not a CA's", "may not sign", "has expired"))
    assert message.isprintable()


@pytest.mark.parametrize(
    ("domain", "code"),
    [("", "bad-trust-domain"), ("../x", "bad-trust-domain"), ("a b", "bad-trust-domain"), (OWN, "own-trust-domain")],
)
def test_names_that_are_no_other_trust_domain_are_refused(unchanged: Lifecycle, domain: str, code: str) -> None:
    """Our own anchors are our roots, and nothing that an upload could add to."""
    with pytest.raises(BadRequest) as caught:
        foreign.put(unchanged, rig.ADMIN, domain, pem(ca_certificate()))
    assert caught.value.code == code


def test_what_a_consumer_needs_is_not_removed(lifecycle: Lifecycle) -> None:
    """It is said who; afterwards the versions that there were stay, and no new one is made."""
    put(lifecycle, ca_certificate())
    publishing.publish_due(lifecycle)
    add_consumer(lifecycle, "edge", OWN, PARTNER)
    add_consumer(lifecycle, "other", OWN)
    with pytest.raises(Conflict, match="needed by edge") as caught:
        foreign.remove(lifecycle, rig.ADMIN, PARTNER)
    assert caught.value.code == "trust-domain-needed"
    lifecycle.store.write(lambda tx: tx.execute(Consumer.__table__.delete()) and None)  # type: ignore[attr-defined]
    foreign.remove(lifecycle, rig.ADMIN, PARTNER)
    with pytest.raises(NotFound):
        foreign.show(lifecycle, rig.ADMIN, PARTNER)
    with pytest.raises(NotFound):
        foreign.remove(lifecycle, rig.ADMIN, PARTNER)
    assert publishing.publish_due(lifecycle) == []
    assert len(versions(lifecycle, STREAM)) == 1
    assert streams.all_streams(lifecycle) == (f"trust:{OWN}", f"crl:{OWN}")
    assert [e["subject"] for e in ledger(lifecycle, "foreign-anchors-removed")] == [f"trust-domain:{PARTNER}"]


def test_an_anchor_that_expires_is_left_out_and_the_last_one_is_an_alarm(lifecycle: Lifecycle) -> None:
    """Until somebody gives its successor, consumers keep what they have."""
    put(lifecycle, ca_certificate("Soon", ends=timedelta(hours=1)), ca_certificate("Later", ends=timedelta(hours=3)))
    publishing.publish_due(lifecycle)
    begin = clock.now()
    with clock.pinned(begin + timedelta(hours=2)):
        assert publishing.publish_stream(lifecycle, STREAM) is not None
        assert len(published(lifecycle, STREAM).anchors) == 1
    with clock.pinned(begin + timedelta(hours=4)):
        assert publishing.publish_stream(lifecycle, STREAM) is None
        assert [(row.kind, row.subject) for row in rows(lifecycle, Alarm)] == [(publishing.ALARM, STREAM)]
        put(lifecycle, ca_certificate("Next", place=1))
        assert publishing.publish_stream(lifecycle, STREAM) is not None
        assert rows(lifecycle, Alarm) == []
    assert len(published(lifecycle, STREAM).anchors) == 1


def test_trust_domains_are_paged(lifecycle: Lifecycle) -> None:
    """By name."""
    names = [f"d{n}.example" for n in range(5)]
    for name in names:
        foreign.put(lifecycle, rig.ADMIN, name, pem(ca_certificate(), ca_certificate("B")))
    found: list[str] = []
    cursor: Any = None
    while True:
        page, cursor = foreign.listing(lifecycle, rig.AUDITOR, cursor=cursor, limit=2)
        found += page
        if cursor is None:
            break
    assert found == names
    assert len(rows(lifecycle, ForeignAnchor)) == 10
    with pytest.raises(BadRequest):
        foreign.listing(lifecycle, rig.AUDITOR, limit=0)
    assert lifecycle.store.write(lambda tx: (foreign.is_known(tx, names[0]), foreign.is_known(tx, "no.example"))) == (
        True,
        False,
    )
