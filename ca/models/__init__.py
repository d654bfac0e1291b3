"""The tables of this floor: what was issued and revoked, and who may ask. Times are whole seconds since the epoch.

Nothing secret is stored here: private keys live in a `KeyStore`, tokens and sessions as hashes.
"""

from ca.models.approving import Approval
from ca.models.ceremonies import Ceremony
from ca.models.issuing import (
    Answer,
    ApiToken,
    Authority,
    BlockedKey,
    Certificate,
    CertificateName,
    CrossCertificate,
    DeltaList,
    Fact,
    Intent,
    Lease,
    LedgerEntry,
    LedgerHead,
    ProfileVersion,
    Revocation,
    RevocationList,
    RevocationListContent,
)
from ca.models.proving import LedgerTile
from ca.models.requesting import AuthorityRequest
from ca.models.revoking import Released, UnrecordedRevocation
from ca.models.signing_in import BrowserSession, SignInLink

__all__ = [
    "Answer",
    "ApiToken",
    "Approval",
    "Authority",
    "AuthorityRequest",
    "BlockedKey",
    "BrowserSession",
    "Ceremony",
    "Certificate",
    "CertificateName",
    "CrossCertificate",
    "DeltaList",
    "Fact",
    "Intent",
    "Lease",
    "LedgerEntry",
    "LedgerHead",
    "LedgerTile",
    "ProfileVersion",
    "Released",
    "Revocation",
    "RevocationList",
    "RevocationListContent",
    "SignInLink",
    "UnrecordedRevocation",
]
