"""Who signs: our CAs with their keys and algorithms, other issuers by what a certificate of theirs says, ML-DSA.

Which signature algorithm an issuer uses is read from its CA's certificate where that is ours, else from the newest
certificate of its that we have the bytes of; where we have none it is not known.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from sqlalchemy import func, select
from sqlmodel import col

from ca.authority import SIGNING
from ca.keys.algorithms import key_type_of
from ca.models import Authority
from ca.store import Store
from renewers.distribution import holdings
from renewers.distribution.streams import trust_stream
from renewers.inventory import shown
from renewers.inventory.facts import read_certificate
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Tracked, TrackedContent
from renewers.reports.monthly.keys import is_mldsa
from renewers.reports.monthly.tallying import Tally
from renewers.reports.monthly.walking import Owned, is_leaf

SHOWN = 20
TEXT = 120
UNKNOWN = "not known"
_ALGORITHMS = {
    "1.2.840.113549.1.1.4": "MD5 with RSA",
    "1.2.840.113549.1.1.5": "SHA-1 with RSA",
    "1.2.840.113549.1.1.10": "RSA-PSS",
    "1.2.840.113549.1.1.11": "SHA-256 with RSA",
    "1.2.840.113549.1.1.12": "SHA-384 with RSA",
    "1.2.840.113549.1.1.13": "SHA-512 with RSA",
    "1.2.840.10045.4.1": "ECDSA with SHA-1",
    "1.2.840.10045.4.3.2": "ECDSA with SHA-256",
    "1.2.840.10045.4.3.3": "ECDSA with SHA-384",
    "1.2.840.10045.4.3.4": "ECDSA with SHA-512",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_OF_KEYS = {"P-256": "ECDSA with SHA-256", "P-384": "ECDSA with SHA-384", "Ed25519": "Ed25519"}


class Signers:
    """Counts leaves by who signed them."""

    def __init__(self) -> None:
        self._issuers = Tally()

    def add(self, row: Any, owned: Owned) -> None:
        """One more; only leaves count."""
        del owned
        if is_leaf(row):
            self._issuers.add(row.issuer)

    def figures(self, lifecycle: Lifecycle) -> dict[str, Any]:
        """As the report keeps it."""
        own = [_authority(row) for row in lifecycle.installation.authorities.all()]
        by_subject = {row.pop("subject"): row["signs_with"] for row in own}
        issuers, others = self._issuers.top(SHOWN)
        return {
            "own": own,
            "issuers": [
                {
                    "issuer": shown.line(name, TEXT) or "(no name)",
                    "count": count,
                    "signs_with": by_subject.get(name) or _seen(lifecycle.store, name),
                    "is_ours": name in by_subject,
                }
                for name, count in issuers
            ],
            "issuers_other": others,
            "mldsa": _mldsa(lifecycle, own),
        }


def _authority(row: Authority) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(row.certificate)
    key_type = key_type_of(certificate.public_key())  # type: ignore[arg-type]  # ours are of known types
    word = "unknown" if key_type is None else key_type.value
    return {
        "name": row.name,
        "line": row.line,
        "state": row.state,
        "is_root": row.parent_id is None,
        "key_type": word,
        "signs_with": _OF_KEYS.get(word, word if is_mldsa(word) else "SHA-256 with RSA"),
        "not_before": row.not_before,
        "not_after": row.not_after,
        "sha256": read_certificate(row.certificate).identity.removeprefix("sha256:"),
        "subject": read_certificate(row.certificate).subject,
    }


def _seen(store: Store, issuer: str) -> str:
    """What the newest certificate of an issuer that we have was signed with."""
    query = (
        select(col(TrackedContent.der))
        .join(Tracked, col(Tracked.id) == col(TrackedContent.tracked_id))
        .where(col(Tracked.issuer) == issuer)
        .order_by(col(Tracked.id).desc())
        .limit(1)
    )
    with store.read() as connection:
        found = connection.execute(query).scalar()
    if not found:
        return UNKNOWN
    try:
        oid = x509.load_der_x509_certificate(found).signature_algorithm_oid.dotted_string
    except Exception:  # noqa: BLE001 - parsers raise what they like; what cannot be read is not known
        return UNKNOWN
    return _ALGORITHMS.get(oid, shown.line(oid, 60))


def _mldsa(lifecycle: Lifecycle, own: list[dict[str, Any]]) -> dict[str, Any]:
    """Issuing CAs that sign with ML-DSA, and consumers that were proved to hold a bundle with such a CA in it.

    To hold it is not yet to verify with it: no consumer says so.
    """
    signing = [row for row in own if row["state"] in SIGNING and not row["is_root"]]
    ready = sum(is_mldsa(row["key_type"]) for row in signing)
    with lifecycle.store.read() as connection:
        consumers = connection.execute(select(func.count()).select_from(Consumer)).scalar_one()
    holding = 0
    if ready:
        counts = holdings.counts(lifecycle.store).get(trust_stream(lifecycle.trust_domain))
        holding = 0 if counts is None else counts.current
    return {
        "issuing": len(signing),
        "issuing_mldsa": ready,
        "consumers": consumers,
        "consumers_holding": holding,
    }
