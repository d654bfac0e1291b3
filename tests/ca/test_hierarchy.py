"""How authorities come to be and go from state to state: roots, subordinates, generations, and who may do that."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import clock, hierarchy, issuance
from ca.access import Caller, Role
from ca.authority import State
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, PolicyRefusal, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType
from ca.keys.memory import MemoryKeyStore
from ca.ledger.reconcile import audit
from ca.models import Authority, BlockedKey, Certificate, RevocationList
from ca.store import Store
from tests import rig
from tests.ca.world import count, entries, publish, replica, rows

OTHERS = [rig.OPERATOR, rig.REQUESTER, rig.CONSUMER, rig.AUDITOR, Caller("certificate:1", Role.HOLDER, certificate="1")]


def plan(line: str, **choices: object) -> Plan:
    """A CA that somebody wants, by default with a P-256 key."""
    return Plan(line, rig.common_name(f"Test {line}"), **{"key_type": KeyType.P256, **choices})  # type: ignore[arg-type]


def certificate_of(row: Authority) -> x509.Certificate:
    """An authority's certificate as `cryptography` sees it."""
    return x509.load_der_x509_certificate(row.certificate)


def labels(installation: Installation) -> set[str]:
    """The keys in the memory key store."""
    keys = installation.keys
    assert isinstance(keys, MemoryKeyStore)
    return set(keys._keys)


def states(installation: Installation, line: str) -> list[str]:
    """The states of a line's generations, oldest first, from the table."""
    found = sorted(rows(installation.store, Authority, line=line), key=lambda row: row.generation)
    return [row.state for row in found]


@pytest.mark.parametrize("key_type", [kind for kind in AUTHORITY_KEY_TYPES if kind is not KeyType.RSA4096])
def test_a_hierarchy_of_every_key_type(store: Store, key_type: KeyType) -> None:
    """Root, subordinate and leaf verify under each other, with a CA's constraints, whatever they sign with."""
    installation = rig.make_installation(store, key_type=key_type)
    root, issuing_ca = (certificate_of(installation.authorities.get(name)) for name in ("root-1", "issuing-1"))
    leaf = rig.parsed(rig.issue(installation))
    for one, parent in ((root, root), (issuing_ca, root), (leaf, issuing_ca)):
        one.verify_directly_issued_by(parent)
    lengths = []
    for one in (root, issuing_ca):
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = one.extensions.get_extension_for_class(x509.KeyUsage)
        assert constraints.critical
        assert constraints.value.ca
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        lengths.append(constraints.value.path_length)
    assert lengths == [None, 0]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_new_authority_is_recorded(installation: Installation) -> None:
    """Row, ledger entry, its own lists, its key blocked; the subordinate is a certificate like any, the root is not."""
    root, issuing_ca = installation.authorities.get("root"), installation.authorities.get("issuing")
    for row in (root, issuing_ca):
        (entry,) = entries(installation.store, "authority-created", subject=row.name)
        assert (entry["by"], entry["state"], entry["serial"]) == (rig.ADMIN.identity, "active", row.serial)
        (blocked,) = rows(installation.store, BlockedKey, spki_sha256=row.spki_sha256)
        assert blocked.reason == "authority"
        lists = rows(installation.store, RevocationList, authority_id=row.id)
        assert sorted(one.shard for one in lists) == list(range(-1, row.crl_shards))
    assert (root.parent_id, issuing_ca.parent_id) == (None, root.id)
    (stored,) = rows(installation.store, Certificate, serial=issuing_ca.serial)
    assert (stored.profile, stored.requested_by) == ("sub-ca", rig.ADMIN.identity)
    assert rows(installation.store, Certificate, serial=root.serial) == []
    installation.ledger.sequence()
    assert audit(installation.store, installation.ledger.verifier).findings == []


@pytest.mark.parametrize("days", [1, 365, 3650])
def test_a_root_lives_as_long_as_was_said(installation: Installation, days: int) -> None:
    """First and last second both count, as for every certificate (row 56)."""
    root = hierarchy.create_root(installation, rig.ADMIN, plan("short", lifetime=timedelta(days=days)))
    assert root.not_after - root.not_before + 1 == days * 86400


def test_a_subordinate_never_outlives_its_root(installation: Installation) -> None:
    """Near the end of the root's life a new CA beneath it gets what is left."""
    root = installation.authorities.get("root")
    with clock.pinned(clock.from_timestamp(root.not_after) - timedelta(days=10)):
        late = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("late"))
    assert late.not_after == root.not_after


