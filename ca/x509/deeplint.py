"""The deep lint: pkilint, an optional extra, at 2 to 3 ms a certificate.

It runs when a profile is loaded or changed, on a sample in service, and on every certificate where a profile says so.
Two of its checks are overruled, since they want names of the public web: its URI check knows neither SPIFFE IDs nor
URNs nor hosts without a public suffix, its domain check neither wildcards nor `localhost`. Names are typed and checked
by `ca/x509/names`, and `ca/signing` compares each with the decision; the URLs of our own pointers are a setting's.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from ca.errors import Misconfigured, Reason

_OVERRULED = frozenset({"pkix.invalid_uri_syntax", "pkix.invalid_domain_name_syntax"})


def is_available() -> bool:
    """Whether pkilint is installed (`pip install certwright[lint]`)."""
    return importlib.util.find_spec("pkilint") is not None


def deep_lint(certificate: bytes) -> list[Reason]:
    """What pkilint calls an error, or worse, in a DER certificate. `Misconfigured` if it is not installed."""
    if not is_available():
        raise Misconfigured("pkilint is not installed", hint="pip install 'certwright[lint]'")
    document, validator = _load(certificate), _certificate_validator()
    found = []
    for result in validator.validate(document.root):
        for finding in result.finding_descriptions:  # on its scale, lower is worse
            if finding.finding.severity.value <= _error_level() and finding.finding.code not in _OVERRULED:
                text = f"{finding.finding.code}: {finding.message or ''}".rstrip(": ")
                found.append(Reason("deep-lint", text, "pkilint"))
    return found


def _load(certificate: bytes) -> Any:
    from pkilint import loader

    return loader.RFC5280CertificateDocumentLoader().load_der_document(certificate, "certificate")


@cache
def _error_level() -> int:
    from pkilint.validation import ValidationFindingSeverity

    return int(ValidationFindingSeverity.ERROR.value)


@cache
def _certificate_validator() -> Any:
    from pkilint.pkix import certificate, extension, name

    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
