"""Who asks: from the connection and the headers of a request to a `Caller`, or to nobody.

Three credentials count. The Unix socket: whoever could open it owns the state directory. A token in `Authorization`,
ours or, where the settings name its issuer, a JSON Web Token (`jwt_bearers.py`). A client certificate of ours, shown in
the TLS handshake of this very connection; a header that claims one means nothing here. A credential that is presented
and does not hold is refused, even where none would have been needed.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.requests import HTTPConnection

from ca import certificates, clock
from ca.access import Caller, Role, required
from ca.authority import TRUSTED
from ca.certificates import Stored
from ca.errors import Forbidden, NotFound, Unauthenticated
from ca.x509.certificate import serial_text
from pki.product import Product
from pki.web.jwt_bearers import JwtBearers, is_jwt
from pki.web.limits import RateLimiter

LOCAL = "certwright.local"
"""In the ASGI scope of a connection over the Unix socket: the user id at its other end."""
CERTIFICATE = "certwright.certificate"
"""In the ASGI scope of a TLS connection: the client's certificate, DER, if it presented one."""

FRESH_FOR = 1.0
"""Seconds for which a certificate that was just checked need not be checked again."""
MAX_REMEMBERED = 10_000


def _no_session() -> Caller | None:
    """Programs have none: a cookie authorises nothing of the API."""
    return None


class Identity:
    """Turns requests into callers, and holds each caller to its rate."""

    def __init__(self, product: Product) -> None:
        self._product = product
        limits = product.settings.limits
        self._limiter = RateLimiter(limits.per_second, limits.burst)
        self._anonymous = RateLimiter(limits.anonymous_per_second, limits.anonymous_burst)
        self.jwt = JwtBearers(product)
        self._remembered: dict[bytes, tuple[float, Caller]] = {}
        self.forgetful: list[Callable[[], None]] = []
        """What else is to be forgotten when something is revoked."""

    async def prepare(self, request: HTTPConnection) -> None:
        """Before anything else: what has to be fetched to know a caller. Nothing that comes after speaks to anybody."""
        if LOCAL not in request.scope and (token := _bearer(request)) is not None and is_jwt(token):
            await self.jwt.prepare(token)

    def caller(self, request: HTTPConnection) -> Caller:
        """The caller, or `Unauthenticated`. Takes one token from its bucket."""
        return required(self.maybe(request))

    def maybe(self, request: HTTPConnection, session: Callable[[], Caller | None] = _no_session) -> Caller | None:
        """The caller, or None if no credential was presented.

        Pages pass what tells of a `session`: who has signed in has said who it wants to be, and so that speaks before a
        certificate, which has to hold all the same.
        """
        scope = request.scope
        if (user := scope.get(LOCAL)) is not None:
            return Caller(f"local:uid={user}", Role.ADMIN, is_local=True)
        try:
            found = self._credential(request)
            if "authorization" not in request.headers:
                found = session() or found
        except (Unauthenticated, Forbidden):  # that it is genuine makes nobody of somebody to whom nothing is granted
            self._anonymous.take(_address(request))
            raise
        if found is None:
            self._anonymous.take(_address(request))
        else:
            self._limiter.take(found.identity)
        return found

    def stranger(self, request: HTTPConnection) -> None:
        """Take one token from the bucket of whoever comes without a credential, where none is asked for."""
        if LOCAL not in request.scope:
            self._anonymous.take(_address(request))

    def forget(self) -> None:
        """Check every credential again: something was revoked here."""
        self._remembered.clear()
        self._product.tokens.forget()
        for forget in self.forgetful:
            forget()

    def _credential(self, request: HTTPConnection) -> Caller | None:
        """A token speaks before a certificate, but neither makes up for one beside it that does not hold."""
        der = request.scope.get(CERTIFICATE)
        holder = None if der is None else self._holder(der)
        token = _bearer(request)
        if token is None:
            return holder
        return self.jwt.caller(token) if is_jwt(token) else self._product.tokens.caller(token)

    def _holder(self, der: bytes) -> Caller:
        fingerprint = sha256(der).digest()
        until, caller = self._remembered.get(fingerprint, (0.0, None))
        if caller is not None and clock.monotonic() < until:
            return caller
        caller = self._check(der)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[fingerprint] = (clock.monotonic() + FRESH_FOR, caller)
        return caller

    def _check(self, der: bytes) -> Caller:
        """The holder of a certificate that TLS has verified: it has to be, byte for byte, one of ours, and valid."""
        parsed = x509.load_der_x509_certificate(der)
        serial = serial_text(parsed.serial_number)
        try:
            stored = certificates.find(self._product.installation.store, serial)
            is_ours = stored.signature is not None and stored.der == der
        except NotFound:
            is_ours = False
        if not is_ours:
            raise Unauthenticated("the client certificate is not one that this installation has issued")
        self._check_standing(stored)
        if not _may_authenticate(parsed):
            raise Unauthenticated("the client certificate is not for client authentication (RFC 5280 4.2.1.12)")
        return self._granted(stored)

    def certified(self, serial: str) -> Caller:
        """What the certificate with a serial number proves of who once showed it: for a session that rests on it."""
        try:
            stored = certificates.find(self._product.installation.store, serial)
        except NotFound:
            raise Unauthenticated(f"there is no certificate {serial} any more", code="certificate-not-valid") from None
        self._check_standing(stored)
        return self._granted(stored)

    def _check_standing(self, stored: Stored) -> None:
        if stored.state != "valid":
            reason = f"the client certificate {stored.serial} is {stored.state}"
            raise Unauthenticated(reason, code="certificate-not-valid")
        if (state := self._product.installation.authorities.get(stored.authority).state) not in TRUSTED:
            raise Unauthenticated(f"{stored.authority}, which signed it, is {state}", code="certificate-not-valid")

    def _granted(self, stored: Stored) -> Caller:
        """What the settings grant to this profile and name; else the certificate is good for itself alone."""
        identity = f"certificate:{stored.serial}"
        held = {str(name) for name in stored.names()}
        for grant in self._product.settings.identity.certificates:
            if grant.profile == stored.profile and grant.name in held:
                profiles = None if grant.profiles is None else frozenset(grant.profiles)
                return Caller(identity, grant.role, profiles, certificate=stored.serial)
        return Caller(identity, Role.HOLDER, frozenset(), certificate=stored.serial)


def _may_authenticate(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages


def _bearer(request: HTTPConnection) -> str | None:
    """The one token that a request carries."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    if len(headers) > 1:  # who looked at the first before us, and who at the last?
        raise Unauthenticated("there are several Authorization headers", hint="send one token")
    scheme, _, value = headers[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("the Authorization header is not a bearer token")
    return value.strip()


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client is not None else "unknown"
