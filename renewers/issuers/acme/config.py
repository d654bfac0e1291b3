"""What the settings say about one CA that speaks ACME."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ca.errors import Misconfigured
from ca.keys.algorithms import KeyType
from ca.secret import Secret
from renewers import egress
from renewers.egress import Pin
from renewers.issuers.budget import Limit

CHALLENGES = ("http-01", "tls-alpn-01", "dns-01", "dns-persist-01")
ACCOUNT_KEYS = (KeyType.P256, KeyType.P384, KeyType.RSA2048, KeyType.RSA3072, KeyType.RSA4096)
"""What the library can sign requests with."""


@dataclass(frozen=True, slots=True)
class AcmeConfig:
    """One CA: where it is, who we are there, and how we prove what is ours. `Misconfigured` says what is wrong."""

    name: str
    directory: str
    """https alone: over plain http anybody on the way could be the CA (CVE-2025-54799)."""
    contact: tuple[str, ...] = ()
    terms_agreed: bool = False
    ca_file: Path | None = None
    """What its TLS is verified against; None for what the system trusts."""
    also_hosts: tuple[str, ...] = ()
    """Further hosts, beside the directory's, that its URLs may lead to."""
    eab_kid: str = ""
    eab_key: Secret | None = None
    """External account binding (RFC 8555 section 7.3.4): the key, base64url."""
    account_key_type: KeyType = KeyType.P256
    challenges: tuple[str, ...] = CHALLENGES
    """In the order of preference."""
    preferred_chain: str = ""
    """The common name of the root, or topmost issuer, that a chain should end in."""
    limits: tuple[Limit, ...] = ()
    clock_skew: int = 300
    """Seconds by which its clock may differ from ours."""

    def __post_init__(self) -> None:
        self.pin()
        if self.account_key_type not in ACCOUNT_KEYS:
            raise Misconfigured(f"{self.name}: an account key cannot be {self.account_key_type}")
        if odd := set(self.challenges) - set(CHALLENGES):
            raise Misconfigured(f"{self.name}: there is no challenge {min(odd)}", hint=", ".join(CHALLENGES))
        if bool(self.eab_kid) != (self.eab_key is not None):
            raise Misconfigured(f"{self.name}: external account binding takes a key id and a key")

    def pin(self) -> Pin:
        """The places that a conversation with it may reach."""
        return egress.pin(self.directory, self.also_hosts)

    @property
    def contacts(self) -> list[str]:
        """Mail addresses as ACME writes them."""
        return [each if ":" in each else f"mailto:{each}" for each in self.contact]
