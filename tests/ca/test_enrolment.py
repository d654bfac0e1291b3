"""Decisions are made in one place, by those who may, about what was asked for and no more; a renewal only shrinks."""

from __future__ import annotations

import ast
import dataclasses
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import certificates, clock, enrolment, revocation
from ca.access import Caller, Role
from ca.certificates import Stored
from ca.enrolment import Decision, Wish, authorise_authority, authorise_issue, authorise_renewal
from ca.errors import BadRequest, Conflict, Defect, Forbidden, NotFound, PolicyRefusal
from ca.installation import Installation
from ca.keys.algorithms import KeyType, PrivateKey
from ca.store import open_store
from ca.x509.names import parse
from ca.x509.request import Request, read_request
from ca.x509.revocation_list import RevocationReason
from tests import rig

ROOT = Path(__file__).parent.parent.parent
NAMES = (rig.WORKLOAD, "api.payments.svc.example.internal", "db.payments.svc.example.internal")
WISHES_FOR_AUTHORITY = (
    x509.BasicConstraints(ca=True, path_length=None),
    x509.KeyUsage(True, False, False, False, False, True, False, False, False),
    x509.KeyUsage(True, False, False, False, False, False, True, False, False),
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
    x509.NameConstraints([x509.DNSName("example.internal")], None),
    x509.PolicyConstraints(0, None),
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of this file: each makes certificates of its own."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('enrolment')}/certwright.db")
    yield rig.make_installation(store)
    store.close()


@pytest.fixture
def stored(house: Installation) -> Stored:
    """A certificate of a mesh workload with three names."""
    return certificates.find(house.store, rig.issue(house, *NAMES).serial)


@pytest.fixture(scope="module")
def workload(house: Installation) -> Stored:
    """The same, once for all examples of a property."""
    return certificates.find(house.store, rig.issue(house, *NAMES).serial)


def holder(stored: Stored) -> Caller:
    """Whoever proved to hold a certificate."""
    return Caller(f"certificate:{stored.serial}", Role.HOLDER, certificate=stored.serial)


def request(*names: str, common_name: str | None = None, wish: x509.ExtensionType | None = None) -> Request:
    """A request for these names, and what it says besides."""
    subject = rig.common_name(common_name) if common_name is not None else None
    return read_request(rig.make_csr(*names, subject=subject, extensions=[(wish, True)] if wish else []))


def refused(house: Installation, caller: Caller, profile: str, asked: Request, wish: Wish | None = None) -> set[str]:
    """The codes of the reasons why nothing is decided."""
    with pytest.raises(PolicyRefusal) as raised:
        authorise_issue(house, caller, profile, asked, wish or Wish())
    return {reason.code for reason in raised.value.reasons}


def not_renewed(
    house: Installation, caller: Caller, stored: Stored, asked: Request, wish: Wish | None = None
) -> set[str]:
    """The codes of the reasons why nothing is renewed."""
    with pytest.raises(PolicyRefusal) as raised:
        authorise_renewal(house, caller, stored, asked, wish or Wish())
    return {reason.code for reason in raised.value.reasons}


def test_nobody_else_makes_a_decision(house: Installation) -> None:
    """All fields of a real decision, without its seal or with another one, make none."""
    made = rig.decide(house)
    fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    for seal in (None, object(), True, "seal"):
        with pytest.raises(Defect, match=r"outside ca\.enrolment"):
            Decision(**{**fields, "seal": seal})
    without = {name: value for name, value in fields.items() if name != "seal"}
    with pytest.raises((Defect, TypeError)):
        Decision(**without)


def test_a_decision_is_not_changed(house: Installation) -> None:
    """What was decided stays decided: no field can be set."""
    made = rig.decide(house)
    for field in dataclasses.fields(made):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(made, field.name, None)


def test_a_decision_is_not_copied_with_changes(house: Installation) -> None:
    """`dataclasses.replace` of a decision would be a decision about other names that nobody has made."""
    made = rig.decide(house)
    with pytest.raises((Defect, ValueError, TypeError)):
        dataclasses.replace(made, names=(parse("evil.example"),))


