"""Certificates of the product itself, publications and probes; and the names that nobody else gets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ca import certificates, enrolment, issuance, policy, signing
from ca.access import Caller, Role
from ca.enrolment import Wish
from ca.errors import Conflict, Forbidden, Misconfigured, PolicyRefusal
from ca.installation import Installation
from ca.issuance import Issued, new_serial
from ca.keys.algorithms import KeyType, spki
from ca.profiles.collection import Profiles
from ca.profiles.dangers import find_dangers
from ca.profiles.profile import Profile, read_profile
from ca.profiles.reserved import is_reserved
from ca.signing import Order
from ca.store import open_store
from ca.x509.names import Kind, Name, make, parse
from tests import rig

SYSTEM = Caller("system:publications", Role.ADMIN)
PUBLICATIONS = "spiffe://example.internal/certwright/publications"
PROBE = "spiffe://example.internal/certwright/probe"
SHIPPED = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)
OPEN = """
description = "everything under the trust domain, and more"
issuer = "issuing"
lifetime = "1d"
longest = "7d"
keys = ["P-256"]
[usage]
extended = ["server_auth", "client_auth"]
[[allow]]
roles = ["operator"]
uri.like = ["spiffe://{trust_domain}/**", "spiffe://elsewhere.example/**"]
[[allow]]
roles = ["requester"]
uri.like = ["spiffe://{trust_domain}/{caller.namespace}/*"]
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of this file."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('system')}/certwright.db")
    yield rig.make_installation(store)
    store.close()


def publication(installation: Installation, caller: Caller = SYSTEM) -> Issued:
    """What signs publications."""
    decision = enrolment.authorise_publication(installation, caller, rig.make_request())
    return issuance.issue(decision, installation)


def probe(installation: Installation, caller: Caller = SYSTEM) -> Issued:
    """A probe signed by the active CA."""
    request = rig.make_request()
    return issuance.issue(enrolment.authorise_probe(installation, caller, request, authority="issuing-1"), installation)


@pytest.mark.parametrize(("make_one", "name", "days"), [(publication, PUBLICATIONS, 60), (probe, PROBE, 1)])
def test_what_the_product_issues_to_itself(installation: Installation, make_one, name: str, days: int) -> None:  # type: ignore[no-untyped-def]
    """One name and no subject, for servers and clients, with a CRL shard, for as long as the profile says."""
    issued = make_one(installation)
    certificate = rig.parsed(issued)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (list(san.value), san.critical) == ([x509.UniformResourceIdentifier(name)], True)
    assert list(certificate.subject) == []
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage._name for usage in usages} == {"serverAuth", "clientAuth"}
    assert certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc + timedelta(seconds=1)
    assert life == timedelta(days=days)


STRANGERS = [
    rig.ADMIN,
    rig.OPERATOR,
    rig.REQUESTER,
    rig.CONSUMER,
    rig.AUDITOR,
    Caller("token:system:x", Role.ADMIN),
    Caller("system:reader", Role.AUDITOR),
    Caller("system:x", Role.ADMIN, certificate="1"),
]


@pytest.mark.parametrize("caller", STRANGERS, ids=lambda caller: f"{caller.identity}-{caller.role}")
@pytest.mark.parametrize("make_one", [publication, probe])
def test_only_the_program_itself_may(installation: Installation, make_one, caller: Caller) -> None:  # type: ignore[no-untyped-def]
    """An admin with a token or at the socket is refused like anybody, and so is a certificate's holder."""
    with pytest.raises(Forbidden):
        make_one(installation, caller)


@pytest.mark.parametrize("caller", [SYSTEM, rig.ADMIN, rig.OPERATOR], ids=lambda caller: caller.identity)
@pytest.mark.parametrize("profile", ["publication", "probe", "cross-ca"])
def test_the_door_of_leaves_is_closed_to_these_profiles(
    installation: Installation, profile: str, caller: Caller
) -> None:
    """`authorise_issue` is what REST and every protocol end in: these kinds are not for it, whoever asks."""
    request = rig.make_request()
    with pytest.raises(Forbidden) as caught:
        enrolment.authorise_issue(installation, caller, profile, request, Wish(names=(parse(PROBE),)))
    assert caught.value.code == "not-a-leaf-profile"


