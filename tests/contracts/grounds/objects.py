"""The ground of the publisher into an object store: a real server, which is read as any consumer would."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from obstore.store import S3Store

from renewers.publishers import Publisher
from renewers.publishers.bucket import ObjectPlace
from renewers.publishers.objects import make_objects
from tests.contracts.grounds import shared
from tests.contracts.grounds.relay import Relay, brought
from tests.objectstore import REGION, ObjectStore, object_store


class ObjectsGround:
    """A prefix of its own in a bucket that all of them share; its publisher gets there through a relay."""

    tells_staged = True

    def __init__(self, server: ObjectStore, relay: Relay, bucket: str) -> None:
        self._relay, self.server, self.bucket = relay, server, bucket
        self.prefix = f"{secrets.token_hex(6)}/"
        self.settings: dict[str, Any] = {"store": "main", "prefix": self.prefix}
        self.place = ObjectPlace(f"http://127.0.0.1:{relay.port}", bucket, REGION, server.access_key_id, server.secret)
        self.hidden = (server.secret.reveal(), server.access_key_id)
        self.reader = reader(server, bucket)

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_objects(settings, stores={"main": self.place})

    def live(self) -> dict[str, bytes] | None:
        """By `current.json`, what it names, and its hashes; once more if that was cleared away meanwhile."""
        for _ in range(100):
            try:
                current = json.loads(bytes(self.reader.get(f"{self.prefix}current.json").bytes()))
            except FileNotFoundError:
                return None
            try:
                return {each["name"]: self._file(current["version"], each) for each in current["files"]}
            except FileNotFoundError:
                continue
        raise AssertionError("what current.json names is never there")

    def _file(self, version: str, said: dict[str, Any]) -> bytes:
        content = bytes(self.reader.get(f"{self.prefix}versions/{version}/{said['name']}").bytes())
        assert (sha256(content).hexdigest(), len(content)) == (said["sha256"], said["size"])
        return content

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self._relay.refuse(everything=True)
        yield
        self._relay.refuse(everything=False)

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        return self._relay.cut(step, brought(self.make(self.settings), work))


def reader(server: ObjectStore, bucket: str) -> S3Store:
    """A client that has nothing to do with ours."""
    return S3Store(
        bucket,
        endpoint=server.endpoint,
        region=REGION,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret.reveal(),
        client_options={
            "allow_http": True,
            **({} if server.ca_file is None else {"root_certificate": server.ca_file.read_bytes()}),
        },
    )


@contextmanager
def _server() -> Iterator[tuple[ObjectStore, str]]:
    with tempfile.TemporaryDirectory(prefix="certwright-objects-") as home, object_store(Path(home) / "s3") as server:
        yield server, server.bucket("grounds")


@contextmanager
def opened(home: Path) -> Iterator[ObjectsGround]:
    """An empty prefix."""
    server, bucket = shared("objects", _server)
    with ExitStack() as stack:
        yield ObjectsGround(server, stack.enter_context(Relay(server.port)), bucket)
