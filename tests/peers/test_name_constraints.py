"""Name constraints as OpenSSL judges them: whatever we let pass it accepts, and what it refuses we refuse first."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import clock, hierarchy
from ca.authority import State
from ca.errors import BadRequest, PolicyRefusal
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.models import Certificate, Intent
from ca.x509.bundle import pem_certificate, pem_chain
from ca.x509.constraints import Limits, limits_of, objections, parse_limits
from ca.x509.names import Kind, Name, to_general_name
from tests import peer, rig
from tests.ca.world import count

pytestmark = pytest.mark.peer("openssl")

LABELS = ("a", "b", "internal", "example")
domains = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join)
dotted = st.tuples(st.sampled_from(["", "."]), domains).map("".join)
networks = st.tuples(st.integers(0, 255), st.integers(1, 31)).map(
    lambda parts: str(ip_network((f"10.{parts[0]}.7.1", parts[1]), strict=False))
)
SUBTREES = {
    Kind.DNS: dotted.map("dns:{}".format),
    Kind.URI: dotted.map("uri:{}".format),
    Kind.EMAIL: st.one_of(dotted.map("email:{}".format), domains.map("email:ada@{}".format)),
    Kind.IP: networks.map("ip:{}".format),
}
NAMES = {
    Kind.DNS: st.one_of(domains, domains.map("*.{}".format)),
    Kind.URI: st.one_of(
        domains.map("spiffe://{}/ns/a".format),
        domains.map("https://{}:8443/a".format),
        st.sampled_from(["urn:uuid:1", "https://10.0.0.1/"]),
    ),
    Kind.EMAIL: st.tuples(st.sampled_from(["ada", "Ada", "bob"]), domains).map("@".join),
    Kind.IP: st.one_of(st.integers(0, 255).map("10.{}.7.9".format), st.just("2001:db8::1")),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Limits | None, Name]:
    """Constraints, mostly of the kind of the name that they are to judge."""
    kind = draw(st.sampled_from(list(Kind)))
    subtrees = st.one_of(SUBTREES[kind], SUBTREES[kind], SUBTREES[draw(st.sampled_from(list(Kind)))])
    limits = parse_limits(draw(st.lists(subtrees, max_size=3)), draw(st.lists(subtrees, max_size=1)))
    return limits, Name(kind, draw(NAMES[kind]))


def made(subject: str, by: str, limits: Limits | None, alternative: tuple[Name, ...], *, is_ca: bool) -> bytes:
    """A certificate as anybody might make it, by none of our rules, with one key for all."""
    key, now = rig.pooled_key(), clock.now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(rig.common_name(subject))
        .issuer_name(rig.common_name(by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if limits is not None:
        builder = builder.add_extension(limits.extension(), critical=True)
    if alternative:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([to_general_name(name) for name in alternative]), critical=False
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def accepts(directory: Path, root: bytes, between: bytes, leaf: bytes) -> bool:
    """What `openssl verify` says."""
    for name, content in (("root.pem", root), ("ca.pem", between), ("leaf.pem", leaf)):
        (directory / name).write_bytes(content)
    argv = [peer.require("openssl"), "verify", "-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or "subtree" in done.stderr or "syntax" in done.stderr, done.stderr
    return done.returncode == 0


def is_stricter_here(limits: Limits, name: Name) -> bool:
    """Where we refuse what OpenSSL takes: a wildcard that reaches into what is excluded, a URI without a name."""
    kind = [subtree for subtree in (*limits.permitted, *limits.excluded) if subtree.kind is name.kind]
    return name.is_wildcard or (name.kind is Kind.URI and "10.0.0.1" in name.value and bool(kind))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_openssl_judges_as_we_do(tmp_path: Path, case: tuple[Limits | None, Name]) -> None:
    """Of every kind of name and constraint; stricter in two places, never laxer."""
    limits, name = case
    if limits is None:
        return
    root, between = (made(one, "Root", each, (), is_ca=True) for one, each in (("Root", None), ("CA", limits)))
    leaf = made("leaf", "CA", None, (name,), is_ca=False)
    assert limits_of(x509.load_pem_x509_certificate(between)) == limits, "what is written is read back"
    refused = objections([limits], x509.load_pem_x509_certificate(leaf))
    taken = accepts(tmp_path, root, between, leaf)
    assert taken or refused, "OpenSSL refuses what we would sign"
    assert not taken or not refused or is_stricter_here(limits, name), refused


@pytest.fixture
def constrained(installation: Installation) -> Installation:
    """A CA that may certify one domain without one host in it, one trust domain and one network."""
    limits = parse_limits(
        ["dns:shop.example.internal", "uri:example.internal", "ip:10.1.0.0/16"], ["dns:bad.shop.example.internal"]
    )
    plan = Plan("issuing", rig.common_name("Constrained"), KeyType.P256, crl_shards=2, limits=limits)
    row = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    hierarchy.transition(installation, rig.ADMIN, row.name, State.ACTIVE)
    return installation


def test_a_leaf_is_judged_before_anything_is_signed(constrained: Installation, tmp_path: Path) -> None:
    """Inside it is issued, and OpenSSL takes it; outside it is refused by the rule, and nothing is left of it."""
    issued = rig.issue(constrained, "api.shop.example.internal", profile="server")
    root = constrained.authorities.roots()[0].certificate
    assert accepts(
        tmp_path,
        pem_certificate(root).encode(),
        pem_chain(issued.chain).encode(),
        pem_certificate(issued.certificate).encode(),
    )
    rig.issue(constrained, rig.WORKLOAD)
    before = count(constrained.store, Certificate)
    for names in (["api.example.internal"], ["bad.shop.example.internal"], ["api.shop.example.internal", "10.2.0.1"]):
        with pytest.raises(PolicyRefusal) as refused:
            rig.issue(constrained, *names, profile="server")
        assert {reason.code for reason in refused.value.reasons} == {"name-constrained"}, names
    assert (count(constrained.store, Certificate), count(constrained.store, Intent)) == (before, 0)


def test_what_is_above_counts_too(installation: Installation) -> None:
    """A CA without constraints beneath one that has some is bound by them; an imported one's are read like ours."""
    limits = parse_limits(["dns:shop.example.internal"], [])
    root = hierarchy.create_root(
        installation, rig.ADMIN, Plan("narrow", rig.common_name("Narrow Root"), KeyType.P256, limits=limits)
    )
    plan = Plan("beneath", rig.common_name("Beneath"), KeyType.P256)
    row = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan, parent=root.name)
    issuer = installation.authorities.issuer(row.name)
    assert [str(subtree) for each in issuer.limits for subtree in each.permitted] == ["dns:shop.example.internal"]


@pytest.mark.parametrize(
    "text",
    ["shop.example", "dns:", "dns:*.a.example", "ip:10.0.0.1/8", "uri:https://a", "email:a@.b", "oid:1", "dns:ä"],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """With a rule and an example."""
    with pytest.raises(BadRequest) as refused:
        parse_limits([text], [])
    assert refused.value.code == "bad-constraint"
    assert refused.value.hint
