"""Our own CA as an issuer: the same door as everybody's, `ca.issuance.issue`, with an idempotency key for each renewal.

The renewer asks as an operator under its own name, so profiles decide what it may have. A renewal that is tried again
after a crash is answered with the certificate that its first attempt got.
"""

from __future__ import annotations

from datetime import timedelta

from ca import enrolment, issuance
from ca.access import Caller, Role
from ca.enrolment import Wish
from ca.errors import Conflict, IssuerUnavailable, Unavailable
from ca.installation import Installation
from ca.x509.request import read_request
from renewers.issuers import Memory, Obtained, Wanted

RENEWER = Caller("system:renewers", Role.OPERATOR)
DEFAULT_PROFILE = "server"
AFTER_A_TWIN = 30
"""Seconds until we ask again for what another attempt may still be answered with."""


class InternalIssuer:
    """An `Issuer` over an installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def obtain(self, wanted: Wanted, memory: Memory) -> Obtained:
        """Decide and issue, as for any other caller."""
        lifetime = None if wanted.lifetime is None else timedelta(seconds=wanted.lifetime)
        wish = Wish(names=wanted.names, lifetime=lifetime, idempotency_key=wanted.reference)
        request = read_request(wanted.csr)
        profile = wanted.profile or DEFAULT_PROFILE
        decision = enrolment.authorise_issue(self._installation, RENEWER, profile, request, wish)
        if not memory.is_finalized:
            memory.commit()
        try:
            issued = issuance.issue(decision, self._installation)
        except Unavailable as error:
            raise IssuerUnavailable(error.message, hint=error.hint) from error
        except Conflict as error:
            if error.code != "in-progress":
                raise
            # An attempt that died between its intent and its certificate; `ca.recording` gives such up after a while.
            raise IssuerUnavailable(error.message, code=error.code, retry_after=AFTER_A_TWIN) from error
        return Obtained(issued.certificate, issued.chain)

    def check(self) -> None:
        """Whether there is an issuing CA that is active."""
        profile = self._installation.profiles[DEFAULT_PROFILE]
        self._installation.authorities.issuer_for(profile.config.issuer)
