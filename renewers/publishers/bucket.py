"""A bucket of an S3-compatible object store, through `obstore`: who we are, where we go and how long is said here.

Credentials are those of the settings and never those of the environment or of a machine's metadata. `obstore` would
follow a redirect, and ask a proxy that the environment names: it is given a proxy that does not exist, for every host
but the bucket's own, so that it reaches that one and no other. It does not try again by itself; our ladder does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.publishers.turns import Overtaken
from renewers.urls import check_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

CONNECT_SECONDS, REQUEST_SECONDS, CALL_SECONDS = 5, 15, 90.0
"""Until a connection stands; until one answer is complete; until no further request is begun."""
SLOWEST = 1 << 20
"""Bytes a second: what is to be sent gets that much more time."""
MOST_READ = 1 << 18
MOST_LISTED = 20_000
NOWHERE = "http://127.0.0.1:0"
_STATUS = re.compile(r"status code: ([1-5][0-9]{2})\b")
_CODE = re.compile(r"<Code>([A-Za-z]{1,40})</Code>")


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A bucket, as this machine's settings name it. http is for addresses of this machine alone."""

    endpoint: str
    bucket: str
    region: str
    access_key_id: str
    secret: Secret
    ca_file: Path | None = None
    """Trusted besides what the system trusts."""
    is_conditional: bool = True
    """Whether the store knows If-Match. Without it, two writers at the same moment may both believe they were last."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, as a listing tells of it."""

    path: str
    size: int
    at: datetime


class Bucket:
    """One conversation with a bucket. Whatever does not work is a `NotDelivered` with a plain reason."""

    def __init__(self, place: ObjectPlace, octets: int = 0) -> None:
        self._place = place
        self._netloc = urlsplit(check_url(place.endpoint)).netloc
        self._store = _store(place, REQUEST_SECONDS + octets / SLOWEST)
        self._until = clock.monotonic() + CALL_SECONDS + octets / SLOWEST

    @property
    def shown(self) -> str:
        """The bucket, for people."""
        return f"bucket {self._place.bucket} at {self._netloc}"

    def get(self, path: str) -> tuple[bytes, str | None] | None:
        """An object and its tag; None if there is none."""
        with self._asking():
            try:
                found = self._store.get(path)
            except FileNotFoundError as error:
                if (code := _CODE.search(str(error))) is None or code[1] == "NoSuchKey":
                    return None
                raise
            content = bytearray()
            for piece in found.stream(MOST_READ):
                content += piece
                if len(content) > MOST_READ:
                    raise NotDelivered(f"{path} in {self.shown} is larger than anything of ours")
            return bytes(content), found.meta["e_tag"]

    def put(self, path: str, content: bytes, *, kind: str, cache: str) -> None:
        """Write an object, whatever was there before."""
        with self._asking():
            attributes = {"Content-Type": kind, "Cache-Control": cache}
            self._store.put(path, content, attributes=attributes, mode="overwrite", use_multipart=False)

    def exchange(self, path: str, content: bytes, tag: str | None, *, kind: str, cache: str) -> None:
        """Write an object that was not there (`tag` is None), or that had this tag. `Overtaken` if it is another's."""
        if not self._place.is_conditional:
            return self.put(path, content, kind=kind, cache=cache)
        with self._asking():
            attributes = {"Content-Type": kind, "Cache-Control": cache}
            try:
                self._store.put(path, content, attributes=attributes, mode="create" if tag is None else {"e_tag": tag})
            except (AlreadyExistsError, PreconditionError):
                raise Overtaken from None

    def list(self, prefix: str) -> Iterator[Listed]:
        """What lies beneath a prefix."""
        with self._asking():
            count = 0
            for chunk in self._store.list(prefix, chunk_size=1000):
                for each in chunk:
                    count += 1
                    if count > MOST_LISTED:
                        raise NotDelivered(f"more than {MOST_LISTED} objects lie beneath {prefix} in {self.shown}")
                    yield Listed(each["path"], each["size"], each["last_modified"])

    def delete(self, path: str) -> None:
        """Remove an object, if there is one."""
        with self._asking():
            try:
                self._store.delete(path)
            except FileNotFoundError:
                return

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if clock.monotonic() >= self._until:
            raise NotDelivered(f"{self.shown} is too slow: there was no time left")
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise _refusal(self.shown, error) from None


def _refusal(shown: str, error: Exception) -> NotDelivered:
    """What people are told. Its words are an answer's body and addresses, of which a code at most is shown."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    said = f" ({code[1]})" if code else ""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        hint = "access_key_id and the secret of this store, and what they may do with the bucket"
        return NotDelivered(f"{shown} refuses our credentials{said}", code="not-permitted", hint=hint)
    if isinstance(error, FileNotFoundError):
        hint = "is there such a bucket, and such an access_key_id?"
        return NotDelivered(f"{shown} is not found{said}", hint=hint)
    if status is not None:
        return NotDelivered(f"{shown} answered {status[1]}{said}")
    return NotDelivered(f"{shown} cannot be reached: {_reason(text)}")


def _reason(text: str) -> str:
    if "InvalidCertificate" in text:
        return "TLS failed; is its certificate trusted here?"
    if "TimedOut" in text or "timed out" in text or "kind: Timeout" in text:
        return "it did not answer in time"
    return "the connection failed"


def _store(place: ObjectPlace, seconds: float) -> S3Store:
    """Everything that the environment could say is said here, so that it says nothing."""
    parts = urlsplit(place.endpoint)
    options: ClientConfig = {
        "allow_http": parts.scheme == "http",
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=seconds),
        "http1_only": True,
        "proxy_url": NOWHERE,
        "proxy_excludes": parts.hostname or "",
        "user_agent": "certwright/0.1",
    }
    try:
        if place.ca_file is not None:
            options["root_certificate"] = place.ca_file.read_bytes()
        return S3Store(
            place.bucket,
            endpoint=place.endpoint,
            aws_endpoint_url_s3=place.endpoint,
            region=place.region,
            virtual_hosted_style_request=False,
            skip_signature=False,
            unsigned_payload=False,
            request_payer=False,
            s3_express=False,
            disable_bulk_delete=True,
            conditional_put="etag",
            client_options=options,
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=seconds)},
            credential_provider=_credentials(place),
        )
    except (BaseError, OSError, ValueError):
        raise Misconfigured(f"the settings of bucket {place.bucket} make no client", hint="its ca_file?") from None


def _credentials(place: ObjectPlace) -> Callable[[], S3Credential]:
    return lambda: {
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret.reveal(),
        "token": None,
        "expires_at": None,
    }
