"""The judge: who may have what, every reason at once, and a certificate that says what was judged and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import clock, policy, signing
from ca.access import Role
from ca.authority import Issuer
from ca.issuance import new_serial
from ca.keys.algorithms import KeyType, spki
from ca.policy import MOST_REASONS, Subject, judge
from ca.profiles.collection import Profiles
from ca.profiles.profile import Profile, read_profile
from ca.signing import Order
from ca.store import open_store
from ca.x509.certificate import preview
from ca.x509.lint import lint
from ca.x509.names import Kind, Name, make, parse
from tests import rig

PROFILES = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)
ALL = list(PROFILES)
LEAVES = [profile for profile in ALL if profile.config.kind == "leaf"]
MESH = PROFILES["mesh"]

ALLOWED: dict[Role, set[str]] = {
    Role.ADMIN: {"client", "device", "edge", "ephemeral", "mesh", "server", "ocsp-signer", "sub-ca"}
    | {"cross-ca", "probe", "publication"},
    Role.OPERATOR: {"client", "device", "edge", "ephemeral", "mesh", "server"},
    Role.REQUESTER: {"client", "device", "ephemeral", "mesh", "server"},
    Role.CONSUMER: set(),
    Role.AUDITOR: set(),
    Role.HOLDER: {"client", "device", "edge", "ephemeral", "mesh", "server"},
}
"""What `allow.roles` of the shipped files says: an admin may what an operator may, a holder may renew anything."""
NAME_OF = {
    "client": "ada@example.internal",
    "device": "s1.scooters.devices.example.internal",
    "edge": "a.edge.example.internal",
    "ephemeral": rig.WORKLOAD,
    "mesh": rig.WORKLOAD,
    "probe": "spiffe://example.internal/certwright/probe",
    "publication": "spiffe://example.internal/certwright/publications",
    "server": "a.example.internal",
}
OWN = {"namespace": "payments", "fleet": "scooters", "user": "ada"}


def subject(profile: Profile, role: Role = Role.OPERATOR, **other: object) -> Subject:
    """What the profile is made for, with something else in its place."""
    names = [parse(NAME_OF[profile.name])] if profile.name in NAME_OF else []
    key_type = next(iter(profile.config.keys))
    attributes = None if role is Role.HOLDER else OWN
    return Subject(names, key_type, profile.lifetime, role, attributes)._replace(**other)


def codes(profile: Profile, subject: Subject) -> list[str]:
    """The codes of all reasons."""
    return [reason.code for reason in judge(profile, subject)]


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@pytest.mark.parametrize("role", Role)
def test_the_table_of_roles_and_profiles(role: Role, profile: Profile) -> None:
    """A role gets from a profile what the table says: nothing against it, or at least that it is not its role's."""
    found = codes(profile, subject(profile, role))
    if profile.name in ALLOWED[role]:
        assert found == []
    else:
        assert "role-not-allowed" in found


def test_the_table_is_complete() -> None:
    """Every shipped profile and every role is in it."""
    assert set(ALLOWED) == set(Role)
    assert set.union(*ALLOWED.values()) == {profile.name for profile in PROFILES}


@pytest.mark.parametrize("profile", LEAVES, ids=lambda profile: profile.name)
def test_every_key_type_is_judged(profile: Profile) -> None:
    """The profile's key types are allowed and all others are not; an unknown kind is left to the check of keys."""
    for key_type in KeyType:
        found = codes(profile, subject(profile, key_type=key_type))
        assert found == ([] if key_type in profile.config.keys else ["key-type-not-allowed"])
    assert codes(profile, subject(profile, key_type=None)) == []


@pytest.mark.parametrize("profile", LEAVES, ids=lambda profile: profile.name)
def test_a_lifetime_is_judged_to_the_second(profile: Profile) -> None:
    """One second is the least, `longest` is the most, and both are inside."""
    for lifetime in (1, profile.lifetime, profile.longest):
        assert codes(profile, subject(profile, lifetime=lifetime)) == []
    for lifetime in (-1, 0, profile.longest + 1, 2**63):
        assert codes(profile, subject(profile, lifetime=lifetime)) == ["lifetime-not-allowed"]


