"""Revoking by serial number, key and filter: who may, what happens, and what is refused without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

import pytest

from ca import certificates, clock, enrolment, hierarchy, issuance, revocation
from ca.access import Caller, Role
from ca.authority import State
from ca.certificates import Query
from ca.enrolment import Wish
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, PolicyRefusal, Refusal
from ca.installation import Installation
from ca.issuance import Issued, issuing
from ca.keys.algorithms import spki
from ca.models import BlockedKey, Revocation
from ca.recording import abandon_intents
from ca.x509.names import parse
from ca.x509.revocation_list import REASONS, RevocationReason
from tests import rig
from tests.ca.world import count, entries, listed, load_crl, perform, publish, rows

OTHER_REQUESTER = Caller(
    "token:other", Role.REQUESTER, profiles=frozenset({"mesh"}), attributes={"namespace": "payments"}
)
SUPERSEDED, COMPROMISE = RevocationReason.SUPERSEDED, RevocationReason.KEY_COMPROMISE


def state(installation: Installation, issued: Issued) -> str:
    """What has become of a certificate."""
    return certificates.find(installation.store, issued.serial).state


def key_hash(place: int = 0) -> bytes:
    """SHA-256 of a pooled key's SubjectPublicKeyInfo."""
    key = rig.pooled_key(place=place) if place else rig.pooled_key()
    return sha256(spki(key.public_key())).digest()


def holder(issued: Issued) -> Caller:
    """Somebody who proves itself with a certificate of ours."""
    return Caller(f"certificate:{issued.serial}", Role.HOLDER, certificate=issued.serial)


def test_a_revocation_is_recorded_and_published(installation: Installation) -> None:
    """It is a row, a ledger entry, and on the next CRL with its time and reason; nothing else is revoked."""
    issued, other = rig.issue(installation), rig.issue(installation)
    at = clock.now() + timedelta(seconds=100)
    with clock.pinned(at):
        revoked = revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED)
        publish(installation)
    assert revoked == revocation.Revoked((issued.serial,), SUPERSEDED, int(at.timestamp()))
    (row,) = rows(installation.store, Revocation)
    assert (row.serial, row.reason, row.revoked_at, row.revoked_by) == (
        issued.serial,
        4,
        int(at.timestamp()),
        rig.OPERATOR.identity,
    )
    (entry,) = entries(installation.store, "certificate-revoked")
    assert (entry["subject"], entry["reason"], entry["by"]) == (issued.serial, "superseded", rig.OPERATOR.identity)
    (on_list,) = load_crl(installation)
    assert (f"{on_list.serial_number:x}", on_list.revocation_date_utc) == (issued.serial, at)
    assert (state(installation, issued), state(installation, other)) == ("revoked", "valid")


@pytest.mark.parametrize("word", REASONS)
def test_every_reason_has_a_word(installation: Installation, word: str) -> None:
    """All reasons of RFC 5280 by which a certificate is revoked for good can be given, and come back."""
    issued = rig.issue(installation)
    revocation.revoke(installation, rig.OPERATOR, issued.serial, revocation.parse_reason(word))
    assert certificates.find(installation.store, issued.serial).revocation_reason == REASONS[word]


@pytest.mark.parametrize("word", ["", "certificate-hold", "remove-from-crl", "KEY-COMPROMISE", "1", "x" * 1000])
def test_other_words_are_no_reasons(word: str) -> None:
    """What is not a reason is refused with the list of those that are."""
    with pytest.raises(BadRequest) as caught:
        revocation.parse_reason(word)
    assert caught.value.code == "bad-reason"
    assert "key-compromise" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "write", [str.upper, "0x{}".format, "  {} ".format, lambda s: ":".join(s[i : i + 2] for i in range(0, 40, 2))]
)
def test_serials_are_read_as_people_write_them(installation: Installation, write: Callable[[str], str]) -> None:
    """Capitals, colons, `0x` and blanks around it change nothing about which certificate is meant."""
    issued = rig.issue(installation)
    revocation.revoke(installation, rig.OPERATOR, write(issued.serial.zfill(40)), SUPERSEDED)
    assert state(installation, issued) == "revoked"