def _strangers(tree: ast.AST) -> Iterator[str]:
    """Whatever in a module could make a decision: the constructor, its kin, and the seal by any way of naming it."""
    fields = {field.name for field in dataclasses.fields(Decision)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Decision") | ast.Attribute(attr="Decision")):
                yield f"line {node.lineno}: Decision(...)"
            case ast.Call(func=ast.Name(id="replace") | ast.Attribute(attr="replace" | "_replace")):
                if {keyword.arg for keyword in node.keywords} & fields:
                    yield f"line {node.lineno}: replace(...)"
            case ast.Call(args=args) if any(isinstance(a, ast.Name) and a.id == "Decision" for a in args):
                yield f"line {node.lineno}: a call with Decision in it"
            case ast.Name(id="_SEAL") | ast.Attribute(attr="_SEAL") | ast.alias(name="_SEAL"):
                yield "_SEAL"
            case ast.Constant(value=str(text)) if text == "_SEAL":
                yield "'_SEAL'"
            case ast.ClassDef(bases=bases) if any(isinstance(b, ast.Name) and b.id == "Decision" for b in bases):
                yield f"line {node.lineno}: a subclass"


def test_the_code_has_one_maker_of_decisions() -> None:
    """In all three packages, nothing but `ca/enrolment.py` calls `Decision(...)` or touches its seal."""
    sources = [path for package in ("ca", "renewers", "pki") for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 40
    found = {
        str(path.relative_to(ROOT)): hits
        for path in sources
        if (hits := list(_strangers(ast.parse(path.read_text(), str(path)))))
    }
    assert set(found) <= {"ca/enrolment.py"}, found
    assert sum("Decision(...)" in hit for hit in found["ca/enrolment.py"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("Decision(caller=1)", "enrolment.Decision()", "object.__new__(Decision)", "from ca.enrolment import _SEAL"),
        *("enrolment._SEAL", "getattr(enrolment, '_SEAL')", "dataclasses.replace(decision, names=())"),
        *("replace(d, lifetime=1)", "class Mine(Decision): pass"),
    ],
)
def test_the_search_for_makers_finds_them(text: str) -> None:
    """Each way around the authoriser that a hurried person would take is one that the search sees."""
    assert list(_strangers(ast.parse(text)))


def test_a_decision_holds_what_was_asked_for(house: Installation) -> None:
    """Names, key and life are the request's and the profile's, and role and attributes the caller's."""
    asked = request(rig.WORKLOAD)
    made = authorise_issue(house, rig.REQUESTER, "mesh", asked, Wish())
    assert made.names == (parse(rig.WORKLOAD),)
    assert made.request is asked
    assert made.key_type is KeyType.P256
    assert made.lifetime == house.profiles["mesh"].lifetime
    assert (made.caller, made.role, made.attributes) == (rig.REQUESTER, Role.REQUESTER, {"namespace": "payments"})
    assert (made.subject, made.path_length, made.renews, made.idempotency_key) == (None, None, None, None)


def test_a_wish_goes_before_the_request(house: Installation) -> None:
    """Names and life that the caller states are the ones judged and decided, and those of the request are not."""
    wish = Wish(names=(parse("a.svc.example.internal"),), lifetime=timedelta(hours=2), path_length=3)
    made = authorise_issue(house, rig.OPERATOR, "mesh", request("x.elsewhere.example"), wish)
    assert (made.names, made.lifetime, made.path_length) == (wish.names, 7200, None)
    assert refused(house, rig.OPERATOR, "mesh", request(rig.WORKLOAD), Wish(names=())) == {"number-of-names"}
    elsewhere = Wish(names=(parse("x.elsewhere.example"),))
    assert refused(house, rig.OPERATOR, "mesh", request(rig.WORKLOAD), elsewhere) == {"name-not-allowed"}


def test_a_common_name_is_one_of_the_names_or_absent(house: Installation) -> None:
    """A common name that is not certified is refused (row 45), one that is makes no difference."""
    host = "db.example.internal"
    for common_name in (host, host.upper()):
        authorise_issue(house, rig.OPERATOR, "server", request(host, common_name=common_name), Wish())
    for common_name in ("other.example.internal", f"{host}.", f"{host}\0", f" {host}", "10.0.0.1", "*"):
        assert refused(house, rig.OPERATOR, "server", request(host, common_name=common_name)) == {
            "common-name-not-a-name"
        }
    assert refused(house, rig.OPERATOR, "server", request(common_name=host)) == {
        "common-name-not-a-name",
        "number-of-names",
    }
    other = Wish(names=(parse("other.example.internal"),))
    assert refused(house, rig.OPERATOR, "server", request(host, common_name=host), other) == {"common-name-not-a-name"}


@pytest.mark.parametrize("wish", WISHES_FOR_AUTHORITY, ids=lambda wish: type(wish).__name__)
@pytest.mark.parametrize("profile", ["mesh", "server", "client", "device", "edge", "ephemeral"])
def test_a_leaf_that_wants_to_be_a_ca_is_refused(house: Installation, profile: str, wish: x509.ExtensionType) -> None:
    """On every leaf profile, a request with a wish for authority gets that reason, whoever sends it (row 46)."""
    for caller in (rig.ADMIN, rig.OPERATOR):
        assert "asks-for-authority" in refused(house, caller, profile, request(rig.WORKLOAD, wish=wish))


def test_a_token_is_good_for_its_profiles(house: Installation) -> None:
    """A profile that is not in the token's list is refused, with the list in the message; no list is no limit."""
    host = request("a.example.internal")
    authorise_issue(house, rig.REQUESTER, "server", host, Wish())
    narrow = dataclasses.replace(rig.REQUESTER, profiles=frozenset({"mesh"}))
    nothing = dataclasses.replace(rig.OPERATOR, profiles=frozenset())
    assert refused(house, narrow, "server", host) == {"profile-not-allowed"}
    assert refused(house, nothing, "server", host) == {"profile-not-allowed"}
    with pytest.raises(PolicyRefusal, match="may use mesh, not server"):
        authorise_issue(house, narrow, "server", host, Wish())


@pytest.mark.parametrize("role", Role)
def test_who_may_ask_at_all(house: Installation, role: Role) -> None:
    """Admins, operators and requesters ask for leaves; the others are forbidden to, before anything is judged."""
    caller = Caller("token:x", role, attributes={"namespace": "payments"})
    if role in (Role.ADMIN, Role.OPERATOR, Role.REQUESTER):
        assert authorise_issue(house, caller, "mesh", request(rig.WORKLOAD), Wish()).role is role
        return
    with pytest.raises(Forbidden):
        authorise_issue(house, caller, "mesh", request(rig.WORKLOAD), Wish())


@pytest.mark.parametrize("role", Role)
def test_signers_and_authorities_are_for_admins(house: Installation, role: Role) -> None:
    """An OCSP signer and a CA take the right to manage authorities; a CA is not made by the leaf's door at all."""
    caller = Caller("token:x", role)
    named = Wish(subject=rig.common_name("OCSP"))
    with pytest.raises(Forbidden) as raised:
        authorise_issue(house, caller, "sub-ca", request(), named)
    assert raised.value.code == "not-a-leaf-profile"
    if role is Role.ADMIN:
        assert authorise_issue(house, caller, "ocsp-signer", request(), named).subject is not None
        assert authorise_authority(house, caller, "sub-ca", request(), dataclasses.replace(named, path_length=0))
        return
    with pytest.raises(Forbidden):
        authorise_issue(house, caller, "ocsp-signer", request(), named)
    with pytest.raises(Forbidden):
        authorise_authority(house, caller, "sub-ca", request(), named)


def test_an_authority_is_made_with_a_subject_from_its_own_profiles(house: Installation) -> None:
    """A leaf's profile makes no CA, a CA without a subject would be nobody, and neither takes names from a request."""
    named = Wish(subject=rig.common_name("CA"), path_length=0)
    with pytest.raises(Forbidden) as raised:
        authorise_authority(house, rig.ADMIN, "mesh", request(), named)
    assert raised.value.code == "not-an-authority-profile"
    with pytest.raises(PolicyRefusal, match="needs a subject"):
        authorise_authority(house, rig.ADMIN, "sub-ca", request(), Wish())
    made = authorise_authority(house, rig.ADMIN, "sub-ca", request("a.example.internal"), named)
    assert (made.names, made.path_length) == ((), 0)


def test_a_leafs_subject_is_not_asked_for(house: Installation) -> None:
    """A subject for a leaf is refused, and one for a signer is needed."""
    named = Wish(subject=rig.common_name("root"))
    assert refused(house, rig.ADMIN, "mesh", request(rig.WORKLOAD), named) == {"subject-not-allowed"}
    assert refused(house, rig.ADMIN, "ocsp-signer", request()) == {"subject-missing"}


def test_an_unknown_profile_is_not_found(house: Installation) -> None:
    """The name of a profile that does not exist is an error of its own."""
    with pytest.raises(NotFound) as raised:
        authorise_issue(house, rig.OPERATOR, "messh", request(rig.WORKLOAD), Wish())
    assert raised.value.code == "unknown-profile"


def test_every_objection_comes_at_once(house: Installation) -> None:
    """The case's, the key's and the profile's reasons are in one refusal."""
    key = rig.pooled_key(KeyType.MLDSA44)
    greedy = read_request(
        rig.make_csr(
            "a.elsewhere.example",
            key=key,
            subject=rig.common_name("nobody"),
            extensions=[(WISHES_FOR_AUTHORITY[0], True)],
        )
    )
    caller = dataclasses.replace(rig.REQUESTER, profiles=frozenset({"server"}))
    wish = Wish(lifetime=timedelta(days=99), subject=rig.common_name("root"))
    assert refused(house, caller, "mesh", greedy, wish) == {
        *("profile-not-allowed", "subject-not-allowed", "asks-for-authority", "common-name-not-a-name"),
        *("key-type-not-allowed", "lifetime-not-allowed", "name-not-allowed"),
    }


def test_idempotency_keys_are_their_callers_own(house: Installation) -> None:
    """The same key of two callers is two keys, and neither can be read out of the database."""
    wish = Wish(idempotency_key="k")
    made = [
        authorise_issue(house, caller, "mesh", request(rig.WORKLOAD), wish).idempotency_key
        for caller in (rig.OPERATOR, rig.REQUESTER, dataclasses.replace(rig.OPERATOR, identity="token:operator\0k"))
    ]
    assert len(set(made)) == 3
    assert all(key is not None and len(key) == 64 for key in made)


def test_a_request_is_the_same_if_everything_is(house: Installation, stored: Stored) -> None:
    """Profile, names and their order, life, key and predecessor make the digest; who asks does not."""

    def digest(*names: str, profile: str = "mesh", key: PrivateKey | None = None, **other: timedelta) -> bytes:
        return rig.decide(house, *names, profile=profile, key=key, **other).digest

    digests = [
        digest(*NAMES),
        digest(*NAMES[:2]),
        digest(NAMES[1], NAMES[0], NAMES[2]),
        digest(*NAMES, profile="ephemeral"),
        digest(*NAMES, key=rig.pooled_key(place=1)),
        digest(*NAMES, lifetime=timedelta(hours=1)),
        authorise_renewal(house, holder(stored), stored, request(*NAMES), Wish()).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert digest(*NAMES) == digests[0]
    assert rig.decide(house, *NAMES, caller=rig.ADMIN).digest == digests[0]


def test_another_subject_is_another_request(house: Installation) -> None:
    """An OCSP signer of another name, under the same idempotency key, is not what was answered before."""
    digests = {
        authorise_issue(house, rig.ADMIN, "ocsp-signer", request(), Wish(subject=rig.common_name(name))).digest
        for name in ("one", "another")
    }
    assert len(digests) == 2


def test_a_holder_renews_its_own(house: Installation, stored: Stored) -> None:
    """The successor has the names of the certificate that proved its holder, and says which one that was."""
    made = authorise_renewal(house, holder(stored), stored, request(), Wish())
    assert made.names == stored.names() == tuple(map(parse, NAMES))
    assert (made.renews, made.role, made.attributes) == (stored.serial, Role.HOLDER, None)
    assert made.profile.name == stored.profile
    assert made.lifetime == made.profile.lifetime


def test_a_renewal_may_shrink(house: Installation, stored: Stored) -> None:
    """Fewer names, a shorter life, another key of an allowed kind: less, so allowed."""
    fewer = authorise_renewal(house, holder(stored), stored, request(NAMES[1]), Wish(lifetime=timedelta(hours=1)))
    assert (fewer.names, fewer.lifetime) == ((parse(NAMES[1]),), 3600)
    wished = Wish(names=(parse(NAMES[2]),))
    assert authorise_renewal(house, holder(stored), stored, request(*NAMES), wished).names == wished.names
    other_key = rig.make_request(key=rig.pooled_key(KeyType.MLDSA65))
    assert authorise_renewal(house, holder(stored), stored, other_key, Wish()).key_type is KeyType.MLDSA65


@given(
    kept=st.lists(st.sampled_from(NAMES), unique=True),
    new=st.lists(st.sampled_from(["a", "b"]), unique=True),
    is_wish=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_renewal_never_grows(
    house: Installation, workload: Stored, kept: list[str], new: list[str], is_wish: bool
) -> None:
    """Whatever part of the old names is asked for together with new ones: any new one is refused (row 15)."""
    names = [*kept, *(f"{label}.payments.svc.example.internal" for label in new)]
    asked = request() if is_wish else request(*names)
    wish = Wish(names=tuple(map(parse, names))) if is_wish and names else Wish()
    for caller in (holder(workload), rig.OPERATOR, rig.ADMIN):
        if new:
            assert not_renewed(house, caller, workload, asked, wish) == {"identity-widened"}
        else:
            assert set(authorise_renewal(house, caller, workload, asked, wish).names) <= set(workload.names())


def test_a_renewal_is_judged_like_anything_else(house: Installation, stored: Stored) -> None:
    """Powers of a CA, a foreign common name, a weak key and a long life are refused at this door as well (row 2)."""
    caller = holder(stored)
    assert not_renewed(house, caller, stored, request(wish=WISHES_FOR_AUTHORITY[0])) == {"asks-for-authority"}
    assert not_renewed(house, caller, stored, request(common_name="root")) == {"common-name-not-a-name"}
    assert not_renewed(house, caller, stored, request(), Wish(lifetime=timedelta(days=8))) == {"lifetime-not-allowed"}
    assert not_renewed(house, caller, stored, rig.make_request(key=rig.pooled_key(KeyType.RSA2048))) == {
        "key-type-not-allowed"
    }
    assert not_renewed(house, caller, stored, request(), Wish(names=())) == {"number-of-names"}


def test_nobody_renews_anothers_certificate(house: Installation, stored: Stored) -> None:
    """A holder renews what proved it, a requester what it asked for; others need the right to renew any (row 3)."""
    other = certificates.find(house.store, rig.issue(house, *NAMES).serial)
    strangers = [
        holder(other),
        Caller("certificate:0", Role.HOLDER),
        Caller("token:x", Role.REQUESTER, attributes={"namespace": "payments"}),
        dataclasses.replace(rig.REQUESTER, identity=f"certificate:{stored.serial}"),
        Caller("token:x", Role.CONSUMER),
        Caller("token:x", Role.AUDITOR, certificate=other.serial),
    ]
    for stranger in strangers:
        with pytest.raises(Forbidden):
            authorise_renewal(house, stranger, stored, request(), Wish())
    granted = [Caller("certificate:x", role, certificate=stored.serial) for role in (Role.CONSUMER, Role.REQUESTER)]
    for caller in (rig.ADMIN, rig.OPERATOR, *granted):
        assert authorise_renewal(house, caller, stored, request(), Wish()).role is Role.HOLDER


def test_what_is_not_valid_is_not_renewed(house: Installation) -> None:
    """A revoked, an expired, and a never signed certificate have no successor, not even for an admin (row 13)."""
    revoked, expired = (certificates.find(house.store, rig.issue(house, *NAMES).serial) for _ in range(2))
    revocation.revoke(house, rig.ADMIN, revoked.serial, RevocationReason.SUPERSEDED)
    revoked = certificates.find(house.store, revoked.serial)
    abandoned = dataclasses.replace(expired, signature=None)
    for stored, state in ((revoked, "revoked"), (abandoned, "abandoned")):
        for caller in (holder(stored), rig.ADMIN):
            with pytest.raises(Conflict, match=state) as raised:
                authorise_renewal(house, caller, stored, request(), Wish())
            assert raised.value.code == "not-renewable"
    last = clock.from_timestamp(expired.not_after)
    with clock.pinned(last):
        assert authorise_renewal(house, holder(expired), expired, request(), Wish())
    with clock.pinned(last + timedelta(seconds=1)), pytest.raises(Conflict, match="expired"):
        authorise_renewal(house, holder(expired), expired, request(), Wish())


def test_only_leaves_are_renewed(house: Installation) -> None:
    """A CA and an OCSP signer are made anew by an admin and not renewed."""
    issuing = certificates.find(house.store, house.authorities.get("issuing").serial)
    for caller in (rig.ADMIN, holder(issuing)):
        with pytest.raises(Forbidden) as raised:
            authorise_renewal(house, caller, issuing, request(), Wish())
        assert raised.value.code == "not-a-leaf-profile"


def test_a_profile_that_was_narrowed_is_narrow_at_renewal(tmp_path: Path) -> None:
    """Names that the profile no longer allows anybody are not renewed; those that it does still are."""
    profiles = tmp_path / "profiles"
    shutil.copytree(rig.CONFIG / "profiles", profiles)
    store = open_store(f"sqlite:///{tmp_path}/certwright.db")
    house = rig.make_installation(store, profiles=profiles)
    stored = certificates.find(store, rig.issue(house, *NAMES[:2]).serial)
    path = profiles / "mesh.toml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("dns.under")))
    house.profiles.reload()
    assert not_renewed(house, holder(stored), stored, request()) == {"name-not-allowed"}
    assert authorise_renewal(house, holder(stored), stored, request(NAMES[0]), Wish()).names == (parse(NAMES[0]),)
    store.close()


def test_a_renewal_takes_no_subject(house: Installation, stored: Stored) -> None:
    """The subject of a leaf is made by its profile at this door as well: nobody renews itself into somebody else."""
    wish = Wish(subject=rig.common_name("root"))
    assert "subject-not-allowed" in not_renewed(house, holder(stored), stored, request(), wish)


def test_a_requester_renews_what_it_asked_for(house: Installation) -> None:
    """Under the rules, the profiles and the attributes that hold for it today, and nothing of anybody else."""
    stored = certificates.find(house.store, rig.issue(house, *NAMES[:2], caller=rig.REQUESTER).serial)
    made = authorise_renewal(house, rig.REQUESTER, stored, request(), Wish())
    assert (made.names, made.role, made.renews) == (stored.names(), Role.REQUESTER, stored.serial)
    assert made.attributes == rig.REQUESTER.attributes
    moved = dataclasses.replace(rig.REQUESTER, attributes={"namespace": "billing"})
    assert not_renewed(house, moved, stored, request()) == {"name-not-allowed"}
    narrow = dataclasses.replace(rig.REQUESTER, profiles=frozenset({"server"}))
    assert not_renewed(house, narrow, stored, request()) == {"profile-not-allowed"}
    assert not_renewed(house, rig.REQUESTER, stored, request("new.payments.svc.example.internal")) == {
        "identity-widened"
    }
    for identity in ("token:other", "token:requester2", "requester", "token:requeste", ""):
        with pytest.raises(Forbidden) as raised:
            authorise_renewal(house, dataclasses.replace(rig.REQUESTER, identity=identity), stored, request(), Wish())
        assert raised.value.code == "not-yours"


def test_a_token_renews_certificates_of_its_profiles(house: Installation, stored: Stored) -> None:
    """An operator's token for `server` alone does not renew what is of `mesh`."""
    narrow = dataclasses.replace(rig.OPERATOR, profiles=frozenset({"server"}))
    assert "profile-not-allowed" in not_renewed(house, narrow, stored, request())


def test_a_token_makes_authorities_of_its_profiles(house: Installation) -> None:
    """An admin's token for `mesh` alone does not make a CA."""
    narrow = dataclasses.replace(rig.ADMIN, profiles=frozenset({"mesh"}))
    with pytest.raises(PolicyRefusal, match="sub-ca"):
        authorise_authority(house, narrow, "sub-ca", request(), Wish(subject=rig.common_name("CA"), path_length=0))


NAME = st.sampled_from([*NAMES, "a.elsewhere.example", "10.0.0.1", "ada@example.internal", "*.svc.example.internal"])


@given(
    names=st.lists(NAME, max_size=3),
    profile=st.sampled_from(["mesh", "server", "client", "edge", "ocsp-signer", "sub-ca", "nothing"]),
    role=st.sampled_from(Role),
    common_name=st.sampled_from([None, "root", *NAMES]),
    lifetime=st.sampled_from(
        [None, timedelta(0), timedelta(seconds=-1), timedelta(days=9999), timedelta(microseconds=1)]
    ),
    profiles=st.sampled_from([None, frozenset[str](), frozenset({"mesh"})]),
)
@settings(deadline=None, max_examples=150)
def test_the_answer_is_a_decision_or_a_refusal(
    house: Installation,
    names: list[str],
    profile: str,
    role: Role,
    common_name: str | None,
    lifetime: timedelta | None,
    profiles: frozenset[str] | None,
) -> None:
    """For any mixture of caller, profile and wish there is no third outcome, and a decision fits all three."""
    caller = Caller("token:any", role, profiles=profiles, attributes={"namespace": "payments"})
    asked = request(*names, common_name=common_name)
    try:
        made = authorise_issue(house, caller, profile, asked, Wish(lifetime=lifetime))
    except (BadRequest, Forbidden, NotFound, PolicyRefusal):
        return
    assert profiles is None or profile in profiles
    assert made.names == tuple(dict.fromkeys(map(parse, names)))
    assert all(made.profile.allows_name(name, role, caller.attributes) for name in made.names)
    assert 0 < made.lifetime <= made.profile.longest
    assert common_name is None or common_name in {name.value for name in made.names}


def test_there_is_one_seal() -> None:
    """The seal is an object without a value: nothing is equal to it but itself."""
    assert type(enrolment._SEAL) is object