def test_lines_and_generations(installation: Installation) -> None:
    """Lines stand side by side; within one, generations are numbered, and a second one waits until it is activated."""
    second = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing"))
    other = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("factory-north"))
    assert (second.name, second.generation, second.state) == ("issuing-2", 2, "prepared")
    assert (other.name, other.generation, other.state) == ("factory-north-1", 1, "active")
    assert rig.issue(installation).authority == "issuing-1"
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    assert rig.issue(installation).authority == "issuing-2"
    assert states(installation, "issuing") == ["tainted", "active"]
    assert states(installation, "factory-north") == states(installation, "root") == ["active"]
    assert [row.name for row in installation.authorities.roots()] == ["root-1"]
    changes = [(e["action"], e["subject"], e["was"]) for e in entries(installation.store) if "was" in e]
    assert changes == [
        ("authority-tainted", "issuing-1", "active"),
        ("authority-activated", "issuing-2", "prepared"),
    ]


ROADS = {
    State.PREPARED: [],
    State.ACTIVE: [State.ACTIVE],
    State.TAINTED: [State.ACTIVE, State.TAINTED],
    State.DISTRUSTED: [State.ACTIVE, State.TAINTED, State.DISTRUSTED],
    State.RETIRED: [State.RETIRED],
}


@pytest.mark.parametrize(("was", "to"), list(itertools.product(State, State)))
def test_every_transition(installation: Installation, was: State, to: State) -> None:
    """Those of the module's table are made and recorded; all others are refused and change nothing."""
    hierarchy.create_root(installation, rig.ADMIN, plan("line", state=State.PREPARED))
    for state in ROADS[was]:
        hierarchy.transition(installation, rig.ADMIN, "line-1", state)
    before = entries(installation.store)
    if to in hierarchy.TRANSITIONS[was]:
        assert hierarchy.transition(installation, rig.ADMIN, "line-1", to).state == to
        assert states(installation, "line") == [to]
        assert len(entries(installation.store)) == len(before) + 1
        return
    with pytest.raises(Conflict) as caught:
        hierarchy.transition(installation, rig.ADMIN, "line-1", to)
    assert caught.value.code == "bad-transition"
    assert states(installation, "line") == [was]
    assert entries(installation.store) == before


def test_without_an_active_generation_nothing_is_signed(installation: Installation) -> None:
    """Tainted, retired and prepared CAs sign no leaf; the refusal says that none is active."""
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing"))
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    for last in (None, State.RETIRED):
        if last is not None:
            hierarchy.transition(installation, rig.ADMIN, "issuing-1", last)
        with pytest.raises(Unavailable) as caught:
            rig.issue(installation)
        assert caught.value.code == "no-active-authority"
    with pytest.raises(NotFound):
        installation.authorities.issuer_for("nobody")
    with pytest.raises(Conflict, match="no generation of 'issuing' is active") as refused:
        hierarchy.transition(installation, rig.ADMIN, "issuing", State.TAINTED)
    assert refused.value.hint == "name the one: issuing-1 (retired), issuing-2 (prepared)"


def test_another_replica_hears_of_a_change(installation: Installation) -> None:
    """What one process has changed holds in another at once where it matters: what the old CA signs is not recorded."""
    other = replica(installation, installation.store)
    assert rig.issue(other).authority == "issuing-1"
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing"))
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    decision = rig.decide(other)
    with pytest.raises(Unavailable):  # it still thinks that issuing-1 signs
        issuance.issue(decision, other)
    other.authorities.forget()
    assert issuance.issue(decision, other).authority == "issuing-2"


@pytest.mark.parametrize(
    "line", ["", "Issuing", "a_b", "-a", "a-", "a--b", "1a", "a/b", "../a", "a.b", "x" * 41, "é", "a\n"]
)
def test_bad_names_of_lines(installation: Installation, line: str) -> None:
    """A line's name becomes part of file names and URLs, so it is of lower-case words joined by hyphens."""
    before = labels(installation)
    for create in (
        lambda: hierarchy.create_root(installation, rig.ADMIN, plan(line)),
        lambda: hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan(line)),
    ):
        with pytest.raises(BadRequest) as caught:
            create()
        assert caught.value.code == "bad-authority-name"
    assert labels(installation) == before


@pytest.mark.parametrize("key_type", [KeyType.RSA2048, KeyType.MLDSA44])
def test_small_keys_are_for_subjects(installation: Installation, key_type: KeyType) -> None:
    """A CA does not sign with the smallest keys."""
    with pytest.raises(BadRequest) as caught:
        hierarchy.create_root(installation, rig.ADMIN, plan("small", key_type=key_type))
    assert caught.value.code == "bad-authority-key"


CREATIONS: dict[str, Callable[[Installation, Caller], object]] = {
    "root": lambda i, caller: hierarchy.create_root(i, caller, plan("new")),
    "subordinate": lambda i, caller: hierarchy.create_subordinate(i, caller, "sub-ca", plan("new")),
    "transition": lambda i, caller: hierarchy.transition(i, caller, "issuing", State.TAINTED),
}