def test_what_cannot_be_revoked(installation: Installation) -> None:
    """Unknown, unreadable, already revoked and expired are four different answers, and none changes anything."""
    issued, late = rig.issue(installation), rig.issue(installation)
    revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED)
    before = entries(installation.store)
    end = clock.from_timestamp(late.not_after)

    def refusal(serial: str) -> tuple[type[Refusal], str]:
        with pytest.raises(Refusal) as caught:
            revocation.revoke(installation, rig.OPERATOR, serial, COMPROMISE)
        return type(caught.value), caught.value.code

    assert refusal("abc123") == (NotFound, "unknown-certificate")
    assert refusal("no hex") == (BadRequest, "bad-serial")
    assert refusal(issued.serial) == (Conflict, "already-revoked")
    with clock.pinned(end + timedelta(seconds=1)):
        assert refusal(late.serial) == (Conflict, "expired")
    assert entries(installation.store) == before
    assert not revocation.is_blocked(installation, key_hash())
    with clock.pinned(end):
        revocation.revoke(installation, rig.OPERATOR, late.serial, SUPERSEDED)
    assert state(installation, late) == "revoked"


CALLERS = [
    (rig.ADMIN, None, None),
    (rig.OPERATOR, None, None),
    (rig.REQUESTER, None, "not-yours"),
    (OTHER_REQUESTER, "not-yours", "not-yours"),
    (rig.CONSUMER, "forbidden", "forbidden"),
    (rig.AUDITOR, "forbidden", "forbidden"),
]


@pytest.mark.parametrize(("caller", "requesters", "operators"), CALLERS, ids=[c.identity for c, _, _ in CALLERS])
@pytest.mark.parametrize("reason", [SUPERSEDED, COMPROMISE])
def test_who_may_revoke_what(
    installation: Installation, caller: Caller, requesters: str | None, operators: str | None, reason: RevocationReason
) -> None:
    """Admins and operators revoke anything, requesters what they asked for, the others nothing (rows 3 and 20)."""
    for asked_by, expected in ((rig.REQUESTER, requesters), (rig.OPERATOR, operators)):
        key = rig.pooled_key(place=1) if asked_by is rig.OPERATOR else rig.pooled_key()
        issued = rig.issue(installation, caller=asked_by, key=key)
        if expected is None:
            revocation.revoke(installation, caller, issued.serial, reason)
            assert state(installation, issued) == "revoked"
        else:
            with pytest.raises(Forbidden) as caught:
                revocation.revoke(installation, caller, issued.serial, reason)
            assert caught.value.code == expected
            assert state(installation, issued) == "valid"
            assert rows(installation.store, Revocation, serial=issued.serial) == []
            assert not revocation.is_blocked(installation, sha256(spki(key.public_key())).digest())


def test_a_holder_revokes_its_own_certificate_alone(installation: Installation) -> None:
    """A proof for certificate A revokes A; for B, although it has the same name and key, it is good for nothing."""
    mine, same_name = rig.issue(installation), rig.issue(installation)
    with pytest.raises(Forbidden) as caught:
        revocation.revoke(installation, holder(mine), same_name.serial, SUPERSEDED)
    assert caught.value.code == "not-yours"
    revocation.revoke(installation, holder(mine), mine.serial, SUPERSEDED)
    assert (state(installation, mine), state(installation, same_name)) == ("revoked", "valid")


def test_a_name_proves_no_ownership(installation: Installation) -> None:
    """An identity that is spelt like a requester's, with a certificate of another, does not own what that one has."""
    theirs = rig.issue(installation, caller=rig.REQUESTER)
    mine = rig.issue(installation)
    pretender = Caller(f"certificate:{theirs.serial}", Role.HOLDER, certificate=mine.serial)
    with pytest.raises(Forbidden):
        revocation.revoke(installation, pretender, theirs.serial, SUPERSEDED)