@pytest.mark.parametrize("make_one", [publication, probe])
def test_they_are_not_renewed_by_their_holders(installation: Installation, make_one) -> None:  # type: ignore[no-untyped-def]
    """Whoever holds the key cannot make it last: neither as itself, nor as an admin."""
    stored = certificates.find(installation.store, make_one(installation).serial)
    holder = Caller(f"certificate:{stored.serial}", Role.HOLDER, certificate=stored.serial)
    for caller in (holder, rig.ADMIN, SYSTEM):
        with pytest.raises((Forbidden, Conflict)):
            enrolment.authorise_renewal(installation, caller, stored, rig.make_request(), Wish())


@pytest.mark.parametrize("name", [PROBE, PUBLICATIONS, "spiffe://example.internal/ns/a/sa/b", "a.example.internal"])
def test_a_request_does_not_choose_the_name(installation: Installation, name: str) -> None:
    """What the request asks for is not looked at: the name comes from the profile's kind."""
    decision = enrolment.authorise_publication(installation, SYSTEM, rig.make_request(name))
    assert list(map(str, decision.names)) == [f"uri:{PUBLICATIONS}"]


def test_a_profile_of_the_wrong_kind_is_a_mistake(tmp_path: Path, installation: Installation) -> None:
    """Where somebody has written a `probe.toml` for leaves, there are no probes, and it says why."""
    shutil.copytree(rig.CONFIG / "profiles", tmp_path / "profiles")
    (tmp_path / "profiles" / "probe.toml").write_text(OPEN)
    profiles = Profiles(tmp_path / "profiles", rig.VARIABLES)
    other = Installation(installation.store, installation.keys, profiles, installation.authorities, installation.ledger)
    with pytest.raises(Misconfigured, match="of kind leaf"):
        probe(other)


def open_profile(**variables: str) -> Profile:
    """A profile whose rules cover the reserved names, too."""
    return read_profile("open", OPEN, rig.VARIABLES | variables)


SEGMENT = st.sampled_from(["certwright", "Certwright", "CERTWRIGHT", "certwrights", "x", "ns", "publications", "probe"])
IDS = st.builds(
    lambda domain, segments: make(Kind.URI, "/".join([f"spiffe://{domain}", *segments])),
    st.sampled_from(["example.internal", "elsewhere.example"]),
    st.lists(SEGMENT, min_size=1, max_size=3),
)


@given(IDS, st.sampled_from(Role))
def test_reserved_names_are_refused_whatever_the_rules_say(name: Name, role: Role) -> None:
    """In every trust domain, in any case, for every role: what is first beneath the trust domain decides."""
    first = name.value.removeprefix("spiffe://").split("/")[1]
    attributes = None if role is Role.HOLDER else {"namespace": first}
    subject = policy.Subject([name], KeyType.P256, 60, role, attributes)
    codes = {reason.code for reason in policy.judge(open_profile(), subject)}
    assert ("name-reserved" in codes) == is_reserved(name) == (first.lower() == "certwright")
    if role is Role.OPERATOR:
        assert (codes == set()) == (first.lower() != "certwright")


def test_reserved_names_are_refused_early(tmp_path: Path, installation: Installation) -> None:
    """By the authoriser, with the reason, before anything is built."""
    shutil.copytree(rig.CONFIG / "profiles", tmp_path / "profiles")
    (tmp_path / "profiles" / "open.toml").write_text(OPEN)
    profiles = Profiles(tmp_path / "profiles", rig.VARIABLES)
    other = Installation(installation.store, installation.keys, profiles, installation.authorities, installation.ledger)
    assert rig.issue(other, "spiffe://example.internal/certwrights/probe", profile="open")
    for caller in (rig.OPERATOR, rig.ADMIN, SYSTEM):
        with pytest.raises(PolicyRefusal) as caught:
            rig.issue(other, PROBE, profile="open", caller=caller)
        assert [reason.code for reason in caught.value.reasons] == ["name-reserved"]
    crafty = Caller("token:c", Role.REQUESTER, profiles=frozenset({"open"}), attributes={"namespace": "certwright"})
    with pytest.raises(PolicyRefusal):
        rig.issue(other, PROBE, profile="open", caller=crafty)


@pytest.mark.parametrize("kind", ["leaf", "authority", "ocsp"])
@pytest.mark.parametrize("name", [PROBE, PUBLICATIONS])
def test_reserved_names_are_refused_in_the_final_judgement(installation: Installation, kind: str, name: str) -> None:
    """As read back from the bytes that are to be signed, whatever the decision was: for every other kind."""
    text = OPEN if kind == "leaf" else OPEN.partition("[usage]")[0] + f'kind = "{kind}"\n'
    text = text.replace("[usage]", "[names]\nmaximum = 9\n[usage]") if kind == "leaf" else text
    refused = judged(installation, read_profile("open", text, rig.VARIABLES), name)
    assert "name-reserved" in refused