@pytest.mark.parametrize("profile", LEAVES, ids=lambda profile: profile.name)
def test_the_number_of_names_is_judged(profile: Profile) -> None:
    """Minimum and maximum are inside; none, and one too many, are outside."""
    [name] = subject(profile).names
    limits = profile.config.names
    for count in (limits.minimum - 1, limits.minimum, limits.maximum, limits.maximum + 1):
        names = [name] * count
        expected = [] if limits.minimum <= count <= limits.maximum else ["number-of-names"]
        found = [code for code in codes(profile, subject(profile, names=names)) if code != "one-spiffe-id"]
        assert found == expected


def test_all_reasons_are_given_at_once() -> None:
    """Role, key, lifetime, number of names, two SPIFFE IDs, and each name: nothing has to be found one by one."""
    names = [parse(f"spiffe://elsewhere.example/{place}") for place in range(11)]
    found = Counter(codes(MESH, Subject(names, KeyType.RSA2048, 10**9, Role.AUDITOR, {})))
    assert found == {
        "role-not-allowed": 1,
        "key-type-not-allowed": 1,
        "lifetime-not-allowed": 1,
        "number-of-names": 1,
        "one-spiffe-id": 1,
        "name-not-allowed": 11,
    }


@pytest.mark.parametrize("count", [1, MOST_REASONS, MOST_REASONS + 1, 1000])
def test_many_refused_names_are_counted_and_not_listed(count: int) -> None:
    """After twenty names the rest is a number, and the numbers add up."""
    names = [parse(f"a{place}.elsewhere.example") for place in range(count)]
    reasons = [r for r in judge(MESH, subject(MESH, names=names)) if r.code == "name-not-allowed"]
    assert len(reasons) == min(count, MOST_REASONS + 1)
    if count > MOST_REASONS:
        assert reasons[-1].message.startswith(f"{count - MOST_REASONS} more names")
    for name, reason in zip(names[:MOST_REASONS], reasons, strict=False):
        assert str(name) in reason.message


def test_a_reason_names_the_rules_that_there_are() -> None:
    """Whoever is refused a name is told which names it can have, and where that is written."""
    [reason] = judge(MESH, subject(MESH, Role.REQUESTER, names=[parse("a.billing.svc.example.internal")]))
    assert "under {caller.namespace}.svc.example.internal" in reason.message
    assert reason.rule == "mesh: allow.dns"
    [reason] = judge(MESH, subject(MESH, names=[parse("10.0.0.1")]))
    assert "no ip names are allowed" in reason.message


def test_one_spiffe_id_stands_alone() -> None:
    """An X.509-SVID has one URI, whatever the second one is; without a SPIFFE ID several URIs are fine."""
    text = MESH.text.replace("[[allow]]", '[[allow]]\nuri.like = ["urn:a:*"]\nroles = ["operator"]\n[[allow]]', 1)
    profile = read_profile("test", text, rig.VARIABLES)
    spiffe, one, other = parse(rig.WORKLOAD), parse("urn:a:1"), parse("urn:a:2")
    assert codes(profile, subject(MESH, names=[one, other])) == []
    assert codes(profile, subject(MESH, names=[spiffe])) == []
    for names in ([spiffe, one], [one, spiffe], [spiffe, spiffe]):
        assert codes(profile, subject(MESH, names=names)) == ["one-spiffe-id"]