def test_key_compromise_takes_everything_with_the_key(installation: Installation) -> None:
    """Every living certificate with the key goes, whoever asked for it, and the key is never certified again."""
    mine = rig.issue(installation, caller=rig.REQUESTER)
    others = [rig.issue(installation), rig.issue(installation, "db.example.internal", profile="server")]
    spared = rig.issue(installation, key=rig.pooled_key(place=1))
    gone = rig.issue(installation)
    revocation.revoke(installation, rig.OPERATOR, gone.serial, SUPERSEDED)
    revoked = revocation.revoke(installation, rig.REQUESTER, mine.serial, COMPROMISE)
    assert set(revoked.serials) == {mine.serial, *(one.serial for one in others)}
    assert revoked.key_blocked
    assert state(installation, spared) == "valid"
    assert certificates.find(installation.store, gone.serial).revocation_reason == SUPERSEDED
    assert revocation.is_blocked(installation, key_hash())
    with pytest.raises(PolicyRefusal) as caught:
        rig.issue(installation, caller=rig.OPERATOR)
    assert [reason.code for reason in caught.value.reasons] == ["blocked-key"]
    (entry,) = entries(installation.store, "key-blocked")
    assert (entry["subject"], entry["by"]) == (key_hash().hex(), rig.REQUESTER.identity)


def test_a_renewal_with_a_blocked_key_is_refused(installation: Installation) -> None:
    """The block holds at the other door, too: who renews an unrevoked certificate brings another key."""
    issued = rig.issue(installation)
    revocation.block_key(installation, rig.OPERATOR, key_hash(place=1), "found in a public repository")
    stored = certificates.find(installation.store, issued.serial)
    blocked = rig.make_request(rig.WORKLOAD, key=rig.pooled_key(place=1))
    with pytest.raises(PolicyRefusal):
        issuance.issue(enrolment.authorise_renewal(installation, holder(issued), stored, blocked, Wish()), installation)


def test_revoking_by_key(installation: Installation) -> None:
    """It names all that it revoked; done again it finds nothing to do; a key that nobody has yet is blocked, too."""
    issued = [rig.issue(installation) for _ in range(3)]
    first = revocation.revoke_key(installation, rig.OPERATOR, key_hash(), COMPROMISE)
    assert set(first.serials) == {one.serial for one in issued}
    assert revocation.revoke_key(installation, rig.OPERATOR, key_hash(), COMPROMISE).serials == ()
    assert revocation.revoke_key(installation, rig.OPERATOR, key_hash(place=1), COMPROMISE).key_blocked
    with pytest.raises(PolicyRefusal):
        rig.issue(installation, key=rig.pooled_key(place=1))
    assert revocation.block_key(installation, rig.OPERATOR, key_hash(place=2), "test")
    assert not revocation.block_key(installation, rig.OPERATOR, key_hash(place=2), "test")
    assert len(entries(installation.store, "key-blocked")) == 3


@pytest.mark.parametrize("caller", [rig.REQUESTER, rig.CONSUMER, rig.AUDITOR, Caller("certificate:1", Role.HOLDER)])
def test_keys_are_blocked_by_operators_alone(installation: Installation, caller: Caller) -> None:
    """Others can neither block a key, nor revoke by key, nor by filter."""
    rig.issue(installation, caller=rig.REQUESTER)
    blocked = count(installation.store, BlockedKey)
    with pytest.raises(Forbidden):
        revocation.revoke_key(installation, caller, key_hash(), COMPROMISE)
    with pytest.raises(Forbidden):
        revocation.block_key(installation, caller, key_hash(), "test")
    for dry_run in (True, False):
        with pytest.raises(Forbidden):
            revocation.revoke_matching(installation, caller, Query(profile="mesh"), SUPERSEDED, dry_run=dry_run)
    assert (count(installation.store, BlockedKey), count(installation.store, Revocation)) == (blocked, 0)


def test_authorities_are_protected(installation: Installation) -> None:
    """A CA's key is nobody's to revoke by; its certificate falls under no filter, only to an admin by its serial."""
    issuing_ca = installation.authorities.get("issuing")
    for caller in (rig.OPERATOR, rig.ADMIN):
        with pytest.raises(Forbidden) as caught:
            revocation.revoke_key(installation, caller, issuing_ca.spki_sha256, COMPROMISE)
        assert caught.value.code == "authority-key"
        for query in (Query(profile="sub-ca"), Query(authority="root-1"), Query(spki_sha256=issuing_ca.spki_sha256)):
            assert revocation.revoke_matching(installation, caller, query, SUPERSEDED).serials == ()
    for caller in (rig.OPERATOR, rig.REQUESTER, Caller("certificate:x", Role.HOLDER, certificate=issuing_ca.serial)):
        with pytest.raises(Forbidden):
            revocation.revoke(installation, caller, issuing_ca.serial, SUPERSEDED)
    assert count(installation.store, Revocation) == 0
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    revocation.revoke(installation, rig.ADMIN, issuing_ca.serial, RevocationReason.CA_COMPROMISE)
    publish(installation)
    assert listed(installation, "root-1") == {issuing_ca.serial}


