"""Which certificates name the responder: those whose profile says so, beside their CRL; none that need no status."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

from ca import clock
from ca.errors import Misconfigured
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType
from ca.profiles.collection import Profiles
from ca.profiles.dangers import find_dangers
from ca.profiles.profile import read_profile
from ca.specimen import lint_profile, make_specimen
from ca.store import open_store
from ca.x509.lint import lint
from tests import rig

RESPONDER = f"{rig.PUBLIC_URL}/ocsp"
BOTH = '\n[revocation]\ncheck = "crl+ocsp"\n'


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One in which servers' and CAs' certificates name the responder, and nothing else does."""
    directory = tmp_path_factory.mktemp("named")
    shutil.copytree(rig.CONFIG / "profiles", directory / "profiles")
    for name in ("server", "sub-ca"):
        path = directory / "profiles" / f"{name}.toml"
        path.write_text(path.read_text() + BOTH)
    store = open_store(f"sqlite:///{directory}/certwright.db")
    yield rig.make_installation(store, profiles=directory / "profiles")
    store.close()


def places(certificate: x509.Certificate) -> list[tuple[x509.ObjectIdentifier, str]]:
    """What its authority information access says."""
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    return [(one.access_method, one.access_location.value) for one in access]


def server(installation: Installation) -> Issued:
    """A certificate of the profile that names it."""
    return rig.issue(installation, "a.example.internal", profile="server")


def test_it_is_named_beside_the_list_and_the_issuer(installation: Installation) -> None:
    """First of all: clients take the first place that they know how to ask."""
    certificate = rig.parsed(server(installation))
    assert places(certificate) == [
        (AuthorityInformationAccessOID.OCSP, RESPONDER),
        (AuthorityInformationAccessOID.CA_ISSUERS, f"{rig.PUBLIC_URL}/ca/issuing-1.cer"),
    ]
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    shard = certificate.serial_number % 4
    assert [name.value for name in points[0].full_name or ()] == [f"{rig.PUBLIC_URL}/crl/issuing-1/{shard}.crl"]


def test_others_do_not_name_it(installation: Installation) -> None:
    """Whose profile says nothing of it, and those that say that nobody looks."""
    for profile in ("mesh", "ephemeral"):
        certificate = rig.parsed(rig.issue(installation, profile=profile))
        assert [method for method, _ in places(certificate)] == [AuthorityInformationAccessOID.CA_ISSUERS]


def test_a_ca_can_name_it_too(installation: Installation) -> None:
    """As its profile says."""
    issuing = x509.load_der_x509_certificate(installation.authorities.get("issuing-1").certificate)
    assert (AuthorityInformationAccessOID.OCSP, RESPONDER) in places(issuing)


def test_such_a_profile_is_sound(installation: Installation) -> None:
    """Nothing about it is dangerous, and no lint finds anything."""
    profile = Profiles(installation.profiles.directory, rig.VARIABLES)["server"]
    assert {danger.code for danger in find_dangers(profile)} == {"whole-top-level"}
    assert lint_profile(profile) == []


def test_what_speaks_for_the_product_names_its_list_alone() -> None:
    """Who checks a publication or a probe goes by lists."""
    text = (rig.CONFIG / "profiles" / "publication.toml").read_text() + BOTH
    assert "system-without-crl" in {danger.code for danger in find_dangers(read_profile("test", text, rig.VARIABLES))}
    with pytest.raises(Misconfigured, match=r"revocation\.check"):
        read_profile("test", text.replace("crl+ocsp", "ocsp"), rig.VARIABLES)


def test_a_responder_names_none_whatever_its_profile_says(installation: Installation) -> None:
    """It has ocsp-nocheck: to ask it about itself would prove nothing (RFC 6960 section 4.2.2.2.1)."""
    text = (rig.CONFIG / "profiles" / "ocsp-signer.toml").read_text() + BOTH
    specimen = make_specimen(read_profile("test", text, rig.VARIABLES), KeyType.P256)
    assert [method for method, _ in places(x509.load_der_x509_certificate(specimen))] == [
        AuthorityInformationAccessOID.CA_ISSUERS
    ]


def test_no_revocation_and_a_responder_exclude_each_other() -> None:
    """RFC 9608 section 3: the lint refuses what a wrong program would make."""
    key = rig.pooled_key()
    access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://a/ocsp"))
    made = (
        x509.CertificateBuilder()
        .subject_name(rig.common_name("a"))
        .issuer_name(rig.common_name("b"))
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(5)
        .not_valid_before(clock.now())
        .not_valid_after(clock.now())
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"), critical=False)
    )
    found = lint(made.sign(key, hashes.SHA256()), None)  # type: ignore[arg-type]
    assert [reason.message for reason in found if reason.rule == "RFC 9608 3"] == [
        "noRevAvail and the place of an OCSP responder exclude each other"
    ]
