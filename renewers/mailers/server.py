"""A mail server as the settings name it, and what we are to it: how long we wait, who we are, by which password.

Nothing is said to anybody here; `conversation.py` does.
"""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from ca.errors import BadRequest, Misconfigured
from ca.secret import Secret
from ca.x509 import names
from ca.x509.names import Kind
from renewers.bounded import Allowance, bounded_tls, trusting
from renewers.plain import one_line
from renewers.urls import is_loopback


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: until a connection stands, until a letter is handed over, until it is answered for, for a short word."""

    opening: float = 30.0
    handing_over: float = 60.0
    answering: float = 120.0
    """RFC 5321 section 4.5.3.2.6 has ten minutes, which no worker has: who needs longer gets a letter twice."""
    word: float = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed over. Its `ca_file` is read anew for every connection."""

    host: str
    port: int
    security: str = "starttls"
    """`starttls`, `tls` (from the first byte), or `none`."""
    ca_file: Path | None = None
    username: str = ""
    password: Secret | None = None
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        """`Misconfigured` if it is not to be talked to like this."""
        if self.security not in ("starttls", "tls", "none"):
            raise Misconfigured(f"there is no {one_line(self.security, 40)} for mail", hint="starttls, tls or none")
        if self.security == "none" and (self.username or not is_loopback(self.host)):
            raise Misconfigured(f"{self} is spoken to without TLS", hint="that is for this machine, and no password")
        if self.ca_file is not None:
            trusting(self.ca_file)  # what holds no certificate is said now, and not with the first letter

    def __str__(self) -> str:
        return one_line(f"{self.host}:{self.port}", 280)

    @property
    def secrets(self) -> list[str]:
        """What must not be shown, in the spellings in which it is sent: the longest first, which holds others."""
        if self.password is None:
            return []
        return [self.credentials, base64_of(self.password.reveal()), self.password.reveal()]

    @property
    def credentials(self) -> str:
        """User name and password for SASL's PLAIN (RFC 4616)."""
        return base64_of(f"\0{self.username}\0{self.password.reveal() if self.password else ''}")

    def context(self, allowance: Allowance) -> ssl.SSLContext:
        """TLS towards it: verified, its name too, at least 1.2 (RFC 8314 section 4.1), over bounded sockets."""
        context = trusting(self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = bounded_tls(allowance)
        return context


def base64_of(text: str) -> str:
    """Base64 of its UTF-8, on one line."""
    return b64encode(text.encode()).decode()


def our_name(connected: socket.socket) -> str:
    """What we call ourselves: the name of this machine if it is a whole one, else its address (RFC 5321 4.1.3).

    No resolver is asked: it may take as long as it likes.
    """
    name = socket.gethostname()
    try:
        if "." in name:
            return names.make(Kind.DNS, name).value
    except BadRequest:
        pass
    address = ip_address(connected.getsockname()[0].partition("%")[0])
    return f"[IPv6:{address}]" if isinstance(address, IPv6Address) else f"[{address}]"
