"""What a row has to say, as far as its certificate and its ledger entry tell. Each function names the wrong columns.

Much of a row is a copy of what stands in the certificate, for searching and sorting. A copy that was changed hides a
certificate from its owner, or from its CRL, as well as a change of the original would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography import x509

from ca.certificates import Stored, display_name
from ca.ledger.verify import Entry
from ca.models import ApiToken, Authority, BlockedKey, CrossCertificate, Released, Revocation, UnrecordedRevocation
from ca.x509.certificate import algorithm_of, fingerprint, preview, serial_text, spki_of
from ca.x509.revocation_list import RevocationReason

_REASONS = {reason.word: reason for reason in RevocationReason}
_SHARD = re.compile(r"/crl/[^/]+/(\d+)\.crl")


def wrong_in_issued(row: Stored, entry: Entry) -> list[str]:
    """A certificate against its issuance."""
    return _differing(
        {**_certificate(row), "certificate": fingerprint(row.der), "recorded_at": row.recorded_at},
        _copies(row)
        | _said(entry, "authority", "profile", "not_after", "renews")
        | {
            "certificate": entry.body.get("sha256"),
            "requested_by": entry.body.get("by"),
            "recorded_at": entry.body.get("at"),
        },
    )


def wrong_in_abandoned(row: Stored, entry: Entry) -> list[str]:
    """A certificate that was given up against the entry that says so."""
    return _differing(
        {**_certificate(row), "signature": row.signature, "tbs": sha256(row.tbs).hexdigest(), "at": row.recorded_at},
        _copies(row)
        | _said(entry, "authority", "profile", "not_after", "renews", "requested_by", "at")
        | {"signature": None, "tbs": entry.body.get("tbs_sha256")},
    )


def wrong_in_revocation(row: Revocation, entry: Entry, certificate: Any) -> list[str]:
    """A revocation against its entry and, where it is still stored, its certificate's row."""
    wrong = _differing(
        {"revoked_at": row.revoked_at, "change": row.change, "reason": row.reason, "revoked_by": row.revoked_by},
        _said(entry, "revoked_at", "change")
        | {"reason": _REASONS.get(str(entry.body.get("reason"))), "revoked_by": entry.body.get("by")},
    )
    if certificate is not None:
        wrong += [name for name in ("authority_id", "shard", "not_after") if getattr(row, name) != certificate[name]]
    return wrong


def wrong_in_release(row: Released, entry: Entry, certificate: Any) -> list[str]:
    """A release against its entry and, where it is still stored, its certificate's row."""
    names = ("held_at", "released_at", "change")
    wrong = _differing(
        {**{name: getattr(row, name) for name in names}, "released_by": row.released_by},
        _said(entry, *names) | {"released_by": entry.body.get("by")},
    )
    if certificate is not None and row.authority_id != certificate["authority_id"]:
        wrong.append("authority_id")
    return wrong


def wrong_in_unrecorded(row: UnrecordedRevocation, entry: Entry) -> list[str]:
    """The revocation of a certificate that we do not know against its entry, and against that very certificate."""
    names = ("revoked_at", "change", "shard", "not_after")
    parsed = x509.load_der_x509_certificate(row.certificate)
    ends = int(parsed.not_valid_after_utc.timestamp())
    found = {name: getattr(row, name) for name in names}
    return _differing(
        found | {"certificate": fingerprint(row.certificate), "reason": row.reason, "revoked_by": row.revoked_by},
        _said(entry, *names)
        | {"certificate": entry.body.get("sha256"), "revoked_by": entry.body.get("by")}
        | {"reason": _REASONS.get(str(entry.body.get("reason"))), "not_after": ends},
    )


def wrong_in_authority(row: Authority, entry: Entry) -> list[str]:
    """An authority against its creation; its state and the label of its key have a history of their own."""
    names = ("line", "generation", "parent_id", "serial", "not_after", "crl_shards", "created_at")
    wrong = _differing({name: getattr(row, name) for name in names}, _said(entry, *names))
    if fingerprint(row.certificate) != entry.body.get("sha256"):
        return [*wrong, "certificate"]
    parsed = x509.load_der_x509_certificate(row.certificate)
    found = {"spki_sha256": row.spki_sha256, "not_before": row.not_before}
    told = {
        "spki_sha256": sha256(spki_of(parsed.tbs_certificate_bytes)).digest(),
        "not_before": int(parsed.not_valid_before_utc.timestamp()),
    }
    return wrong + _differing(found, told)


def wrong_in_cross(row: CrossCertificate, entry: Entry, ids: Mapping[str, int | None]) -> list[str]:
    """A cross-certificate against the entry that says whose it is and who made it; `ids` are those of authorities."""
    found = {name: getattr(row, name) for name in ("authority_id", "issuer_id", "not_after")}
    told = {"authority_id": ids.get(entry.subject), "issuer_id": ids.get(str(entry.body.get("issuer")))}
    wrong = _differing(found, told | _said(entry, "not_after"))
    return wrong if fingerprint(row.certificate) == entry.body.get("sha256") else [*wrong, "certificate"]


def wrong_in_token(row: ApiToken, entry: Entry) -> list[str]:
    """A token against its creation; its revocation is an entry of its own."""
    names = ("name", "role", "profiles", "attributes", "expires_at", "created_at")
    found = {name: getattr(row, name) for name in names}
    return _differing(
        found | {"secret_sha256": row.secret_sha256.hex(), "created_by": row.created_by},
        _said(entry, *names, "secret_sha256") | {"created_by": entry.body.get("by")},
    )


def wrong_in_blocked(row: BlockedKey, entry: Entry) -> list[str]:
    """A blocked key against the entry that blocked it."""
    return _differing(
        {"reason": row.reason, "blocked_at": row.blocked_at},
        _said(entry, "reason") | {"blocked_at": entry.body.get("at")},
    )


def _certificate(row: Stored) -> dict[str, Any]:
    names = ("serial", "subject", "shard", "spki_sha256", "not_before", "not_after")
    return {name: getattr(row, name) for name in (*names, "authority", "profile", "requested_by", "renews")}


def _copies(row: Stored) -> dict[str, Any]:
    """The columns that repeat what stands in the certificate."""
    parsed = preview(row.tbs, algorithm_of(row.tbs))
    return {
        "serial": serial_text(parsed.serial_number),
        "subject": display_name(parsed),
        "shard": _shard_in(parsed),
        "spki_sha256": sha256(spki_of(row.tbs)).digest(),
        "not_before": int(parsed.not_valid_before_utc.timestamp()),
    }


def _shard_in(certificate: x509.Certificate) -> int | None:
    """The CRL shard that a certificate of ours names."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return None
    found = [_SHARD.search(str(name.value)) for point in points for name in point.full_name or ()]
    return next((int(match[1]) for match in found if match is not None), None)


def _said(entry: Entry, *names: str) -> dict[str, Any]:
    return {name: entry.body.get(name) for name in names}


def _differing(found: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """The names of what is found to be other than it was told."""
    return [name for name, value in told.items() if found[name] != value]