def test_a_dry_run_changes_nothing_and_names_what_would_go(installation: Installation) -> None:
    """What a dry run names is exactly what the same call then revokes, page by page."""
    mesh = [rig.issue(installation, f"spiffe://example.internal/ns/a/sa/w{place}").serial for place in range(7)]
    rig.issue(installation, "db.example.internal", profile="server")
    revocation.revoke(installation, rig.OPERATOR, mesh[3], SUPERSEDED)
    before = entries(installation.store)
    alive = set(mesh) - {mesh[3]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(revocation, "PAGE", 2)
        would = revocation.revoke_matching(installation, rig.ADMIN, Query(profile="mesh"), SUPERSEDED, dry_run=True)
        assert set(would.serials) == alive
        assert entries(installation.store) == before
        did = revocation.revoke_matching(installation, rig.ADMIN, Query(profile="mesh"), SUPERSEDED)
    assert set(did.serials) == alive
    assert {row.serial for row in rows(installation.store, Revocation)} == set(mesh)
    assert certificates.page(installation.store, Query(profile="server"))[0][0].state == "valid"


@pytest.mark.parametrize(
    "narrow",
    [
        lambda one: {"name": parse("dns:two.example.internal")},
        lambda one: {"requested_by": rig.REQUESTER.identity},
        lambda one: {"spki_sha256": key_hash(place=1)},
        lambda one: {"expires_before": one.not_after + 1},
    ],
    ids=["name", "requester", "key", "expiry"],
)
def test_filters_narrow(installation: Installation, narrow: Callable[[Issued], dict[str, object]]) -> None:
    """Each field of a filter leaves alone what does not match it."""
    choices: dict[str, object] = {"profile": "server"}
    kept = rig.issue(installation, "one.example.internal", **choices)
    hit = rig.issue(
        installation,
        "two.example.internal",
        caller=rig.REQUESTER,
        key=rig.pooled_key(place=1),
        lifetime=timedelta(hours=3),
        **choices,
    )
    query = Query(profile="server", **narrow(hit))  # type: ignore[arg-type]
    assert revocation.revoke_matching(installation, rig.OPERATOR, query, SUPERSEDED).serials == (hit.serial,)
    assert state(installation, kept) == "valid"


def test_a_filter_for_everything_is_refused(installation: Installation) -> None:
    """An empty filter is a slip of the keyboard, not an order."""
    rig.issue(installation)
    with pytest.raises(BadRequest) as caught:
        revocation.revoke_matching(installation, rig.ADMIN, Query(), SUPERSEDED)
    assert caught.value.code == "bad-filter"
    assert count(installation.store, Revocation) == 0


def test_revoking_everything_takes_the_abandoned_along(installation: Installation) -> None:
    """The drill that found row 61: "revoke all of this profile" leaves nothing behind that the key may have signed."""
    issued = rig.issue(installation)
    perform(issuing(rig.decide(installation), installation), installation, steps=1)
    abandon_intents(installation.store, older_than=clock.timestamp() + 1)
    revoked = revocation.revoke_matching(installation, rig.ADMIN, Query(profile="mesh"), SUPERSEDED)
    assert len(revoked.serials) == 2
    assert issued.serial in revoked.serials
    assert certificates.page(installation.store, Query(state="abandoned"))[0] == []


def test_a_certificate_without_a_shard_is_on_the_complete_list(installation: Installation) -> None:
    """What names no CRL (RFC 9608) can be revoked all the same, for those who look anyway."""
    issued = rig.issue(installation, profile="ephemeral")
    revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED)
    publish(installation)
    assert listed(installation) == {issued.serial}
    assert all(listed(installation, shard=shard) == set() for shard in range(4))
