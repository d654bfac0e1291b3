"""A small OpenID Connect provider on loopback that does as it should, but for what a test spoils.

It keeps to the code flow with PKCE and asks nobody for a password. `claims`, `header` and `sign` change what it says of
somebody; `spoil[path]` changes an answer. It counts who asks for what.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca import clock
from tests.pebble import loopback_tls

CLIENT, SECRET = "certwright", "s3cr3t/of+ours"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Sign = Callable[[dict[str, Any], dict[str, Any]], str]
KINDS = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


def make_key(algorithm: str, size: int = 2048) -> Key:
    """A new key for one of the algorithms that we take."""
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(65537, size)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def as_jwk(key: Key, algorithm: str, identity: str, **more: Any) -> dict[str, Any]:
    """Its public half as a JSON Web Key."""
    described = KINDS[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**described, "kid": identity, "alg": algorithm, "use": "sig", **more}


def text(content: bytes) -> str:
    """Base64 as JSON Web Tokens have it."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Provider:
    """The provider."""

    url: str
    ca_file: Path
    algorithm: str = "RS256"
    key: Key = field(default_factory=lambda: make_key("RS256"))
    kid: str = "one"
    said: dict[str, Any] = field(default_factory=lambda: {"sub": "ada", "groups": ["staff", "ops"]})
    """What it knows of the one person who signs in."""
    claims: Callable[[dict[str, Any]], Any] = lambda _claims: None
    header: dict[str, Any] = field(default_factory=dict)
    sign: Sign | None = None
    spoil: dict[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorise(self, there: str) -> dict[str, str]:
        """What a browser is sent back with that came along this address, once somebody has signed in there."""
        asked = dict(parse_qsl(urlsplit(there).query))
        assert urlsplit(there).path == "/authorise", there
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert (asked["code_challenge_method"], asked["scope"].split()[0]) == ("S256", "openid")
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def token(self, asked: Mapping[str, str]) -> str:
        """What it says of the person, to whoever asked."""
        now = clock.timestamp()
        claims = {"iss": self.url, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": asked["nonce"], **self.said}
        claims = self.claims(claims) or claims
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **self.header}
        if self.sign is not None:
            return self.sign(header, claims)
        return jwt.encode(claims, self.key, self.algorithm, header)

    def answer(self, path: str, fields: Mapping[str, str], authorization: str) -> tuple[int, Any]:
        """The answer to one request, unspoilt."""
        match path:
            case "/.well-known/openid-configuration":
                ends = ("authorise", "token", "keys")
                names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
                ways = {name: f"{self.url}/{end}" for name, end in zip(names, ends, strict=True)}
                return 200, {"issuer": self.url, **ways, **self.description}
            case "/keys":
                return 200, {"keys": [as_jwk(self.key, self.algorithm, self.kid)]}
            case "/token":
                return self._exchange(fields, authorization)
        return 404, {}

    def _exchange(self, fields: Mapping[str, str], authorization: str) -> tuple[int, Any]:
        asked = self.codes.pop(fields.get("code", ""), None)
        known = b64decode(authorization.removeprefix("Basic ")).decode() if authorization else ""
        is_ours = known == "certwright:s3cr3t%2Fof%2Bours"
        if asked is None or not is_ours or fields["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if text(sha256(fields["code_verifier"].encode()).digest()) != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"token_type": "Bearer", "access_token": "unused", "id_token": self.token(asked)}


@contextmanager
def providing(folder: Path) -> Iterator[Provider]:
    """Run one."""
    tls = loopback_tls(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    provider = Provider("", tls.ca_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, fields: Mapping[str, str]) -> None:
            path = urlsplit(self.path).path
            provider.asked[path] += 1
            status, document = provider.answer(path, fields, self.headers.get("Authorization", ""))
            spoilt = provider.spoil.get(path)
            status, headers, body = spoilt or (status, {}, json.dumps(document).encode())
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    return Handler
