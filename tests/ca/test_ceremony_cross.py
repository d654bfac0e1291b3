"""A root whose key is offline certifies another one, by two files: for those who trust only the old one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store
from sqlalchemy import update
from sqlmodel import col

from ca import certificates, crossing, hierarchy, recording
from ca.authority import State
from ca.ceremony import answering, asking, leaving, offline, script
from ca.ceremony.asking import Successor
from ca.ceremony.documents import read_request
from ca.errors import BadRequest, Conflict, PolicyRefusal, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.ledger.reconcile import audit
from ca.models import Authority, BlockedKey, Ceremony, CrossCertificate, Intent
from tests import rig
from tests.ca.test_ceremony import PLAN, WORDS, Safe, safe
from tests.ca.test_hierarchy import labels
from tests.ca.world import count, listed, outside, rows

__all__ = ["safe"]


@pytest.fixture
def young(installation: Installation, safe: Safe) -> Authority:
    """A new root beside the one that is offline, with a CA beneath it that issues."""
    root = hierarchy.create_root(
        installation,
        rig.ADMIN,
        Plan("young", rig.common_name("Young Root"), KeyType.P384, lifetime=timedelta(days=900)),
    )
    plan = Plan("issuing", rig.common_name("Young CA"), KeyType.P256, lifetime=timedelta(days=90), crl_shards=2)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan, parent=root.name)
    return root


def test_a_root_is_certified_by_one_that_is_offline(installation: Installation, safe: Safe, young: Authority) -> None:
    """Leaves beneath the new root are good for whoever trusts the old one alone; the audit knows all of it."""
    asked = asking.request(installation, rig.ADMIN, "root", crosses="young")
    assert asked.asks_for == "a certificate of young-1, a CRL"
    sheet = script.write(offline.judge(read_request(asked.document)), request="request.json")
    assert "CN=Young Root" in sheet
    assert recording.abandon_intents(installation.store, older_than=1 << 40) == 0, "it waits for a walk"
    assert answering.accept(installation, rig.ADMIN, safe.sign(asked.document)).state == "completed"
    (cross,) = crossing.crosses(installation.store)
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    issued = rig.issue(installation)
    assert issued.chain[1:] == (cross.certificate,)
    old = x509.load_der_x509_certificate(installation.authorities.get("root").certificate)
    trusted = (
        PolicyBuilder()
        .store(Store([old]))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all())
    )
    chain = [x509.load_der_x509_certificate(each) for each in issued.chain]
    verified = trusted.build_client_verifier().verify(rig.parsed(issued), chain)
    assert [each.subject for each in verified.chain][-1] == old.subject
    assert len(verified.chain) == 4
    with pytest.raises(Conflict, match="certifies young-1 already"):
        asking.request(installation, rig.ADMIN, "root", crosses="young")
    assert crossing.revoke_orphans(installation, older_than=-1) == []
    report = audit(installation.store, installation.ledger.verifier)
    assert report.is_sound, report.findings


def test_what_no_offline_root_is_asked_for(installation: Installation, safe: Safe, young: Authority) -> None:
    """No CA beneath a root, not itself, not two certificates; and nothing is left of a try."""
    before = labels(installation)
    for successor, name, wanted in (
        (None, "issuing", "no root"),
        (None, "root", "does not certify"),
        (Successor(PLAN), "young", "one certificate"),
    ):
        with pytest.raises(BadRequest, match=wanted):
            asking.request(installation, rig.ADMIN, "root", successor, crosses=name)
    with pytest.raises(Conflict, match="needs no ceremony"):
        asking.request(installation, rig.ADMIN, "young", crosses="root")
    assert (count(installation.store, Ceremony), count(installation.store, Intent)) == (0, 0)
    assert labels(installation) == before


def test_one_that_died_in_between_is_taken_in_again(
    installation: Installation, safe: Safe, young: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is on record and no orphan, since its ceremony waits; the same answer makes it real, once."""
    asked = asking.request(installation, rig.ADMIN, "root", crosses="young", list_lifetime=None)
    answer = safe.sign(asked.document)

    def die(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(crossing, "record", die)
        answering.accept(installation, rig.ADMIN, answer)
    assert crossing.revoke_orphans(installation, older_than=-1) == []
    answering.accept(installation, rig.ADMIN, answer)
    assert count(installation.store, CrossCertificate) == 1
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_what_is_withdrawn_is_given_up_and_not_called_stolen(
    installation: Installation, safe: Safe, young: Authority
) -> None:
    """The key is the new root's and stays; that it is one of ours is no compromise, and no list says so."""
    asked = asking.request(installation, rig.ADMIN, "root", crosses="young")
    answer = safe.sign(asked.document)
    (row,) = rows(installation.store, Ceremony)
    before = labels(installation)
    asking.withdraw(installation, rig.ADMIN, asked.name)
    assert labels(installation) == before
    assert certificates.find(installation.store, row.serial).state == "abandoned"
    with pytest.raises(Conflict, match="ended already"):
        answering.accept(installation, rig.ADMIN, answer)
    assert crossing.crosses(installation.store) == []
    again = asking.request(installation, rig.ADMIN, "root", crosses="young")
    answering.accept(installation, rig.ADMIN, safe.sign(again.document))
    assert listed(installation, "root-1") == set()
    assert certificates.find(installation.store, row.serial).state == "abandoned"
    assert len(installation.authorities.chain("young")) == 1
    assert audit(installation.store, installation.ledger.verifier).is_sound


@pytest.mark.parametrize("change", ["distrusted", "not signing", "certified", "stolen"])
def test_what_has_changed_during_the_walk_is_looked_at_again(
    installation: Installation, safe: Safe, young: Authority, change: str
) -> None:
    """Before anything of an answer is taken in."""
    asked = asking.request(installation, rig.ADMIN, "root", crosses="young", list_lifetime=None)
    answer = safe.sign(asked.document)
    match change:
        case "distrusted":
            hierarchy.transition(installation, rig.ADMIN, "young-1", State.TAINTED)
            hierarchy.transition(installation, rig.ADMIN, "young-1", State.DISTRUSTED)
        case "not signing":
            hierarchy.transition(installation, rig.ADMIN, "root-1", State.TAINTED)
        case "certified":
            _certify_once_more(installation, safe, asked.name)
        case _:
            with outside(installation.store) as connection:
                key = col(BlockedKey.spki_sha256) == young.spki_sha256
                connection.execute(update(BlockedKey).where(key).values(reason="key-compromise"))
    crosses = len(crossing.crosses(installation.store))
    with pytest.raises((BadRequest, Conflict, PolicyRefusal, Unavailable)):
        answering.accept(installation, rig.ADMIN, answer)
    assert len(crossing.crosses(installation.store)) == crosses
    assert audit(installation.store, installation.ledger.verifier).is_sound == (change != "stolen")


def _certify_once_more(installation: Installation, safe: Safe, waiting: str) -> None:
    """By the key itself, which was brought back meanwhile."""
    assert asking.find(installation, waiting).state == "waits"
    leaving.come_back(installation, rig.ADMIN, "root", safe.pem, WORDS)
    crossing.cross_sign(installation, rig.ADMIN, "young", "root")
