"""pkilint, a linter by people who audit CAs: what it says of our certificates and lists, put together as its tools do.

Two of its checks are not ours, and `ca/x509/deeplint` has to overrule them. Its URI check knows web addresses alone, so
that SPIFFE IDs and URNs are syntax errors to it. Its domain check wants a public suffix, which `localhost` has not, and
takes the star of a wildcard for a syntax error (RFC 5280 leaves wildcards undefined, RFC 9525 section 6.3 defines
them). What each profile draws is stated here one by one: a finding more, or one that is gone, makes a test fail.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ca.authority import PublicUrls
from ca.installation import Installation
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType
from ca.profiles.collection import Profiles
from ca.specimen import make_specimen
from ca.store import Store
from ca.x509 import deeplint
from tests import peer, rig
from tests.peers.conftest import MakeMaterial
from tests.peers.material import AUTHORITIES, NAMES, SHARDS, Material

pytestmark = pytest.mark.peer("pkilint")

Findings = set[tuple[str, str | None]]
Linter = Callable[[bytes], Findings]

URI, DOMAIN = "pkix.invalid_uri_syntax", "pkix.invalid_domain_name_syntax"
NOT_OURS: dict[str, Findings] = {
    "device": {(URI, 'Invalid URI syntax: "urn:dev:mac:0024befffe804ff1"')},
    "edge": {(DOMAIN, 'Invalid domain name syntax: "*.edge.example.internal"')},
    "ephemeral": {(URI, 'Invalid URI syntax: "spiffe://example.internal/ns/batch/sa/job"')},
    "mesh": {(URI, f'Invalid URI syntax: "{rig.WORKLOAD}"')},
    "server": {(DOMAIN, 'Invalid domain name syntax: "localhost"')},
}
"""The errors that pkilint finds in a leaf of a profile, and that we do not take for errors."""

SHIPPED_URL = tomllib.loads((rig.CONFIG / "certwright.toml").read_text())["installation"]["public_url"]
SHIPPED = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)
LEAVES = [(name, key_type) for name in NAMES for key_type in sorted(SHIPPED[name].keys)]


@pytest.fixture(scope="session")
def pkilint() -> Any:
    """The package, or the end of this test."""
    if not deeplint.is_available():
        peer.missing("pkilint is not installed (pip install 'certwright[lint]')")
    import pkilint

    return pkilint


@pytest.fixture(scope="session")
def lint_certificate(pkilint: Any) -> Linter:
    """What `lint_pkix_cert` finds in a DER certificate: errors and worse, and warnings."""
    from pkilint import loader
    from pkilint.pkix import certificate, extension, name

    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    return lambda der: _findings(validator.validate(load(der, "certificate").root))


@pytest.fixture(scope="session")
def lint_list(pkilint: Any) -> Linter:
    """What `lint_crl --profile PKIX` finds in a DER list: errors and worse, and warnings."""
    from pkilint import loader, pkix
    from pkilint.pkix import crl, extension, name

    validator = crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )
    load = loader.RFC5280CertificateListDocumentLoader().load_der_document
    return lambda der: _findings(validator.validate(load(der, "crl").root))


def _findings(results: Any) -> Findings:
    from pkilint.validation import ValidationFindingSeverity

    found = [finding for result in results for finding in result.finding_descriptions]
    worst = ValidationFindingSeverity.WARNING.value  # on its scale, lower is worse
    return {(one.finding.code, one.message) for one in found if one.finding.severity.value <= worst}


@pytest.mark.parametrize(("profile", "key_type"), LEAVES, ids=[f"{name}-{key_type}" for name, key_type in LEAVES])
def test_leaves(material: Material, lint_certificate: Linter, profile: str, key_type: KeyType) -> None:
    """A leaf of every profile with every key type that the profile allows has no finding but what is not ours."""
    key = rig.pooled_key(key_type)
    issued = rig.issue(material.installation, *NAMES[profile], profile=profile, key=key)
    assert lint_certificate(issued.certificate) == NOT_OURS.get(profile, set())


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_authorities_and_those_who_speak_for_them(
    material_of: MakeMaterial, lint_certificate: Linter, key_type: KeyType
) -> None:
    """A root, both issuing CAs, an OCSP signer, and a leaf under CA keys of every type."""
    material = material_of(key_type)
    for name in AUTHORITIES:
        assert lint_certificate(material.authority(name).with_suffix(".der").read_bytes()) == set(), name
    assert lint_certificate(material["ocsp-signer"].der.read_bytes()) == set()
    assert lint_certificate(material["client"].der.read_bytes()) == set()


@pytest.mark.parametrize("key_type", sorted(SHIPPED["ocsp-signer"].keys))
def test_ocsp_signers(lint_certificate: Linter, pkilint: Any, key_type: KeyType) -> None:
    """With every key type that the profile allows."""
    assert lint_certificate(make_specimen(SHIPPED["ocsp-signer"], key_type)) == set()


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_lists(material_of: MakeMaterial, lint_list: Linter, key_type: KeyType) -> None:
    """Complete lists and shards, empty ones and others, of all CAs."""
    material = material_of(key_type)
    sizes = {}
    for past in (True, False):
        for path in (*(material.crl(name, past=past) for name in AUTHORITIES), *_shards(material, past)):
            der = path.with_suffix(".der").read_bytes()
            sizes[path.name] = len(x509.load_der_x509_crl(der))
            assert lint_list(der) == set(), path.name
    assert sizes["past-issuing-crl.pem"] == sizes["past-issuing-0-crl.pem"] == 0
    assert sizes["issuing-crl.pem"] == sum(size for name, size in sizes.items() if name.startswith("issuing-")) / 2 > 0


def _shards(material: Material, past: bool) -> list[Path]:
    return [material.shard_crl(number, past=past) for number in range(SHARDS)]


@pytest.mark.parametrize("profile", NAMES)
def test_a_profile_may_have_every_certificate_linted(store: Store, tmp_path: Path, pkilint: Any, profile: str) -> None:
    """With `pkilint = "always"` a shipped profile issues what it is for."""
    installation = _always_linted(store, tmp_path, profile)
    rig.make_hierarchy(installation)
    assert rig.issue(installation, *NAMES[profile], profile=profile).profile == profile


@pytest.mark.parametrize("public_url", [SHIPPED_URL, "http://certwright:8080"])
def test_every_certificate_may_be_linted_whatever_the_public_url(
    store: Store, tmp_path: Path, pkilint: Any, public_url: str
) -> None:
    """The shipped `public_url` is on localhost, and in a cluster a service has a name of one label."""
    installation = _always_linted(store, tmp_path, "client")
    installation.authorities.urls = PublicUrls(public_url)
    rig.make_hierarchy(installation)
    assert rig.issue(installation, *NAMES["client"], profile="client").profile == "client"


def _always_linted(store: Store, directory: Path, profile: str) -> Installation:
    """An installation without CAs, one of whose profiles asks for pkilint at every issuance."""
    profiles = directory / "profiles"
    shutil.copytree(rig.CONFIG / "profiles", profiles)
    with (profiles / f"{profile}.toml").open("a") as file:
        file.write('\n[lint]\npkilint = "always"\n')
    installation = rig.make_installation(store, profiles=profiles, with_hierarchy=False)
    assert installation.profiles[profile].config.lint.pkilint == "always"
    return installation


def test_what_is_not_ours_is_overruled_and_nothing_else(pkilint: Any, material: Material) -> None:
    """`deep_lint` lets these findings pass, and none that comes with them."""
    for profile in NAMES:
        assert deeplint.deep_lint(material[profile].der.read_bytes()) == []
    without_key_identifier = material["mesh"].der.read_bytes().replace(b"\x06\x03\x55\x1d\x23", b"\x06\x03\x55\x1d\x24")
    assert "authority_key_identifier" in str(deeplint.deep_lint(without_key_identifier))