@pytest.mark.parametrize(
    ("profile", "name"), [("publication", PROBE), ("probe", PUBLICATIONS), ("probe", rig.WORKLOAD)]
)
def test_the_final_judgement_knows_the_one_name_of_each_kind(
    installation: Installation, profile: str, name: str
) -> None:
    """A probe cannot come out as a signer of publications."""
    assert "name-not-allowed" in judged(installation, SHIPPED[profile], name)


def judged(installation: Installation, profile: Profile, name: str) -> set[str]:
    """The codes for which `signing.check` refuses a certificate of this profile with this name."""
    issuer = installation.authorities.issuer_for("issuing")
    is_ca = profile.config.kind == "authority"
    order = Order(
        profile=profile,
        serial=new_serial(),
        spki=spki(rig.pooled_key().public_key()),
        key_type=KeyType.P256,
        names=(parse(name),),
        subject=rig.common_name("x").public_bytes() if profile.config.kind in ("authority", "ocsp") else None,
        not_before=issuer.facts.not_before,
        not_after=issuer.facts.not_before + 3599,
        path_length=0 if is_ca else None,
        shard=0 if profile.names_crl else None,
        role=Role.ADMIN,
        attributes={},
    )
    with pytest.raises(PolicyRefusal) as caught:
        signing.check(signing.build(order, issuer), order, issuer)
    return {reason.code for reason in caught.value.reasons}


SYSTEM_PROFILE = """
description = "of the system"
kind = "probe"
issuer = "issuing"
lifetime = "1d"
longest = "7d"
keys = ["P-256"]
[usage]
extended = ["server_auth", "client_auth"]
"""
DANGERS = {
    "system-usages": SYSTEM_PROFILE.replace('"server_auth", ', ""),
    "system-without-crl": SYSTEM_PROFILE + '[revocation]\ncheck = "none"\n',
    "long-probe": SYSTEM_PROFILE.replace('"7d"', '"8d"'),
    "authority-for-roles": SYSTEM_PROFILE + '[[allow]]\nroles = ["operator"]\ndns.under = ["{domain}"]\n',
    "reserved-name": OPEN.replace("spiffe://elsewhere.example/**", "spiffe://elsewhere.example/certwright/*"),
}


@pytest.mark.parametrize("code", DANGERS)
def test_dangerous_system_profiles_are_never_loaded(code: str) -> None:
    """These are mistakes that nobody can accept."""
    found = find_dangers(read_profile("test", DANGERS[code], rig.VARIABLES))
    assert [danger.is_error for danger in found if danger.code == code] == [True]
    assert find_dangers(read_profile("test", SYSTEM_PROFILE, rig.VARIABLES)) == []


def test_without_a_trust_domain_there_is_no_system_profile() -> None:
    """Its name could not be written."""
    with pytest.raises(Misconfigured, match="trust domain"):
        read_profile("test", SYSTEM_PROFILE, {"domain": "example.internal"})


def test_an_older_installation_gets_the_built_in_profiles(tmp_path: Path) -> None:
    """Those that the program needs come from the shipped ones while the directory has none; the others do not."""
    directory = tmp_path / "profiles"
    shutil.copytree(rig.CONFIG / "profiles", directory)
    for name in ("cross-ca", "probe", "publication", "edge"):
        (directory / f"{name}.toml").unlink()
    names = {profile.name for profile in Profiles(directory, rig.VARIABLES)}
    assert {"cross-ca", "probe", "publication"} & names == set()
    profiles = Profiles(directory, rig.VARIABLES, shipped=rig.CONFIG / "profiles")
    assert {profile.name for profile in profiles} == names | {"cross-ca", "probe", "publication"}
    assert profiles["probe"].text == SHIPPED["probe"].text
    assert profiles.directory_of("probe") == rig.CONFIG / "profiles"
    assert profiles.directory_of("mesh") == directory
    own = SHIPPED["probe"].text.replace('"1d"', '"2d"')
    (directory / "probe.toml").write_text(own)
    assert profiles.has_changed()
    assert [profile.name for profile in profiles.reload()] == ["probe"]
    assert profiles["probe"].text == own
    with pytest.raises(Misconfigured, match="there are no profiles"):
        Profiles(tmp_path, rig.VARIABLES, shipped=rig.CONFIG / "profiles")