def test_authorities_have_no_names() -> None:
    """A CA and an OCSP signer are for admins, and a name is one too many."""
    for name in ("sub-ca", "ocsp-signer"):
        profile = PROFILES[name]
        for role in Role:
            expected = [] if role is Role.ADMIN else ["role-not-allowed"]
            assert codes(profile, subject(profile, role)) == expected
        found = codes(profile, subject(profile, Role.ADMIN, names=[parse("a.example.internal")]))
        assert found == ["number-of-names"]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """The issuing CA of an installation."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('policy')}/certwright.db")
    yield rig.make_installation(store).authorities.issuer_for("issuing")
    store.close()


LABEL = st.sampled_from(["a", "b1", "payments", "billing", "scooters", "ada", "api", "x-y"])
LABELS = st.lists(LABEL, max_size=3)
HOSTS = st.builds(
    lambda star, labels, tail: ".".join([*star, *labels, tail]),
    st.sampled_from([[], [], [], ["*"]]),
    LABELS,
    st.sampled_from(
        [
            *("example.internal", "svc.example.internal", "edge.example.internal", "devices.example.internal"),
            *("payments.svc.example.internal", "scooters.devices.example.internal", "clients.example.internal"),
            *("localhost", "evil-example.internal", "example.internal.evil.example", "internal"),
        ]
    ),
)
URIS = st.one_of(
    st.builds(
        lambda domain, segments: "/".join([f"spiffe://{domain}", *segments]),
        st.sampled_from(["example.internal", "elsewhere.example"]),
        st.one_of(
            st.lists(LABEL, max_size=5),
            st.builds(lambda space, account: ["ns", space, "sa", account], LABEL, LABEL),
        ),
    ),
    st.builds(lambda word: f"urn:dev:mac:{word}", LABEL),
    st.builds(lambda labels: "urn:dev:" + ":".join(["ow", *labels]), LABELS),
    st.just("https://example.internal/a"),
)
MAILS = st.builds(
    lambda user, domain: f"{user}@{domain}",
    st.sampled_from(["ada", "root", "a.b"]),
    st.sampled_from(["example.internal", "a.example.internal", "elsewhere.example"]),
)
ADDRESSES = st.one_of(
    st.sampled_from(
        ["127.0.0.1", "::1", "203.0.113.7", "10.255.0.1", "172.31.0.1", "172.32.0.1", "fd00::1", "fe80::1"]
    ),
    st.ip_addresses().map(str),
)
NAME = st.one_of(
    st.builds(make, st.just(Kind.DNS), HOSTS),
    st.builds(make, st.just(Kind.URI), URIS),
    st.builds(make, st.just(Kind.EMAIL), MAILS),
    st.builds(make, st.just(Kind.IP), ADDRESSES),
)


@cache
def encoded_key(key_type: KeyType) -> bytes:
    """The public key that certificates are made for."""
    return spki(rig.pooled_key(key_type).public_key())


WORKLOADS = st.builds(lambda space, account: f"spiffe://example.internal/ns/{space}/sa/{account}", LABEL, LABEL)
FITTING = {
    "mesh": [WORKLOADS, st.builds("{}.payments.svc.example.internal".format, LABEL)],
    "ephemeral": [WORKLOADS, st.builds("{}.svc.example.internal".format, LABEL)],
    "server": [st.builds("{}.example.internal".format, LABEL), st.sampled_from(["localhost", "::1", "10.1.2.3"])],
    "edge": [st.builds("*.{}.edge.example.internal".format, LABEL), st.sampled_from(["10.1.2.3", "fd00::1"])],
    "device": [st.builds("{}.scooters.devices.example.internal".format, LABEL), st.sampled_from(["urn:dev:ow:1"])],
    "client": [st.builds("{}@example.internal".format, LABEL), st.builds("{}.clients.example.internal".format, LABEL)],
}


@st.composite
def questions(draw: st.DrawFn) -> tuple[Profile, Subject, str]:
    """A leaf profile, a subject that might fit it, and the word that its attributes are."""
    profile = draw(st.sampled_from(LEAVES))
    fitting = st.one_of(*FITTING[profile.name]).map(parse)
    least = draw(st.sampled_from([0, 1, 1, 1]))
    names = draw(st.lists(st.one_of(*[fitting] * 6, NAME), min_size=least, max_size=least + 1, unique=True))
    key_type = draw(st.sampled_from([*profile.config.keys] * 3 + [KeyType.MLDSA44, KeyType.RSA2048]))
    lifetime = draw(st.one_of(st.integers(1, profile.longest), st.sampled_from([1, profile.longest, 10**7])))
    role = draw(st.sampled_from([Role.OPERATOR, Role.OPERATOR, Role.REQUESTER, Role.REQUESTER, *Role]))
    own = {"mesh": "payments", "ephemeral": "payments", "device": "scooters"}.get(profile.name, "ada")
    word = draw(st.sampled_from([own, own, own, "a", "*", "", "a.b"]))
    attributes = None if role is Role.HOLDER else {"namespace": word, "fleet": word, "user": word}
    return profile, Subject(names, key_type, lifetime, role, attributes), word


@given(questions())
@settings(deadline=None, max_examples=300)
def test_what_is_judged_is_what_is_certified(issuer: Issuer, question: tuple[Profile, Subject, str]) -> None:
    """Without a reason against it, a certificate has exactly these names; a name outside the rules is one (row 5)."""
    profile, judged, word = question
    reasons = judge(profile, judged)
    outside = [name for name in judged.names if not _is_inside(profile.name, name, judged.role, word)]
    assert sum(reason.code == "name-not-allowed" for reason in reasons) == len(outside)
    if reasons:
        return
    certificate = preview(_build(issuer, profile, judged), issuer.scheme.identifier)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [rig.general_name(name) for name in judged.names]
    assert lint(certificate, issuer.facts) == []


def _build(issuer: Issuer, profile: Profile, judged: Subject) -> bytes:
    serial, begins = new_serial(), clock.timestamp()
    order = Order(
        profile=profile,
        serial=serial,
        spki=encoded_key(judged.key_type or KeyType.P256),
        key_type=judged.key_type or KeyType.P256,
        names=tuple(judged.names),
        subject=None,
        not_before=begins,
        not_after=begins + judged.lifetime - 1,
        path_length=None,
        shard=issuer.shard_of(serial) if profile.names_crl else None,
        role=judged.role,
        attributes=judged.attributes,
    )
    tbs = signing.build(order, issuer)
    signing.check(tbs, order, issuer)
    return tbs


def _is_inside(profile: str, name: Name, role: Role, word: str) -> bool:
    """The rules of the shipped profiles, by hand. An operator, and a holder, are bound to no word."""
    if role in (Role.CONSUMER, Role.AUDITOR) or (profile, name.kind) not in INSIDE:
        return False
    if role is not Role.REQUESTER:
        return INSIDE[profile, name.kind](name.value, None)
    if profile != "server" and word not in ("payments", "scooters", "ada", "a"):
        return False
    return (profile, name.kind) in REQUESTED and INSIDE[profile, name.kind](name.value, word)


def _is_workload(value: str, word: str | None) -> bool:
    parts = value.split("/")
    is_ours = len(parts) == 7 and parts[:4] == ["spiffe:", "", "example.internal", "ns"] and parts[5] == "sa"
    return is_ours and word in (None, parts[4])


def _is_beneath(value: str, domain: str, word: str | None = None) -> bool:
    return value.endswith(f".{domain}" if word is None else f".{word}.{domain}") and "*" not in value


def _is_device(value: str, word: str | None) -> bool:
    parts = value.split(":")
    return len(parts) == 4 and parts[:2] == ["urn", "dev"] and parts[2] in ("mac", "ow", "os")


def _is_ours(value: str, word: str | None) -> bool:
    user, _, domain = value.partition("@")
    return domain == "example.internal" and word in (None, user)


def _is_private(value: str, word: str | None) -> bool:
    first, second, *_ = [*value.split("."), ""]
    return value.startswith(("10.", "192.168.", "fd")) or (first == "172" and 16 <= int(second) <= 31)


def _is_near(value: str, word: str | None) -> bool:
    return value == "::1" or value.startswith("127.") or _is_private(value, word)


INSIDE: dict[tuple[str, Kind], Callable[[str, str | None], bool]] = {
    ("mesh", Kind.URI): _is_workload,
    ("mesh", Kind.DNS): lambda value, word: _is_beneath(value, "svc.example.internal", word),
    ("ephemeral", Kind.URI): _is_workload,
    ("ephemeral", Kind.DNS): lambda value, word: _is_beneath(value, "svc.example.internal"),
    ("server", Kind.DNS): lambda value, word: value == "localhost" or _is_beneath(value, "example.internal"),
    ("server", Kind.IP): _is_near,
    ("edge", Kind.DNS): lambda value, word: value.endswith(".edge.example.internal"),
    ("edge", Kind.IP): _is_private,
    ("device", Kind.DNS): lambda value, word: _is_beneath(value, "devices.example.internal", word),
    ("device", Kind.URI): _is_device,
    ("client", Kind.EMAIL): _is_ours,
    ("client", Kind.DNS): lambda value, word: _is_beneath(value, "clients.example.internal"),
}
REQUESTED = {
    *(("mesh", Kind.URI), ("mesh", Kind.DNS), ("ephemeral", Kind.URI), ("server", Kind.DNS), ("server", Kind.IP)),
    *(("device", Kind.DNS), ("client", Kind.EMAIL)),
}
"""What a requester gets, with its own word where the rule has one."""


def test_the_module_asks_no_clock_and_no_store() -> None:
    """Judging is a pure function: the same question has the same answer."""
    asked = subject(MESH, names=[parse("a.elsewhere.example")])
    assert judge(MESH, asked) == judge(MESH, asked)
    assert {"clock", "store"} & set(vars(policy)) == set()
