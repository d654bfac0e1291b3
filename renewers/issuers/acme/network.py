"""How a conversation with a CA is carried: signed requests with fresh nonces, to the places of its pin alone.

The `acme` library signs and keeps the nonces. It would also follow every URL that it is given, retry a refused nonce
once, lose the type of a conflict, and wait as long as a CA likes; so what goes out and what comes in passes here. One
`Network` serves one operation in one thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from acme import errors, messages
from acme.client import ClientNetwork
from cryptography.hazmat.primitives.asymmetric import rsa
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256, ES384, RS256
from josepy.jwk import JWK, JWKEC, JWKRSA

from ca.errors import IssuerRefusal, IssuerUnavailable, NotDelivered
from ca.keys.algorithms import KeyType, PrivateKey, key_type_of
from renewers.egress import USER_AGENT, PinnedSession
from renewers.issuers.acme.config import AcmeConfig
from renewers.issuers.acme.problems import plain
from renewers.issuers.acme.replies import Reply, nonsense

NONCE_TRIES = 24
"""Pebble can refuse every other good nonce: with this many tries, one request in 16 million still fails."""
LONGEST_NONCE = 512
_ALGORITHMS = {KeyType.P256: ES256, KeyType.P384: ES384}


class Message(JSONDeSerializable):
    """What is sent: fields as they are. The library's own messages drop some and choke on others."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def to_partial_json(self) -> Mapping[str, Any]:
        """The fields."""
        return self._fields

    @classmethod
    def from_json(cls, jobj: Any) -> Message:
        """A message of these fields."""
        return cls(**jobj)


def as_jwk(key: PrivateKey) -> JWK:
    """A key as the library has it."""
    return JWKRSA(key=key) if isinstance(key, rsa.RSAPrivateKey) else JWKEC(key=key)


def algorithm_of(key: PrivateKey) -> Any:
    """How it signs requests."""
    kind = key_type_of(key.public_key())
    return RS256 if kind is None else _ALGORITHMS.get(kind, RS256)


class Network(ClientNetwork):
    """The library's network, with its gaps closed. A context: leaving it closes what is open."""

    def __init__(self, config: AcmeConfig, deadline: float) -> None:
        super().__init__(user_agent=USER_AGENT)
        self.session.close()
        self._pin = config.pin()
        self._name = config.name
        self.session = PinnedSession(self._pin, ca_file=config.ca_file, deadline=deadline)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_error: object) -> None:
        self.session.close()

    def speak_as(self, key: PrivateKey, account_url: str | None) -> None:
        """Sign with this key from now on: as the account, or to become one."""
        self.key, self.alg = as_jwk(key), algorithm_of(key)
        self.account = None
        if account_url is not None:
            self.account = messages.RegistrationResource(body=messages.Registration(), uri=account_url)

    def place(self, url: str, what: str) -> str:
        """The URL, if it is within the pin; `IssuerRefusal` if the CA would send us elsewhere."""
        if self._pin.permits(url):
            return url
        raise IssuerRefusal(
            f"{self._name} would send us to {plain(url, 100)} for {what}, which is not a place of its own",
            code="foreign-url",
            hint="if it belongs to that CA, name its host in also_hosts",
        )

    def fetch(self, url: str, what: str) -> Reply:
        """GET, unsigned."""
        return self._reply(self._send_request("GET", self.place(url, what)), what)

    def ask(self, url: str, payload: Message | None, what: str, *, new_nonce: str) -> Reply:
        """POST, signed; without a payload it is a POST-as-GET (RFC 8555 section 6.3). A refused nonce is tried anew."""
        self.place(url, what)
        for _ in range(NONCE_TRIES):
            data = self._wrap_in_jws(payload, self._get_nonce(url, new_nonce), url)
            response = self._send_request("POST", url, data=data, headers={"Content-Type": self.JOSE_CONTENT_TYPE})
            self._keep_nonce(response)
            reply = self._reply(response, what)
            problem = reply.problem
            if problem is None or problem.kind != "badNonce":
                return reply
        raise IssuerUnavailable(f"{self._name}: it refused {NONCE_TRIES} of its own nonces for {what}")

    def proof_of(self, key: PrivateKey, payload: Message, url: str) -> Message:
        """A request signed by another key than the account's, to be sent within one (RFC 8555 section 7.3.5)."""
        mine = self.key, self.alg, self.account
        self.speak_as(key, None)
        try:
            signed = self._wrap_in_jws(payload, None, url)  # type: ignore[arg-type]  # the inner one has no nonce
        finally:
            self.key, self.alg, self.account = mine
        return Message(**json.loads(signed))

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Through the pinned session; nothing of it is logged."""
        headers = {"User-Agent": self.user_agent, "Accept-Encoding": "identity", **kwargs.pop("headers", {})}
        try:
            return self.session.request(method, url, headers=headers, **kwargs)
        except NotDelivered as error:
            raise IssuerUnavailable(f"{self._name}: {error.message}") from None

    def _get_nonce(self, url: str, new_nonce_url: str) -> str:
        if not self._nonces:
            response = self.head(self.place(new_nonce_url, "a nonce"))
            reply = self._reply(response, "a nonce").check()
            self._keep_nonce(response)
            if not self._nonces:
                raise nonsense(reply.what, "none that could be used")
        return self._nonces.pop()

    def _keep_nonce(self, response: Any) -> None:
        """Keep the nonce that came with an answer, if it is one; without, the next is asked for."""
        if len(response.headers.get(self.REPLAY_NONCE_HEADER, "")) > LONGEST_NONCE:
            return
        try:
            self._add_nonce(response)
        except (errors.NonceError, ValueError):
            return

    def _reply(self, response: Any, what: str) -> Reply:
        return Reply(f"{self._name}: {what}", response.status_code, response.headers, response.content)