@pytest.mark.parametrize("caller", OTHERS, ids=[caller.role for caller in OTHERS])
@pytest.mark.parametrize("creation", CREATIONS)
def test_only_admins_manage_authorities(installation: Installation, caller: Caller, creation: str) -> None:
    """Row 19: nobody else makes a CA beneath any of ours, nor a root, nor changes a state."""
    tables = (Authority, Certificate, BlockedKey, RevocationList)
    before = [count(installation.store, table) for table in tables], entries(installation.store)
    with pytest.raises(Forbidden):
        CREATIONS[creation](installation, caller)
    assert ([count(installation.store, table) for table in tables], entries(installation.store)) == before


@pytest.mark.parametrize("profile", ["mesh", "ocsp-signer"])
def test_ca_profiles_and_leaf_profiles_are_two_doors(installation: Installation, profile: str) -> None:
    """A CA is not made under a leaf's profile, and a leaf's request does not get one under a CA's (row 46)."""
    with pytest.raises(Forbidden):
        hierarchy.create_subordinate(installation, rig.ADMIN, profile, plan("new"))
    with pytest.raises(Forbidden):
        rig.issue(installation, profile="sub-ca", caller=rig.ADMIN)


@pytest.mark.parametrize(
    ("caller", "choices"), [(rig.OPERATOR, {}), (rig.ADMIN, {"lifetime": timedelta(days=99999)})], ids=["who", "what"]
)
def test_a_refused_authority_leaves_no_key(
    installation: Installation, caller: Caller, choices: dict[str, object]
) -> None:
    """A refusal changes nothing: no key file is left that nobody will ever look at."""
    before = labels(installation)
    with pytest.raises((Forbidden, PolicyRefusal)):
        hierarchy.create_subordinate(installation, caller, "sub-ca", plan("new", **choices))
    assert labels(installation) == before


def test_a_clash_leaves_no_ca_certificate_behind(installation: Installation) -> None:
    """A second active generation is refused before a CA certificate exists that is nobody's authority."""
    issued, keys = count(installation.store, Certificate), labels(installation)
    with pytest.raises(Conflict):
        hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing", state=State.ACTIVE))
    assert (count(installation.store, Certificate), labels(installation)) == (issued, keys)


def test_path_length_zero_holds(store: Store, tmp_path: Path) -> None:
    """Beneath an issuing CA there is no further CA, even where a profile asks for it: nothing is signed."""
    shutil.copytree(rig.CONFIG / "profiles", tmp_path / "profiles")
    text = (tmp_path / "profiles" / "sub-ca.toml").read_text()
    (tmp_path / "profiles" / "deep.toml").write_text(text.replace('issuer = "root"', 'issuer = "issuing"'))
    installation = rig.make_installation(store, profiles=tmp_path / "profiles")
    before = count(store, Certificate)
    with pytest.raises(PolicyRefusal) as caught:
        hierarchy.create_subordinate(installation, rig.ADMIN, "deep", plan("deep"))
    assert "RFC 5280 4.2.1.9" in {reason.rule for reason in caught.value.reasons}
    assert (count(store, Certificate), states(installation, "deep")) == (before, [])


def test_our_own_keys_are_nobody_elses(installation: Installation) -> None:
    """A request that carries the key of one of our CAs is refused under every profile, whoever signs it."""
    for name in ("root", "issuing"):
        key = installation.keys.load(installation.authorities.get(name).key_label)
        for profile, names in (("mesh", [rig.WORKLOAD]), ("server", ["db.example.internal"])):
            with pytest.raises(PolicyRefusal) as caught:
                rig.issue(installation, *names, profile=profile, key=key)
            assert [reason.code for reason in caught.value.reasons] == ["blocked-key"]


def test_a_crash_before_the_row_leaves_only_a_key(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process dies before the authority is real, the next attempt is not in its way."""
    with monkeypatch.context() as patched:
        patched.setattr(hierarchy, "_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hierarchy.create_root(installation, rig.ADMIN, plan("again"))
    assert states(installation, "again") == []
    assert hierarchy.create_root(installation, rig.ADMIN, plan("again")).name == "again-1"


def test_without_shards_a_leaf_names_the_complete_list(store: Store) -> None:
    """A CA with one list only writes that list's address into what it signs, and fills it."""
    installation = rig.make_installation(store, shards=0)
    points = rig.parsed(rig.issue(installation)).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for point in points for name in point.full_name or ()] == [f"{rig.PUBLIC_URL}/crl/issuing-1.crl"]
    assert publish(installation) == []
