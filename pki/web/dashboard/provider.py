"""Speaking to an OpenID Connect provider: its description, its keys, and a code for a statement (RFC 6749, RFC 8414).

Everything goes out through `renewers/egress`, over verified TLS, to the hosts that the settings name and no others,
wherever the description points: a description is believed only if it calls itself what the settings call it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

from ca import clock
from ca.errors import Misconfigured, NotDelivered, Unauthenticated, Unavailable
from pki.jwt_keys import ProviderKeys
from pki.mail_settings import OidcSettings
from pki.secret_files import read_secret
from pki.web.dashboard.flow import Flow
from pki.web.jwt_identity import Expected, verify

if TYPE_CHECKING:
    from renewers.egress import PinnedSession

DESCRIPTION_KEPT = 3600
SECONDS = 10.0
AT_ONCE = 4
"""How many conversations with one provider there are at a time: a slow one must not take all threads."""
YOUNGEST = 600
MAX_ANSWER = 1 << 18
_PLAIN = re.compile(r"https://[!-~]{1,2000}")


class Provider:
    """One provider, as the settings name it."""

    def __init__(self, settings: OidcSettings, state: Path) -> None:
        self.settings = settings
        self._state = state
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._described: tuple[float, Mapping[str, Any]] | None = None
        self._keys = ProviderKeys(lambda: self._get(self._endpoint("jwks_uri")))

    def where(self, flow: Flow, back: str) -> str:
        """Where a browser is sent to sign in (section 3.1.2.1 of OpenID Connect Core, RFC 7636 section 4.3)."""
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": back,
            "scope": " ".join(dict.fromkeys(["openid", *self.settings.scopes])),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def claims(self, code: str, flow: Flow, back: str) -> Mapping[str, Any]:
        """What it says of who came back with a code, verified."""
        answer = self._exchange(code, flow, back)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated(f"{self.settings.name} does not say who you are", code="bad-identity-token")
        expected = Expected(self.settings.issuer, self.settings.client_id, flow.nonce, YOUNGEST)
        return verify(token, self._keys, expected)

    def check_issuer(self, said: str | None) -> None:
        """RFC 9207: an answer that names another issuer, or none where the provider promises to, is another's."""
        promised = self._description().get("authorization_response_iss_parameter_supported") is True
        if said != self.settings.issuer and (said is not None or promised):
            raise Unauthenticated("this answer comes from another provider", code="bad-identity-token")

    def _exchange(self, code: str, flow: Flow, back: str) -> Mapping[str, Any]:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": flow.verifier,
            "client_id": self.settings.client_id,
        }
        auth = self._authentication(fields)
        with self._speaking() as session:
            endpoint = self._endpoint("token_endpoint")
            answer = session.post(endpoint, data=fields, auth=auth, headers={"Accept": "application/json"})
        if answer.status_code != 200:
            raise Unauthenticated(
                f"{self.settings.name} does not take the code that you came back with",
                code="bad-identity-token",
                hint="sign in again",
            )
        return self._document(answer.content)

    def _authentication(self, fields: dict[str, str]) -> tuple[str, str] | None:
        """How we say who we are (RFC 6749 section 2.3.1): by HTTP if the provider takes that, else in the form."""
        if not self.settings.client_secret_file:
            return None
        secret = read_secret(self._state / self.settings.client_secret_file).reveal()
        ways = self._description().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if isinstance(ways, list) and "client_secret_basic" not in ways:
            fields["client_secret"] = secret
            return None
        return quote_plus(self.settings.client_id), quote_plus(secret)

    def _endpoint(self, name: str) -> str:
        found = self._description().get(name)
        if not isinstance(found, str) or not _PLAIN.fullmatch(found):
            raise Misconfigured(f"{self.settings.name} names no {name} that can be used")
        return found

    def _description(self) -> Mapping[str, Any]:
        if self._described is not None and clock.monotonic() - self._described[0] < DESCRIPTION_KEPT:
            return self._described[1]
        found = self._get(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.settings.issuer:
            hint = "dashboard.oidc.issuer in the settings has to be what the provider calls itself"
            raise Misconfigured(f"{self.settings.name} calls itself by another name than the settings do", hint=hint)
        self._described = (clock.monotonic(), found)
        return found

    def _get(self, url: str) -> Mapping[str, Any]:
        with self._speaking() as session:
            answer = session.get(url, headers={"Accept": "application/json"})
        if answer.status_code != 200:
            raise Unavailable(f"{self.settings.name} answered {answer.status_code}", code="provider-unavailable")
        return self._document(answer.content)

    def _document(self, content: bytes) -> Mapping[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unavailable(f"{self.settings.name} does not answer in JSON", code="provider-unavailable")
        return found

    @contextmanager
    def _speaking(self) -> Iterator[PinnedSession]:
        from renewers import egress

        if not self._turns.acquire(blocking=False):
            raise Unavailable(f"many are signing in with {self.settings.name} at once", code="provider-unavailable")
        try:
            ca_file = self._state / self.settings.ca_file if self.settings.ca_file else None
            places = egress.pin(self.settings.issuer, self.settings.also_hosts)
            deadline = clock.monotonic() + SECONDS
            with egress.PinnedSession(places, ca_file=ca_file, deadline=deadline, most=MAX_ANSWER) as session:
                yield session
        except NotDelivered as error:
            raise Unavailable(error.message, code="provider-unavailable") from None
        finally:
            self._turns.release()
